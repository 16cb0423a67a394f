"""Checks that the app object that a Procfile names is in the image's files, without importing it.

Nothing is said of what a package may bring, or of modules that bind names in ways that do not show.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Literal

from buildpack.app.bindings import Globals, parse_globals
from buildpack.app.checks.commands import Invocation
from buildpack.app.checks.doubts import Doubt
from buildpack.app.checks.packages import find_owners
from buildpack.app.checks.serving import Read, Serving
from buildpack.app.lockfile import Lock
from buildpack.app.nearest import find_nearest
from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError, Notice
from buildpack.errors import modules as errors

_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_OBJECT = re.compile(r"([^\W\d]\w*)(?:(\(.*\))|(\..*))?", re.DOTALL)
_CALLING = {"uvicorn": "--factory", "granian": "--factory", "waitress-serve": "--call"}
"""Options with which a server calls what it is to serve, without parentheses."""
_SERVED_WITHOUT_NAME = {"gunicorn": "application"}
_FINDS_OBJECT = frozenset({"celery", "flask", "dramatiq"})
"""Servers that look for an object in a module by themselves if the target names none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """The app's files as an image has them: their `paths`, and how to `read` one.

    `left_out` says of a path whether it is in the folder and will not be in the image; `brought` are modules that
    packages of the lock may bring: ``*`` is among them if a package may bring any, and the empty name if the stack may.
    `complete` says that nothing else can bring one; `generated` says that the app's own hooks may make more;
    `executable` says of a path whether that file may be started, None of a link.
    """

    paths: Collection[str]
    read: Read
    left_out: Callable[[str], bool]
    executable: Callable[[str], bool | None]
    brought: frozenset[str] = frozenset()
    complete: bool = False
    generated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The place of a module.

    `kind` is ``found`` with the `path` of its file; ``lacking`` if the package of the app that should hold it, whose
    file is `path`, does not hold `name`; ``absent`` if the app has no module of its first `name`; else ``unknown``.
    """

    kind: Literal["found", "lacking", "absent", "unknown"]
    path: str = ""
    name: str = ""


def check_target(
    serving: Serving,
    *,
    process: str,
    line: int,
    files: Files,
) -> Iterator[BuildpackError | Notice | Doubt]:
    """Check the object that a server is to serve; gives an error for what cannot work, at most one."""
    module, colon, expression = (serving.target or "").partition(":")
    if serving.search is None:
        return
    asked = errors.Asked(
        process=process,
        line=line,
        server=serving.server,
        target=serving.written or serving.target or "",
        verb=serving.verb,
        joint=serving.joint,
    )
    if not serving.written and _names_file(module, files):
        yield errors.target_is_path(asked, _dotted(module))
        return
    if not colon:
        expression = _SERVED_WITHOUT_NAME.get(serving.server, "")
    named = _OBJECT.fullmatch(expression)
    if not _MODULE.fullmatch(module) or (not named and (colon or serving.server not in _FINDS_OBJECT)):
        return
    place = find_module(module, serving.search, files.paths)
    if place.kind == "found":
        if named:
            yield from _check_object(asked, place, module, named, serving, files=files)
    else:
        yield from _check_place(asked, place, module, search=serving.search, files=files, named=named)


def check_needs(
    serving: Serving, *, process: str, line: int, files: Files, lock: Lock
) -> Iterator[BuildpackError | Notice | Doubt]:
    """Check the modules that a server's options have it import."""
    if "" in files.brought:
        return
    for need in serving.needs:
        search = need.search or serving.search or ("",)
        asked = errors.Asked(process=process, line=line, server=serving.server, target=need.told, verb="use")
        place = find_module(need.module, search, files.paths)
        owners = find_owners(need.module.partition(".")[0])
        if place.kind == "absent" and any(map(lock.has, owners)):
            continue
        if place.kind == "absent" and owners and "*" not in files.brought and not files.generated:
            if place.name not in files.brought:
                yield errors.option_not_locked(asked, owners[0])
        else:
            yield from _check_place(asked, place, need.module, search=search, files=files)


def check_module(
    invocation: Invocation, *, process: str, line: int, files: Files
) -> Iterator[BuildpackError | Notice | Doubt]:
    """Check the module that ``python -m`` runs."""
    module = invocation.program
    if invocation.folder is None or not _MODULE.fullmatch(module):
        return
    search = tuple(dict.fromkeys((invocation.folder, "")))
    asked = errors.Asked(process=process, line=line, server="python", target=module, verb="run")
    place = find_module(module, search, files.paths)
    if place.kind != "absent" or "PYTHONPATH" not in invocation.variables:
        yield from _check_place(asked, place, module, search=search, files=files)


def _check_place(
    asked: errors.Asked,
    place: Place,
    module: str,
    *,
    search: Collection[str],
    files: Files,
    named: re.Match[str] | None = None,
) -> Iterator[BuildpackError | Notice | Doubt]:
    """Check a module that is not among the app's files, unless the app's hooks may make it."""
    if files.generated or place.kind not in ("absent", "lacking"):
        return
    if left_out := _left_out(module, search, files):
        yield errors.module_left_out(asked, left_out)
    elif place.kind == "absent":
        yield from _check_absent(asked, place.name, named, search, files)
    elif _lacks(files.read(place.path), place.name, attribute=asked.server == "celery"):
        inner = f"{place.path.removesuffix('__init__.py')}{place.name}"
        left_out = next((path for path in (f"{inner}.py", f"{inner}/__init__.py") if files.left_out(path)), None)
        yield errors.module_left_out(asked, left_out) if left_out else errors.no_such_submodule(asked, inner)


