"""Find web processes that run with Werkzeug's debugger, which runs the code that a visitor types."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from buildpack.app.bindings import absolute_module, assigned_once, is_script_part, last_name, try_parse
from buildpack.app.checks.commands import Invocation, inside_app
from buildpack.app.checks.image_files import Files, find_module
from buildpack.app.checks.imports import list_imports
from buildpack.app.checks.server_commands import find_flaskenv
from buildpack.app.checks.serving import Serving
from buildpack.errors import Notice
from buildpack.errors import checks as errors
from buildpack.errors.checks import Started

_STARTS = frozenset({"run", "run_server", "run_simple"})
"""Functions that start a server which may have the debugger: those of Flask, Dash, Flask-SocketIO and Werkzeug."""
_OTHERS = frozenset({"anyio", "asyncio", "curio", "hypercorn", "subprocess", "trio", "uvicorn", "uvloop"})
"""Modules whose `run` is another function."""
_MOST_FILES = 50
_MOST_BYTES = 1 << 20
_NOTHING = ast.Module(body=[], type_ignores=[])


def check_debugger(
    invocation: Invocation, serving: Serving | None, started: Started, files: Files, *, reads_flaskenv: bool
) -> Iterator[Notice]:
    """Check that a web process does not start the debugger; only code that surely runs counts.

    `reads_flaskenv` is true if Pipfile.lock has the package that Flask reads ``.flaskenv`` with.
    """
    switch = _variable(invocation, files, reads_flaskenv=reads_flaskenv)
    if invocation.program == "flask":
        debugs = _flask(invocation.arguments, switch)
    elif path := _started_file(invocation, files):
        debugs = _find_start(path, (invocation.folder or "", ""), switch, files)
    else:
        debugs = ""
    if not debugs and serving is not None and serving.search is not None and serving.module:
        place = find_module(serving.module, serving.search, files.paths)
        debugs = _find_wrapped(place.path, files) if place.kind == "found" else ""
    if debugs:
        yield errors.debugs(started, debugs)


def _variable(invocation: Invocation, files: Files, *, reads_flaskenv: bool) -> str:
    """Return the words that set FLASK_DEBUG to true; empty if nothing does."""
    shipped = find_flaskenv(invocation.folder, files.read) if reads_flaskenv else {}
    value, place = shipped.get("FLASK_DEBUG", ("", ""))
    if "FLASK_DEBUG" in invocation.variables:
        value, place = invocation.variables["FLASK_DEBUG"], ""
    if not value or "$" in value or value.lower() in ("0", "false", "no"):
        return ""
    return f"{place}: FLASK_DEBUG={value}" if place else f"FLASK_DEBUG={value}"


def _flask(words: tuple[str, ...], switch: str) -> str:
    """Return the words with which ``flask run`` starts the debugger; empty if it does not."""
    if "run" not in words or "--no-debugger" in words:
        return ""
    option = next((word for word in ("--debugger", "--debug") if word in words), "")
    return f"flask run {option}" if option else "" if "--no-debug" in words else switch


def _started_file(invocation: Invocation, files: Files) -> str:
    """Return the file of the app that Python runs; empty if there is none."""
    if invocation.folder is None:
        return ""
    if invocation.module:
        for module in (f"{invocation.program}.__main__", invocation.program):
            place = find_module(module, (invocation.folder, ""), files.paths)
            if place.kind == "found":
                return place.path
        return ""
    first = invocation.arguments[0] if invocation.program == "python" and invocation.arguments else ""
    return (inside_app(invocation.folder, first) or "") if first.endswith(".py") else ""


class _Module(NamedTuple):
    """A module to search; `names` are imported from it, and `script` is true if Python runs it as a script."""

    path: str
    names: frozenset[str]
    script: bool


def _find_start(path: str, search: tuple[str, ...], switch: str, files: Files) -> str:
    """Return the place where a file starts the debugger; `switch` is the place that sets its debug mode."""
    plain = False
    for module, content in _walk(_Module(path, frozenset(), script=True), search, files):
        tree = (try_parse(content) if b"run" in content or b"debug" in content.lower() else None) or _NOTHING
        true = _true_names(tree)
        for node, function in _run(tree, script=module.script):
            if isinstance(node, ast.Call) and _starts_server(node):
                given = _debug(node, true)
                if not module.script and function and function not in module.names:
                    continue
                if given:
                    return f"{module.path}:{node.lineno}: {given}"
                plain = plain or given is None
            elif not switch and (setting := _sets_debug(node, true)):
                switch = f"{module.path}:{getattr(node, 'lineno', 1)}: {setting}"
    return switch if plain else ""


def _find_wrapped(path: str, files: Files) -> str:
    """Return the place where a module that a server imports wraps its app in the debugger."""
    content = files.read(path) or b""
    tree = (try_parse(content) if b"DebuggedApplication" in content else None) or _NOTHING
    true = _true_names(tree)
    for node, _ in _run(tree, script=False):
        if isinstance(node, ast.Call) and last_name(node.func) == "DebuggedApplication":
            values = [one.value for one in node.keywords if one.arg == "evalex"] + node.args[1:2]
            if any(_is_true(value, true) for value in values):
                return f"{path}:{node.lineno}: DebuggedApplication"
    return ""


def _walk(first: _Module, search: tuple[str, ...], files: Files) -> Iterator[tuple[_Module, bytes]]:
    """Yield the first module and the app's modules that it imports, the nearest ones first."""
    waiting, seen, size = [first], set[str](), 0
    folder = first.path.rpartition("/")[0]
    while waiting and len(seen) < _MOST_FILES and size < _MOST_BYTES:
        module = waiting.pop(0)
        content = files.read(module.path) if module.path not in seen else None
        seen.add(module.path)
        if content is not None:
            size += len(content)
            yield module, content
            waiting += _imported(module.path, content, (folder, *search), files)


