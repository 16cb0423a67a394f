"""Checks that the web process listens on ``$PORT``, if its command, or the file that it runs, is plain."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from buildpack.app.checks.commands import Invocation, inside_app
from buildpack.app.checks.serving import Read, Serving
from buildpack.errors import Notice
from buildpack.errors import checks as errors

_FRAMEWORKS = {"Flask": "5000", "Quart": "5000", "Bottle": "8080", "Sanic": "8000"}
_CALLS = {("uvicorn", "run"): "8000", ("waitress", "serve"): "8080"}
"""Functions that serve an app they are given: module, name, and the port they listen on by themselves."""


def check_serving(serving: Serving, *, process: str, line: int) -> Iterator[Notice]:
    """Check the address of a known server."""
    if serving.listening in ("fixed", "socket"):
        yield errors.ignores_port(process, line, serving.told, serving.advice)
    elif serving.listening == "loopback":
        yield errors.listens_on_loopback(process, line, serving.told, serving.advice)


def check_runserver(invocation: Invocation, *, process: str, line: int) -> Iterator[Notice]:
    """Check Django's own server, ``manage.py runserver [ADDRESS]``."""
    words = invocation.arguments
    if invocation.program == "python" and words[:1] and words[0].rpartition("/")[2] == "manage.py":
        words = words[1:]
    elif invocation.program not in ("django-admin", "./manage.py", "manage.py"):
        return
    if not words or words[0] not in ("runserver", "runserver_plus"):
        return
    addresses = [word for word in words[1:] if not word.startswith("-")]
    told = addresses[-1] if addresses else ""
    if "$" in told and not re.match(r"127\.|localhost", told) and ":" in told:
        return
    advice = "write `runserver 0.0.0.0:$PORT`, or better `gunicorn` with the project's wsgi module"
    said = f"runserver {told}" if told else "runserver: 127.0.0.1:8000"
    if "$" in told:
        yield errors.listens_on_loopback(process, line, said, advice)
    else:
        yield errors.ignores_port(process, line, said, advice)


def check_http_server(invocation: Invocation, *, process: str, line: int) -> Iterator[Notice]:
    """Check Python's own server of files, ``python -m http.server [PORT]``."""
    words = invocation.arguments
    if invocation.program != "http.server" or any("$" in word for word in words):
        return
    port = next((word for word in words if word.isdecimal()), "8000")
    yield errors.ignores_port(process, line, f"http.server: port {port}", "write `python -m http.server $PORT`")


def check_file(invocation: Invocation, read: Read, *, process: str, line: int) -> Iterator[Notice]:
    """Check a file that Python runs, ``python app.py``, and which starts a server by itself."""
    words = invocation.arguments
    if invocation.program != "python" or len(words) != 1 or not words[0].endswith(".py") or invocation.folder is None:
        return
    path = inside_app(invocation.folder, words[0])
    content = read(path) if path else None
    if content is None or b"PORT" in content or b"argv" in content or b"SERVER_NAME" in content:
        return
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for call, port in _served(tree):
        told = f"{path}:{call.lineno}: port {port}"
        yield errors.ignores_port(
            process, line, told, 'write `port=int(os.environ["PORT"])` and `host="0.0.0.0"` there'
        )
        return


def _apps(tree: ast.Module) -> dict[str, str]:
    """Return the names that are bound to an app, and the port that each framework serves on."""
    return {
        target.id: _FRAMEWORKS[name]
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if (name := _name(node.value.func)) in _FRAMEWORKS
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _served(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Give calls that start a server on a port that is written there, or on its own."""
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
    """Return the port that a call listens on by itself; None if it starts no known server."""
    if isinstance(function, ast.Name):
        return imported.get(function.id)
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        own = apps.get(function.value.id) if function.attr == "run" else None
        return own or _CALLS.get((function.value.id, function.attr))
    return None


def _name(function: ast.expr) -> str:
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )
