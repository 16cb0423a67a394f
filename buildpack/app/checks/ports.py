"""Check that the web process listens on ``$PORT``, if its command, or the file that it runs, is simple to read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from buildpack.app.bindings import last_name, try_parse
from buildpack.app.checks.commands import Invocation, inside_app
from buildpack.app.checks.serving import Read, Serving
from buildpack.errors import Notice
from buildpack.errors import checks as errors
from buildpack.errors.checks import Started

_FRAMEWORKS = {"Flask": "5000", "Quart": "5000", "Bottle": "8080", "Sanic": "8000"}
_CALLS = {("uvicorn", "run"): "8000", ("waitress", "serve"): "8080"}
"""Functions that serve an app: module and name, and the port that they listen on by default."""


def check_port(invocation: Invocation, serving: Serving | None, started: Started, read: Read) -> Iterator[Notice]:
    """Check the address of a known server, of Django's and Python's own, or of a file that starts a server."""
    if serving is None:
        yield from _check_runserver(invocation, started)
        yield from _check_http_server(invocation, started)
        yield from _check_file(invocation, read, started)
    elif serving.address.kind in ("fixed", "socket"):
        yield errors.ignores_port(started, serving.address.words, serving.server)
    elif serving.address.kind == "loopback":
        yield errors.listens_on_loopback(started, serving.address.words, serving.server)


def _check_runserver(invocation: Invocation, started: Started) -> Iterator[Notice]:
    """Check Django's own server, ``manage.py runserver [ADDRESS]``."""
    arguments = invocation.arguments
    if invocation.program == "python" and arguments[:1] and arguments[0].rpartition("/")[2] == "manage.py":
        arguments = arguments[1:]
    elif invocation.program not in ("django-admin", "./manage.py", "manage.py"):
        return
    if not arguments or arguments[0] not in ("runserver", "runserver_plus"):
        return
    addresses = [word for word in arguments[1:] if not word.startswith("-")]
    address = addresses[-1] if addresses else ""
    if "$" in address and not re.match(r"127\.|localhost", address) and ":" in address:
        return
    words = f"runserver {address}" if address else "runserver: 127.0.0.1:8000"
    if "$" in address:
        yield errors.listens_on_loopback(started, words, "runserver")
    else:
        yield errors.ignores_port(started, words, "runserver")


def _check_http_server(invocation: Invocation, started: Started) -> Iterator[Notice]:
    """Check Python's own file server, ``python -m http.server [PORT]``."""
    words = invocation.arguments
    if invocation.program != "http.server" or any("$" in word for word in words):
        return
    port = next((word for word in words if word.isdecimal()), "8000")
    yield errors.ignores_port(started, f"http.server: port {port}", "http.server")


def _check_file(invocation: Invocation, read: Read, started: Started) -> Iterator[Notice]:
    """Check a file that Python runs, ``python app.py``, and that starts a server itself."""
    arguments = invocation.arguments
    if invocation.program != "python" or len(arguments) != 1 or not arguments[0].endswith(".py"):
        return
    path = inside_app(invocation.folder, arguments[0])
    content = read(path) if path else None
    if content is None or b"PORT" in content or b"argv" in content or b"SERVER_NAME" in content:
        return
    tree = try_parse(content)
    if tree is not None and (found := next(_served(tree), None)):
        yield errors.ignores_port(started, f"{path}:{found[0].lineno}: port {found[1]}", "python")


def _apps(tree: ast.Module) -> dict[str, str]:
    """Return the names that are bound to an app, and the port that each framework serves on."""
    return {
        target.id: _FRAMEWORKS[name]
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if (name := last_name(node.value.func)) in _FRAMEWORKS
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _served(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Yield the calls that start a server on a port written there or on its default one, and that port."""
    apps = _apps(tree)
    imported = {
        alias.asname or alias.name: known
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (known := _CALLS.get((node.module or "", alias.name)))
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(keyword.arg is None for keyword in node.keywords):
            continue
        standard = _standard_port(node.func, apps, imported)
        port = next((keyword.value for keyword in node.keywords if keyword.arg == "port"), None)
        if standard is None or any(keyword.arg == "listen" for keyword in node.keywords):
            continue
        if isinstance(port, ast.Constant):
            yield node, str(port.value)
        elif port is None and len(node.args) < 2:
            yield node, standard


def _standard_port(function: ast.expr, apps: Mapping[str, str], imported: Mapping[str, str]) -> str | None:
    """Return the default port of the server that a call starts; None if it starts no known one."""
    if isinstance(function, ast.Name):
        return imported.get(function.id)
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        own = apps.get(function.value.id) if function.attr == "run" else None
        return own or _CALLS.get((function.value.id, function.attr))
    return None
