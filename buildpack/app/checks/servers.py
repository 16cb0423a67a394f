"""What a web server's command line says: which object it serves, from which folders it imports, where it listens."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from buildpack.app.checks import options as grammars
from buildpack.app.checks.commands import Invocation, inside_app, split_words
from buildpack.app.checks.options import Options, parse_options
from buildpack.dataclass import dataclass

__all__ = ["Listening", "Need", "Serving", "read_serving"]

Listening = Literal["port", "fixed", "loopback", "socket", "unknown"]
"""On ``$PORT``; on a port of its own; on this machine alone; on a Unix socket; or that cannot be told."""

Read = Callable[[str], "bytes | None"]
"""Gives the content of a file of the app by its path; None where the image has none there."""

_LOOPBACK = re.compile(r"(?:127\.\d+\.\d+\.\d+|localhost|\[::1\]|::1)(?::|$)")


class Need(NamedTuple):
    """A module that an option has the server import, and the words that say so (``-k gevent``)."""

    module: str
    told: str


_WORKERS = {"gevent": "gevent", "gevent_wsgi": "gevent", "gevent_pywsgi": "gevent", "eventlet": "eventlet"} | {
    "tornado": "tornado",
    "uvloop": "uvloop",
    "trio": "trio",
    "httptools": "httptools",
    "websockets": "websockets",
    "websockets-sansio": "websockets",
    "wsproto": "wsproto",
}
"""Short names of classes of workers, loops and protocols, and the modules that they need."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """How a server was started.

    `target` is the object as it is written (``blasto:APP``), None where a file says it; `search` are the folders it is
    imported from, relative to the app's, None where that cannot be told. `told` is what decides where it listens:
    words of the command, or ``gunicorn.conf.py:3``; `advice` is how to have it listen on ``$PORT``.
    `called` tells that the object is called to get the app; `plain` that nothing but WSGI is spoken to it. `needs` are
    modules that options have it import, and `config` is the Python file of its settings, empty if there is none.
    """

    server: str
    target: str | None = None
    search: tuple[str, ...] | None = ("",)
    listening: Listening = "unknown"
    told: str = ""
    advice: str = ""
    called: bool = False
    plain: bool = False
    needs: tuple[Need, ...] = ()
    config: str = ""


def read_serving(invocation: Invocation, read: Read) -> Serving | None:
    """Read how this program serves; None where it is no server that is known here, or is started in an unknown way."""
    reader = _READERS.get(invocation.program)
    return reader(invocation, read) if reader else None


def _gunicorn(invocation: Invocation, read: Read) -> Serving | None:
    more = split_words(invocation.variables.get("GUNICORN_CMD_ARGS", ""))
    environment = parse_options(more, grammars.GUNICORN) if more is not None else None
    options = parse_options(invocation.arguments, grammars.GUNICORN)
    if options is None or environment is None or options.has("--paste") or options.has("--paster"):
        return None
    path, config = _gunicorn_config(invocation, options, read)

    def setting(name: str) -> str | None:
        """Return a setting's value, ``$`` where it cannot be told."""
        last = options.last(f"--{name}") or environment.last(f"--{name}")
        if last is not None:
            return last
        found = config.get(name.replace("-", "_")) if config is not None else ("$", 0)
        return found[0] if found else None

    told = setting("chdir")
    target = options.operands[0] if options.operands else setting("wsgi_app")
    needs = [_need(setting(name), f"--{name}") for name in ("worker-class", "logger-class")]
    folder = _inside(invocation.folder, told) if told else invocation.folder
    search = _search(folder, (setting("pythonpath") or "").split(","), invocation.variables)
    binds = options.values.get("--bind") or environment.values.get("--bind")
    listening, words = _listening_at(binds, option="-b") if binds else ("port", "")
    if not binds and config is None:
        listening = "unknown"
    elif not binds and config is not None and "bind" in config:
        value, line = config["bind"]
        listening, words = _listening_at([value], option="bind")[0], f"{path}:{line}"
    return Serving(
        server="gunicorn",
        target=None if target and "$" in target else target,
        search=search,
        needs=tuple(need for need in needs if need),
        config=path if config is not None and path else "",
        listening=listening,
        told=words,
        advice="leave it out, and gunicorn listens on $PORT by itself",
        plain=setting("worker-class") is None and config == {},
    )


