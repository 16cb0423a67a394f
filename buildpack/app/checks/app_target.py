"""Check, without importing it, that the image has the app object that a Procfile names.

The checks say nothing of modules that a package may bring, or that bind names in ways that no syntax tree shows.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator

from buildpack.app.bindings import Globals, module_of
from buildpack.app.checks.commands import Invocation
from buildpack.app.checks.image_files import Files, Place, find_module
from buildpack.app.checks.packages import find_owners
from buildpack.app.checks.serving import Serving
from buildpack.app.findings import Doubt
from buildpack.app.lockfile import Lock
from buildpack.app.nearest import find_nearest
from buildpack.errors import BuildpackError, Notice
from buildpack.errors import modules as errors
from buildpack.errors.checks import Started

_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_OBJECT = re.compile(r"([^\W\d]\w*)(?:(\(.*\))|(\..*))?", re.DOTALL)
_CALLING = {"uvicorn": "--factory", "granian": "--factory", "waitress-serve": "--call"}
"""Options with which a server calls the object that it serves; it reads no parentheses."""
_FINDS_OBJECT = frozenset({"celery", "flask", "dramatiq"})
"""Servers that find the object in a module themselves if the target names none."""


def check_target(serving: Serving, started: Started, files: Files) -> Iterator[BuildpackError | Notice | Doubt]:
    """Check the object that a server serves; yields at most one error."""
    module, colon, expression = (serving.target or "").partition(":")
    if serving.search is None:
        return
    asked = errors.Asked(
        *started,
        server=serving.server,
        target=serving.written or serving.target or "",
        verb=serving.verb,
        joint=serving.joint,
    )
    if not serving.written and _names_file(module, files):
        yield errors.target_is_path(asked, module_of(module.removeprefix("./")))
        return
    if not colon:
        expression = "application" if serving.server == "gunicorn" else ""
    named = _OBJECT.fullmatch(expression)
    if not _MODULE.fullmatch(module) or (not named and (colon or serving.server not in _FINDS_OBJECT)):
        return
    place = find_module(module, serving.search, files.paths)
    if place.kind == "found":
        if named:
            yield from _check_object(asked, place, named, serving, files)
    else:
        yield from _check_place(asked, place, module, search=serving.search, files=files, named=named)


def check_needs(
    serving: Serving, started: Started, files: Files, lock: Lock
) -> Iterator[BuildpackError | Notice | Doubt]:
    """Check the modules that a server imports because its options say so."""
    if "" in files.brought:
        return
    for need in serving.needs:
        search = need.search or serving.search or ("",)
        asked = errors.Asked(*started, server=serving.server, target=need.words, verb="use")
        place = find_module(need.module, search, files.paths)
        owners = find_owners(need.module.partition(".")[0])
        if place.kind == "absent" and any(map(lock.has, owners)):
            continue
        if place.kind == "absent" and owners and "*" not in files.brought and not files.generated:
            if place.name not in files.brought:
                yield errors.option_not_locked(asked, owners[0])
        else:
            yield from _check_place(asked, place, need.module, search=search, files=files)


def check_module(invocation: Invocation, started: Started, files: Files) -> Iterator[BuildpackError | Notice | Doubt]:
    """Check the module that ``python -m`` runs."""
    module = invocation.program
    if invocation.folder is None or not _MODULE.fullmatch(module):
        return
    search = tuple(dict.fromkeys((invocation.folder, "")))
    asked = errors.Asked(*started, server="python", target=module, verb="run")
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
    if left_out := files.left_out_module(module, search):
        yield errors.module_left_out(asked, left_out)
    elif place.kind == "absent":
        yield from _check_absent(asked, place.name, named, search, files)
    elif (bound := files.bound_by(place.path)) and not (asked.server == "celery" and place.name in bound.names):
        package = place.path.removesuffix("/__init__.py")
        left_out = files.left_out_module(place.name, [package])
        missing = errors.no_such_submodule(asked, f"{package}/{place.name}")
        yield errors.module_left_out(asked, left_out) if left_out else missing


def _names_file(target: str, files: Files) -> bool:
    """Return True if a target such as ``site1/wsgi.py`` or ``main.py`` is a path; a server needs a module."""
    if not re.fullmatch(r"[\w./-]+\.py", target):
        return False
    return "/" in target or f"{target[:-3].replace('.', '/')}/py.py" not in files.paths


def _check_absent(
    asked: errors.Asked, name: str, named: re.Match[str] | None, search: Collection[str], files: Files
) -> Iterator[BuildpackError | Doubt]:
    """Check a module that the app does not have, so that a package must bring it."""
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


def _check_object(
    asked: errors.Asked, place: Place, named: re.Match[str], serving: Serving, files: Files
) -> Iterator[BuildpackError | Notice]:
    if (bound := files.bound_by(place.path)) is None:
        return
    name, called = named[1], bool(named[2])
    if called and serving.server in ("uvicorn", "daphne", "granian", "waitress-serve"):
        yield errors.call_not_read(asked, f"{serving.module}:{name}", _CALLING.get(serving.server, ""))
    elif name in bound.names:
        arity = bound.functions.get(name)
        if arity and serving.called and arity[0] > 0:
            yield errors.factory_needs_arguments(asked, f"{place.path}:{bound.names[name]}", name)
        elif arity in ((0, 0), (0, 1)) and serving.plain and not called and not named[3]:  # a WSGI app takes two
            yield errors.factory_not_called(asked, f"{place.path}:{bound.names[name]}", name)
    elif name in bound.script:
        yield errors.bound_in_script(asked, f"{place.path}:{bound.script[name]}", name)
    elif _is_submodule(place.path, name, files.paths):
        if not named[3]:
            near = next((one for one in bound.names if one.lower() == name.lower()), None)
            yield errors.names_a_module(asked, place.path, f"{serving.module}.{name}", _binds(bound), near)
    else:
        yield errors.not_bound(asked, place.path, name, _binds(bound), find_nearest(name, list(bound.names)))


def _is_submodule(path: str, name: str, paths: Collection[str]) -> bool:
    if not path.endswith("/__init__.py"):
        return False
    inner = f"{path.removesuffix('__init__.py')}{name}"
    return any(one.startswith((f"{inner}/", f"{inner}.")) for one in paths)


def _binds(bound: Globals) -> list[str]:
    """List the names that a module binds and that people may serve, in the order of its lines."""
    return [name for name in bound.names if not name.startswith("_")]


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
        bound = files.bound_by(place.path) if place.kind == "found" else None
        if named and bound is not None and named[1] in bound.names:
            found.append(module)
    return found[0] if len(found) == 1 else None