def _names_file(target: str, files: Files) -> bool:
    """Say whether a target such as ``site1/wsgi.py`` or ``main.py`` is a path, although a server wants a module."""
    if not re.fullmatch(r"[\w./-]+\.py", target):
        return False
    return "/" in target or f"{target[:-3].replace('.', '/')}/py.py" not in files.paths


def _dotted(path: str) -> str:
    """Return the module that a path of a file means."""
    return path.removeprefix("./").removesuffix(".py").removesuffix("/__init__").strip("/").replace("/", ".")


def _check_absent(
    asked: errors.Asked, name: str, named: re.Match[str] | None, search: Collection[str], files: Files
) -> Iterator[BuildpackError | Doubt]:
    """Check a module that the app does not have: a package has to bring it."""
    if not files.brought.isdisjoint({name, ""}) or name in sys.stdlib_module_names:
        return
    modules = sorted(filter(str.isidentifier, _top_modules(search, files.paths)))
    near = find_nearest(name, modules)
    error = errors.no_such_module(asked, name, near, _who_binds(named, modules, search, files))
    if "*" in files.brought:
        yield Doubt(kind="module", name=name, finding=error)
    elif near or files.complete:
        yield error
    else:
        yield Doubt(kind="module", name=name, finding=error, otherwise=errors.unknown_module(asked, name, error))


def _left_out(module: str, search: Collection[str], files: Files) -> str | None:
    """Return the file of a module that is in the folder, and not in the image; None if there is none."""
    places = ["/".join(filter(None, (folder, *module.split(".")))) for folder in search]
    inside = (path for place in places for path in (f"{place}.py", f"{place}/__init__.py"))
    return next((path for path in inside if files.left_out(path)), None)


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
            # A folder without __init__.py: parts of such a package may lie elsewhere; or what was compiled.
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


def _check_object(
    asked: errors.Asked,
    place: Place,
    module: str,
    named: re.Match[str],
    serving: Serving,
    *,
    files: Files,
) -> Iterator[BuildpackError | Notice]:
    content = files.read(place.path)
    bound = parse_globals(content) if content is not None else None
    if bound is None:
        return
    name, called = named[1], bool(named[2])
    if called and serving.server in ("uvicorn", "daphne", "granian", "waitress-serve"):
        yield errors.call_not_read(asked, f"{module}:{name}", _CALLING.get(serving.server, ""))
    elif name in bound.names:
        arity = bound.functions.get(name)
        if arity and serving.called and arity[0] > 0:
            yield errors.factory_needs_arguments(asked, f"{place.path}:{bound.names[name]}", name)
        elif arity and serving.plain and not called and not named[3] and _takes_nothing(*arity):
            yield errors.factory_not_called(asked, f"{place.path}:{bound.names[name]}", name)
    elif name in bound.script:
        yield errors.bound_in_script(asked, f"{place.path}:{bound.script[name]}", name)
    elif _is_submodule(place.path, name, files.paths):
        if not named[3]:
            near = next((one for one in bound.names if one.lower() == name.lower()), None)
            yield errors.names_a_module(asked, place.path, f"{module}.{name}", _binds(bound), near)
    else:
        yield errors.not_bound(asked, place.path, name, _binds(bound), find_nearest(name, list(bound.names)))


def _takes_nothing(least: int, most: int | None) -> bool:
    """Say whether a function can be called with nothing, and never as WSGI has it, with two arguments."""
    return least == 0 and most is not None and most < 2


def _is_submodule(path: str, name: str, paths: Collection[str]) -> bool:
    if not path.endswith("/__init__.py"):
        return False
    inner = f"{path.removesuffix('__init__.py')}{name}"
    return any(one.startswith((f"{inner}/", f"{inner}.")) for one in paths)


def _binds(bound: Globals) -> list[str]:
    """List what a module binds that people would serve, in the order of its lines."""
    return [name for name in bound.names if not name.startswith("_")]


def _lacks(content: bytes | None, name: str, *, attribute: bool) -> bool:
    """Say whether a package surely has no such module; with `attribute`, which also counts, nothing of that name."""
    found = parse_globals(content) if content is not None else None
    return found is not None and not (attribute and name in found.names)


def _top_modules(search: Collection[str], paths: Collection[str]) -> Iterator[str]:
    for folder in search:
        prefix = f"{folder}/" if folder else ""
        for path in paths:
            inside = path.removeprefix(prefix)
            if path.startswith(prefix) and path.endswith(".py"):
                first, slash, rest = inside.partition("/")
                if not slash:
                    yield first.removesuffix(".py")
                elif rest == "__init__.py":
                    yield first


def _who_binds(
    named: re.Match[str] | None, modules: Collection[str], search: Collection[str], files: Files
) -> str | None:
    """Return the module that binds the object; None if none or several do."""
    found = []
    for module in modules if named else ():
        place = find_module(module, search, files.paths)
        content = files.read(place.path) if place.kind == "found" else None
        bound = parse_globals(content) if content is not None else None
        if named and bound is not None and named[1] in bound.names:
            found.append(module)
    return found[0] if len(found) == 1 else None


def modules_brought(packages: Mapping[str, bool]) -> frozenset[str]:
    """Return the first names of modules that packages may bring, as far as their names tell.

    `packages` are canonical names; true for a package that is not from an index. Such a package may bring any module,
    so ``*`` is among the names then.
    """
    names = {part for name in packages for part in (name.replace("-", "_"), *name.split("-"))}
    return frozenset(names | {"*"} if any(packages.values()) else names)