def _imported(path: str, content: bytes, search: tuple[str, ...], files: Files) -> Iterator[_Module]:
    """Yield the app's modules that a module imports."""
    package = ".".join(path.split("/")[:-1])
    for _, module, names in list_imports(content):
        level = len(module) - len(module.lstrip("."))
        origin, folders = absolute_module(module[level:], level, package), ("",) if level else search
        inner = {f"{origin}.{name}".lstrip("."): frozenset[str]() for name in names}
        for one, imported in ((origin, frozenset(names)), *inner.items()):
            place = find_module(one, folders, files.paths)
            if place.kind == "found":
                yield _Module(place.path, imported, script=False)


def _run(tree: ast.Module, *, script: bool) -> Iterator[tuple[ast.AST, str]]:
    """Yield the nodes that no condition guards, each with its function; the script's part too if `script`."""
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, function = waiting.pop()
        yield node, function
        if isinstance(node, ast.If):
            inner: list[ast.stmt] = node.body if script and is_script_part(node) else []
            waiting += [(one, function) for one in reversed(inner)]
        elif not isinstance(node, ast.IfExp):
            named = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not function else function
            waiting += [(one, named) for one in reversed(list(ast.iter_child_nodes(node)))]


def _true_names(tree: ast.Module) -> Mapping[str, bool]:
    """Return the names that a module binds once, to a constant, and whether that is True."""
    return {
        name: statement.value.value is True
        for name, statement in assigned_once(tree)
        if isinstance(statement.value, ast.Constant)
    }


def _is_true(value: ast.expr, true: Mapping[str, bool]) -> bool:
    if isinstance(value, ast.Name):
        return true.get(value.id, False)
    return isinstance(value, ast.Constant) and value.value is True


def _starts_server(node: ast.Call) -> bool:
    function = node.func
    if isinstance(function, ast.Attribute):
        plain = isinstance(function.value, ast.Name) and function.value.id in _OTHERS
        return function.attr in _STARTS and not plain
    return isinstance(function, ast.Name) and function.id == "run_simple"


def _debug(call: ast.Call, true: Mapping[str, bool]) -> str | None:
    """Return the argument that asks for the debugger; empty if one says something else, None if none does."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if isinstance(call.func, ast.Attribute) and call.func.attr == "run" and len(call.args) > 2:
        given["debug"] = call.args[2]
    for name in ("use_debugger", "debug"):
        if name in given:
            return f"{name}=True" if _is_true(given[name], true) else ""
    return "" if None in given or last_name(call.func) == "run_simple" else None


def _sets_debug(node: ast.AST, true: Mapping[str, bool]) -> str:
    """Return the words with which ``app.debug = True`` or the like sets Flask's debug mode; empty if they do not."""
    if isinstance(node, ast.Assign) and _is_true(node.value, true):
        for target in node.targets:
            if isinstance(target, ast.Attribute) and target.attr == "debug" and isinstance(target.value, ast.Name):
                return f"{target.value.id}.debug = True"
            if isinstance(target, ast.Subscript) and last_name(target.value) == "config":
                key = target.slice
                return 'config["DEBUG"] = True' if isinstance(key, ast.Constant) and key.value == "DEBUG" else ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and last_name(node.func.value) == "config":
        given = [one.value for one in node.keywords if one.arg == "DEBUG"] if node.func.attr == "update" else []
        return "config.update(DEBUG=True)" if any(_is_true(one, true) for one in given) else ""
    return ""