def _need(value: str | None, option: str) -> Need | None:
    """Return the module that a short name or a dotted one (``uvicorn.workers.UvicornWorker``) needs, if it is known."""
    if value is None:
        return None
    dotted = re.fullmatch(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\.[A-Za-z_]\w*", value)
    module = dotted[1] if dotted else _WORKERS.get(value)
    return Need(module, f"{option} {value}") if module else None


def _needs(options: Options, *names: str) -> tuple[Need, ...]:
    found = (_need(options.last(name), name) for name in names)
    return tuple(need for need in found if need)


def _gunicorn_config(
    invocation: Invocation, options: Options, read: Read
) -> tuple[str, Mapping[str, tuple[str, int]] | None]:
    """Return the path of gunicorn's own settings and what they set; None for what cannot be told."""
    named = options.last("--config")
    path = _inside(invocation.folder, (named or "./gunicorn.conf.py").removeprefix("file:"))
    if path is None or (named or "").startswith("python:"):
        return "", None
    content = read(path)
    if content is None:
        return path, None if named else {}
    return path, parse_config(content)


def parse_config(content: bytes) -> Mapping[str, tuple[str, int]] | None:
    """Parse ``gunicorn.conf.py``: the text and line of each setting, ``$`` for one that is computed.

    None where others may be set in ways that do not show.
    """
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found: dict[str, tuple[str, int]] = {}
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom) and any(alias.name == "*" for alias in statement.names):
            return None
        if isinstance(statement, ast.Name) and isinstance(statement.ctx, ast.Store):
            found[statement.id] = ("$", statement.lineno)
        elif isinstance(statement, ast.alias):
            found[statement.asname or statement.name] = ("$", 0)
        elif isinstance(statement, ast.Name) and statement.id in ("globals", "exec", "locals"):
            return None
    counts = [one.id for one in ast.walk(tree) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant | ast.List | ast.Tuple):
            for target in statement.targets:
                if isinstance(target, ast.Name) and counts.count(target.id) == 1:
                    found[target.id] = (_literal(statement.value), statement.lineno)
    return found


def _literal(value: ast.expr) -> str:
    try:
        literal = ast.literal_eval(value)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return "$"
    return ",".join(map(str, literal)) if isinstance(literal, list | tuple) else str(literal)


def _listening_at(binds: Sequence[str], *, option: str) -> tuple[Listening, str]:
    """Tell where addresses such as ``0.0.0.0:8000`` and ``unix:/tmp/socket`` listen, and by which words."""
    told = " ".join(f"{option} {one}" for one in binds)
    addresses = [one for bind in binds for one in bind.split(",")]
    ours = [one for one in addresses if "$" in one]
    if ours:
        inside = all(_LOOPBACK.match(one) for one in ours)
        return ("loopback" if inside else "port"), told
    if any(one.startswith("fd://") for one in addresses):
        return "unknown", told
    return ("socket" if all(one.startswith("unix:") for one in addresses) else "fixed"), told


def _uvicorn(invocation: Invocation, _read: Read) -> Serving | None:
    options = parse_options(invocation.arguments, grammars.UVICORN)
    if options is None:
        return None
    variables = invocation.variables
    told = options.last("--app-dir")
    folder = _inside(invocation.folder, told) if told else invocation.folder
    host = options.last("--host") or variables.get("UVICORN_HOST") or "127.0.0.1"
    port = options.last("--port") or variables.get("UVICORN_PORT")
    listening, words = _listening_on(host, port, standard="8000")
    if options.has("--uds") or options.has("--fd") or options.has("--env-file"):
        listening = "unknown"
    return Serving(
        server="uvicorn",
        target=options.operands[0] if options.operands else variables.get("UVICORN_APP"),
        search=_search(folder, (), variables),
        listening=listening,
        told=words,
        advice="write `--host 0.0.0.0 --port $PORT`",
        called=options.has("--factory"),
        needs=_needs(options, "--loop", "--http", "--ws"),
    )


def _hypercorn(invocation: Invocation, _read: Read) -> Serving | None:
    options = parse_options(invocation.arguments, grammars.HYPERCORN)
    if options is None:
        return None
    binds = [*options.values.get("--bind", ()), *options.values.get("--insecure-bind", ())]
    listening, words = _listening_at(binds, option="--bind") if binds else ("fixed", "without --bind: port 8000")
    if not binds and options.has("--config"):
        listening = "unknown"
    return Serving(
        server="hypercorn",
        target=options.operands[0].removeprefix("asgi:") if options.operands else None,
        needs=_needs(options, "--worker-class"),
        search=_search(invocation.folder, (), invocation.variables),
        listening=listening,
        told=words,
        advice="write `--bind 0.0.0.0:$PORT`",
    )


