"""The app's files as an image has them, and the modules among them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Literal

from buildpack.app.bindings import Globals, parse_globals
from buildpack.app.checks.packages import has_only_python, modules_of
from buildpack.app.lockfile import Lock
from buildpack.app.source import LARGEST_MODULE, SourceFile, SourceTree
from buildpack.dataclass import dataclass

HOOKS = ("bin/pre_compile", "bin/post_compile")


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """The files that enter the image, by path, and the modules that may come from elsewhere.

    `brought` are modules that packages of the lock may bring: ``*`` is among them if a package may bring any, and the
    empty name if the stack may. `complete` is true if nothing else can bring one; `generated` is true if the app's own
    hooks may make more files.
    """

    tree: SourceTree
    files: Mapping[str, SourceFile]
    brought: frozenset[str] = frozenset()
    complete: bool = False
    generated: bool = False

    @property
    def paths(self) -> Collection[str]:
        """The paths of all files."""
        return self.files.keys()

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; None if it cannot be read, or is too large to be written by hand."""
        file = self.files.get(path)
        if file is None or file.size > LARGEST_MODULE:
            return None
        content = self.tree.read(path, LARGEST_MODULE + 1)
        return content if content is not None and len(content) <= LARGEST_MODULE else None

    def left_out(self, path: str) -> bool:
        """Return True if the file is in the folder and not in the image."""
        return path not in self.files and os.path.isfile(self.tree.folder / path)

    def left_out_module(self, module: str, search: Collection[str]) -> str:
        """Return the file of a module in these folders that the image leaves out; empty if there is none."""
        places = ("/".join(filter(None, (folder, *module.split(".")))) for folder in search)
        return next(filter(self.left_out, (f"{place}{end}" for place in places for end in (".py", "/__init__.py"))), "")

    def bound_by(self, path: str) -> Globals | None:
        """Return the names that a module of the app binds; None if they are not known."""
        content = self.read(path)
        return parse_globals(content) if content is not None else None

    def executable(self, path: str) -> bool | None:
        """Return True if the file may be started; None for a link."""
        file = self.files.get(path)
        return file.executable if file is not None and file.kind == "file" else None


def list_files(tree: SourceTree, lock: Lock | None, *, stack: str | None = None) -> Files:
    """List the app's files for the checks, with the modules that packages and the stack may bring."""
    files = {file.path: file for file in tree.files}
    known = lock is not None and has_only_python(stack)
    elsewhere = {one.name: one.version is None for one in lock.packages} if lock is not None and known else {"": True}
    return Files(
        tree=tree,
        files=files,
        brought=modules_brought(elsewhere),
        complete=modules_of(elsewhere) is not None,
        generated=any(hook in files for hook in HOOKS),
    )


def modules_brought(packages: Mapping[str, bool]) -> frozenset[str]:
    """Return the first names of the modules that packages may bring, guessed from the packages' names.

    `packages` are canonical names; the value is true for a package that is not from an index. Such a package may bring
    any module, so ``*`` is among the names then.
    """
    names = {part for name in packages for part in (name.replace("-", "_"), *name.split("-"))}
    return frozenset(names | {"*"} if any(packages.values()) else names)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The place of a module.

    `kind` is ``found`` with the `path` of its file; ``lacking`` if the package of the app that should hold it, whose
    file is `path`, does not hold `name`; ``absent`` if the app has no module of its first `name`; else ``unknown``.
    """

    kind: Literal["found", "lacking", "absent", "unknown"]
    path: str = ""
    name: str = ""


def find_module(module: str, search: Collection[str], paths: Collection[str]) -> Place:
    """Find a module of the app, as Python does, in the first of these folders that has its first part."""
    parts = module.split(".")
    for folder in search:
        prefix = f"{folder}/" if folder else ""
        first = prefix + parts[0]
        if f"{first}/__init__.py" in paths:
            return _descend(first, parts[1:], paths)
        if f"{first}.py" in paths:
            return Place(kind="found", path=f"{first}.py") if len(parts) == 1 else Place(kind="unknown")
        if any(path.startswith((f"{first}/", f"{first}.")) for path in paths):
            # A folder without __init__.py, parts of which may be elsewhere; or a compiled module.
            path = prefix + "/".join(parts)
            found = next((one for one in (f"{path}.py", f"{path}/__init__.py") if one in paths), None)
            return Place(kind="found", path=found) if found else Place(kind="unknown")
    return Place(kind="absent", name=parts[0])


def _descend(package: str, rest: list[str], paths: Collection[str]) -> Place:
    while rest:
        name, rest = rest[0], rest[1:]
        inner = f"{package}/{name}"
        if f"{inner}/__init__.py" in paths:
            package = inner
        elif f"{inner}.py" in paths:
            return Place(kind="unknown") if rest else Place(kind="found", path=f"{inner}.py")
        elif any(path.startswith((f"{inner}/", f"{inner}.")) for path in paths):
            return Place(kind="unknown")
        else:
            return Place(kind="lacking", path=f"{package}/__init__.py", name=name)
    return Place(kind="found", path=f"{package}/__init__.py")
