"""Which files a folder gets: all of a new app's, or those that an app which is there lacks. Nothing is written here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from buildpack.app.detect import AppObject, detect_app
from buildpack.app.indexes import without_credentials
from buildpack.app.pipfile import read_pipfile
from buildpack.app.pipfile_lock import read_lock
from buildpack.app.settings import folder_name, name_of_folder
from buildpack.app.source import SourceTree, read_source
from buildpack.dataclass import dataclass, field
from buildpack.errors import BuildpackError
from deployer.scaffold import templates
from deployer.scaffold.indexes import order_indexes
from deployer.scaffold.naming import package_name
from deployer.scaffold.requirements import list_packages, missing_imports

Accept = Callable[[str, str], bool]
"""Decides, by the place of an import and the package that brings it, whether Pipfile gets the package."""

LOCK = "Pipfile.lock"
_SIGNS = ("Pipfile", "Pipfile.lock", "Procfile", "requirements.txt", "pyproject.toml", "setup.py", "runtime.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is to be written: `files` by path, in order, none of which is there yet; the lock is pipenv's to make.

    `fresh` tells that there was no app, `locks` that a lock is missing. `remarks` say what could not be decided.
    """

    fresh: bool
    files: Mapping[str, str]
    locks: bool
    remarks: tuple[str, ...] = ()

    @property
    def paths(self) -> list[str]:
        """All that is missing, the lock included."""
        return [*self.files, *([LOCK] if self.locks else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line asks for: the package's name, a licence's text; `python` is the version to write down."""

    python: str
    host: bool
    package: str | None = None
    license_text: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


def plan_layout(folder: Path, wishes: Wishes, *, accept: Accept = lambda _place, _package: True) -> Layout:
    """Decide what the app in `folder`, which need not exist, is to get. Raises UsageError for names that cannot be.

    `accept` decides whether Pipfile gets a package that a place in the app imports and that no list names.
    """
    tree = _read(folder, wishes.environ)
    fresh = tree is None or not _is_app(tree)
    remarks: list[str] = []
    files = _new(folder, wishes) if fresh or tree is None else _lacking(folder, tree, wishes, accept, remarks)
    if wishes.license_text is not None:
        files["LICENSE"] = wishes.license_text
    missing = {path: text for path, text in files.items() if not _exists(folder / path)}
    can_lock = "Pipfile" in missing or _exists(folder / "Pipfile")
    return Layout(fresh=fresh, files=missing, locks=can_lock and not _exists(folder / LOCK), remarks=tuple(remarks))


def _read(folder: Path, environ: Mapping[str, str]) -> SourceTree | None:
    if not os.path.exists(folder):
        return None
    return read_source(folder, environ=environ)


def _is_app(tree: SourceTree) -> bool:
    return any(file.path in _SIGNS or file.path.endswith(".py") for file in tree.files) or any(
        _exists(tree.folder / name) for name in _SIGNS
    )


def _exists(path: Path) -> bool:
    return os.path.exists(path) or os.path.islink(path)


def _new(folder: Path, wishes: Wishes) -> dict[str, str]:
    here = folder_name(folder)
    name = package_name(here, told=wishes.package)
    settings = templates.deploy_toml(name=None if name_of_folder(here) else name.strip("_"), host=wishes.host)
    return {
        **templates.package(name),
        "Pipfile": templates.pipfile({"flask": '"*"', "gunicorn": '"*"'}, {"pytest": '"*"'}),
        "Procfile": templates.procfile(f"gunicorn {name}:APP"),
        ".python-version": f"{wishes.python}\n",
        ".gitignore": templates.gitignore(),
        **({"deploy.toml": settings} if settings else {}),
    }


def _lacking(folder: Path, tree: SourceTree, wishes: Wishes, accept: Accept, remarks: list[str]) -> dict[str, str]:
    detection = detect_app(tree, name=folder_name(folder))
    found = detection.found
    files: dict[str, str] = {}
    if not _exists(folder / "Pipfile") and not _exists(folder / LOCK):
        files["Pipfile"] = _pipfile(tree, found, accept, remarks)
    else:
        remarks.extend(_lacking_imports(folder, tree))
    if found is not None:
        files["Procfile"] = templates.procfile(_serving(found))
        if not _has_tests(tree) and not found.search and not found.target.endswith("()"):
            files["tests/test_app.py"] = templates.simple_test(found.target)
    elif detection.choices and not _exists(folder / "Procfile"):
        told = ", ".join(choice.target for choice in detection.choices)
        remarks.append(f"there are several app objects ({told}), so Procfile is yours to write.")
    elif not _exists(folder / "Procfile"):
        remarks.append("no app object was found, so Procfile is yours to write: `web: gunicorn package:APP`.")
    if not _names_python(folder):
        files[".python-version"] = f"{wishes.python}\n"
    files[".gitignore"] = templates.gitignore()
    return files


def _serving(found: AppObject) -> str:
    """Return the command for a Procfile: gunicorn's plain one, or uvicorn's, which has to be told the port."""
    return found.command.partition(" --worker-tmp-dir")[0]


def _pipfile(tree: SourceTree, found: AppObject | None, accept: Accept, remarks: list[str]) -> str:
    listed = list_packages(tree)
    packages, files = listed.packages, " and ".join(listed.sources)
    remarks += [f"Pipfile leaves out {what}." for what in listed.unread]
    for file, left in listed.left.items():
        remarks.append(f"Pipfile leaves out of {file}: {without_credentials('; '.join(left))}.")
    named = any('index = "pypi"' in entry for entry in (*packages.values(), *listed.develop.values()))
    sources, more = order_indexes(listed.indexes, named=named)
    remarks += more
    for one, owners in missing_imports(tree, packages):
        if not owners:
            remarks.append(f"{one.place} imports {one.module}: add the package that has it to Pipfile.")
        elif not packages or not files:
            packages[owners[0]] = '"*"'
        elif accept(one.place, owners[0]):
            packages[owners[0]] = '"*"'
            remarks.append(f"Pipfile gets {owners[0]}, which {one.place} imports and {files} does not name.")
    server = "uvicorn" if found is not None and found.interface == "asgi" else "gunicorn"
    packages.setdefault(server, '"*"')
    return templates.pipfile(packages, {"pytest": '"*"', **listed.develop}, sources)


def _lacking_imports(folder: Path, tree: SourceTree) -> Iterator[str]:
    """Say which imports Pipfile and its lock do not have; Pipfile itself stays as it is."""
    try:
        pipfile = read_pipfile(folder)
        lock = read_lock(folder, pipfile)
    except BuildpackError:
        return
    if lock is not None:
        names = [package.name for package in lock.packages]
    else:
        names = [wanted.name for wanted in pipfile.wanted("default")] if pipfile is not None else []
    for one, owners in missing_imports(tree, names):
        if owners:
            yield f"{one.place} imports {one.module}, which Pipfile does not have: run `deploy add {owners[0]}`."


def _has_tests(tree: SourceTree) -> bool:
    return any(file.path.startswith(("tests/", "test/")) or "test_" in file.path for file in tree.files)


def _names_python(folder: Path) -> bool:
    """Say whether something tells the Python version already."""
    if any(_exists(folder / name) for name in (".python-version", "runtime.txt")):
        return True
    try:
        pipfile = read_pipfile(folder)
        lock = read_lock(folder, pipfile)
    except BuildpackError:
        return True  # it is for `deploy check` to tell what is wrong with it
    asked = pipfile.document.get("requires") if pipfile is not None else None
    return bool(asked) or (lock is not None and bool(lock.python_version or lock.python_full_version))