def _daphne(invocation: Invocation, _read: Read) -> Serving | None:
    options = parse_options(invocation.arguments, grammars.DAPHNE)
    if options is None:
        return None
    listening, words = _listening_on(options.last("--bind") or "127.0.0.1", options.last("--port"), standard="8000")
    if any(options.has(name) for name in ("--endpoint", "--fd", "--unix-socket")):
        listening = "unknown"
    return Serving(
        server="daphne",
        target=options.operands[0] if options.operands else None,
        search=_search(invocation.folder, (), invocation.variables),
        listening=listening,
        told=words,
        advice="write `-b 0.0.0.0 -p $PORT`",
    )


def _waitress(invocation: Invocation, _read: Read) -> Serving | None:
    options = parse_options(invocation.arguments, grammars.WAITRESS)
    if options is None:
        return None
    listens = options.values.get("--listen")
    if listens:
        listening, words = _listening_at(listens, option="--listen")
    else:
        listening, words = _listening_on(options.last("--host") or "0.0.0.0", options.last("--port"), standard="8080")  # noqa: S104
    return Serving(
        server="waitress-serve",
        target=options.last("--app") or (options.operands[0] if options.operands else None),
        search=_search(invocation.folder, (), invocation.variables),
        listening="unknown" if options.has("--unix-socket") else listening,
        told=words,
        advice="write `--port=$PORT`",
        called=options.has("--call"),
    )


def _flask(invocation: Invocation, _read: Read) -> Serving | None:
    options = parse_options(invocation.arguments, grammars.FLASK)
    if options is None or options.operands != ("run",):
        return None
    variables = invocation.variables
    host = options.last("--host") or variables.get("FLASK_RUN_HOST") or "127.0.0.1"
    port = options.last("--port") or variables.get("FLASK_RUN_PORT")
    listening, words = _listening_on(host, port, standard="5000")
    # `.flaskenv` is read too, and is shipped.
    if _read(".flaskenv") is not None or options.has("--env-file"):
        listening = "unknown"
    target = options.last("--app") or variables.get("FLASK_APP") or ""
    return Serving(
        server="flask",
        # Without a name Flask looks for one, in ways of its own.
        target=target if ":" in target else None,
        search=_search(invocation.folder, (), variables),
        listening=listening,
        told=words,
        advice="write `flask run --host 0.0.0.0 --port $PORT`",
    )


def _celery(invocation: Invocation, _read: Read) -> Serving | None:
    """Read which app Celery's workers serve: that listens nowhere, and is found in the same folders."""
    words = invocation.arguments
    named = [word.partition("=")[2] for word in words if word.startswith("--app=")]
    named += [after for word, after in pairwise(words) if word in ("-A", "--app")]
    search = _search(invocation.folder, (), invocation.variables)
    pools = [after for word, after in pairwise(words) if word in ("-P", "--pool")]
    pools += [word.partition("=")[2] for word in words if word.startswith("--pool=")]
    needs = tuple(need for pool in pools if (need := _need(pool, "--pool")))
    return Serving(server="celery", target=named[0], search=search, needs=needs) if len(named) == 1 else None


def _listening_on(host: str, port: str | None, *, standard: str) -> tuple[Listening, str]:
    """Tell where a server listens that is given host and port apart; by which words."""
    if port is None:
        return "fixed", f"without --port: port {standard}"
    if "$" not in port:
        return "fixed", f"port {port}"
    return ("loopback", f"host {host}") if _LOOPBACK.match(host) else ("port", "")


def _inside(folder: str | None, path: str) -> str | None:
    return None if folder is None else inside_app(folder, path)


def _search(folder: str | None, more: Sequence[str], variables: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the folders that modules are imported from, the app's own last; None where one cannot be told."""
    paths = [path for path in more if path]
    # The launcher sets PYTHONPATH to the app's folder; of what a command adds to it, only itself is not known.
    paths += [path for path in variables.get("PYTHONPATH", "").split(":") if path and path != "$PYTHONPATH"]
    found = [_inside(folder, path) for path in paths]
    if folder is None or None in found:
        return None
    return tuple(dict.fromkeys([folder, *(path for path in found if path is not None), ""]))


_READERS: Mapping[str, Callable[[Invocation, Read], Serving | None]] = {
    "gunicorn": _gunicorn,
    "gunicorn.app.wsgiapp": _gunicorn,
    "uvicorn": _uvicorn,
    "hypercorn": _hypercorn,
    "daphne": _daphne,
    "waitress-serve": _waitress,
    "waitress": _waitress,
    "flask": _flask,
    "celery": _celery,
}
