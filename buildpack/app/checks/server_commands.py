"""Read web servers' command lines: the object to serve, the folders to import from, and the address."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Callable, Mapping

from buildpack.app.bindings import assigned_once, try_parse
from buildpack.app.checks import options as grammars
from buildpack.app.checks import workers
from buildpack.app.checks.commands import Invocation, inside_app, split_words
from buildpack.app.checks.options import Options, parse_options
from buildpack.app.checks.serving import (
    UNKNOWN,
    Address,
    Need,
    Read,
    Serving,
    list_search_folders,
    listening_at,
    listening_on,
    read_config_files,
    read_need,
    read_needs,
)
from buildpack.dataclass import replace


def read_serving(invocation: Invocation, read: Read, *, app_object: str = "") -> Serving | None:
    """Read how this program serves; None if it is not a known server, or if its command line is not understood.

    `app_object` is what the launcher sets as ``FLASK_APP``.
    """
    if invocation.program == "flask":
        return _flask(invocation, read, app_object)
    reader = _READERS.get(invocation.program)
    return reader(invocation, read) if reader else None


def _gunicorn(invocation: Invocation, read: Read) -> Serving | None:
    more = split_words(invocation.variables.get("GUNICORN_CMD_ARGS", ""))
    environment = parse_options(more, grammars.GUNICORN) if more is not None else None
    options = parse_options(invocation.arguments, grammars.GUNICORN)
    if options is None or environment is None or options.has("--paste", "--paster"):
        return None
    named = options.last("--config") or environment.last("--config") or ""
    path, config = _gunicorn_config(invocation.folder, named, read)

    def setting(name: str) -> str | None:
        """Return a setting's value; ``$`` if it is not known."""
        last = options.last(f"--{name}") or environment.last(f"--{name}")
        if last is not None:
            return last
        found = config.get(name.replace("-", "_")) if config is not None else ("$", 0)
        return found[0] if found else None

    moved = setting("chdir")
    target = options.operands[0] if options.operands else setting("wsgi_app")
    needs = [read_need(setting(name), f"--{name}") for name in ("worker-class", "logger-class")]
    folder = inside_app(invocation.folder, moved) if moved else invocation.folder
    search = list_search_folders(folder, (setting("pythonpath") or "").split(","), invocation.variables)
    start = list_search_folders(invocation.folder, (), invocation.variables)
    if search is not None and start is not None:
        search = tuple(dict.fromkeys((*search, *start)))  # gunicorn imports from the folder in which it starts as well
    if named.startswith("python:") and start is not None:
        needs.append(Need(named.removeprefix("python:"), f"-c {named}", start))
    binds = options.values.get("--bind") or environment.values.get("--bind")
    if binds:
        address = listening_at(binds, option="-b")
    elif config is not None and "bind" in config:
        value, line = config["bind"]
        address = Address(listening_at([value], option="bind").kind, f"{path}:{line}")
    else:
        address = UNKNOWN if config is None else Address("port")
    return Serving(
        server="gunicorn",
        target=None if target and "$" in target else target,
        search=search,
        needs=tuple(need for need in needs if need),
        files=tuple(
            one
            for given in (options, environment)
            for one in read_config_files(invocation.folder, given, "--config", "--log-config")
        ),
        config=path if config is not None and path else "",
        address=address,
        plain=setting("worker-class") is None and config == {},
    )


def _gunicorn_config(folder: str | None, named: str, read: Read) -> tuple[str, Mapping[str, tuple[str, int]] | None]:
    """Return the path of gunicorn's own settings and what they set; None for what is not known."""
    if named.startswith("python:"):
        named = f"{named.removeprefix('python:').replace('.', '/')}.py"
    path = inside_app(folder, (named or "./gunicorn.conf.py").removeprefix("file:"))
    if path is None:
        return "", None
    content = read(path)
    if content is None:
        return path, None if named else {}
    return path, parse_config(content)


def parse_config(content: bytes) -> Mapping[str, tuple[str, int]] | None:
    """Parse ``gunicorn.conf.py``: the text and line of each setting, ``$`` for one that is computed.

    None if the file may set others in ways that its syntax tree does not show.
    """
    if (tree := try_parse(content)) is None:
        return None
    found: dict[str, tuple[str, int]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            return None
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = ("$", node.lineno)
        elif isinstance(node, ast.alias):
            found[node.asname or node.name] = ("$", 0)
        elif isinstance(node, ast.Name) and node.id in ("globals", "exec", "locals"):
            return None
    for name, statement in assigned_once(tree):
        if isinstance(statement.value, ast.Constant | ast.List | ast.Tuple):
            found[name] = (_literal(statement.value), statement.lineno)
    return found


def _literal(value: ast.expr) -> str:
    try:
        literal = ast.literal_eval(value)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return "$"
    return ",".join(map(str, literal)) if isinstance(literal, list | tuple) else str(literal)


def _uvicorn(invocation: Invocation, _read: Read) -> Serving | None:
    options = parse_options(invocation.arguments, grammars.UVICORN)
    if options is None:
        return None
    variables = invocation.variables
    moved = options.last("--app-dir")
    folder = inside_app(invocation.folder, moved) if moved else invocation.folder
    host = options.last("--host") or variables.get("UVICORN_HOST") or "127.0.0.1"
    port = options.last("--port") or variables.get("UVICORN_PORT")
    elsewhere = options.has("--uds", "--fd", "--env-file")
    address = UNKNOWN if elsewhere else listening_on(host, port, standard="8000")
    return Serving(
        server="uvicorn",
        target=options.operands[0] if options.operands else variables.get("UVICORN_APP"),
        search=list_search_folders(folder, (), variables),
        address=address,
        called=options.has("--factory"),
        needs=read_needs(options, "--loop", "--http", "--ws"),
        files=read_config_files(invocation.folder, options, "--log-config"),
    )


def _hypercorn(invocation: Invocation, _read: Read) -> Serving | None:
    options = parse_options(invocation.arguments, grammars.HYPERCORN)
    if options is None:
        return None
    binds = [*options.values.get("--bind", ()), *options.values.get("--insecure-bind", ())]
    standard = UNKNOWN if options.has("--config") else Address("fixed", "without --bind: port 8000")
    address = listening_at(binds, option="--bind") if binds else standard
    return Serving(
        server="hypercorn",
        target=options.operands[0].removeprefix("asgi:") if options.operands else None,
        needs=(*read_needs(options, "--worker-class"), *_hypercorn_config(options)),
        files=read_config_files(invocation.folder, options, "--config", "--log-config"),
        search=list_search_folders(invocation.folder, (), invocation.variables),
        address=address,
    )


def _hypercorn_config(options: Options) -> tuple[Need, ...]:
    """Return the module of ``-c python:blasto.settings.Config``: all but the last name, if there are several."""
    value = options.last("--config") or ""
    module = value.removeprefix("python:")
    return (Need(module.rpartition(".")[0] or module, f"-c {value}"),) if value.startswith("python:") else ()


def _daphne(invocation: Invocation, _read: Read) -> Serving | None:
    options = parse_options(invocation.arguments, grammars.DAPHNE)
    if options is None:
        return None
    address = listening_on(options.last("--bind") or "127.0.0.1", options.last("--port"), standard="8000")
    return Serving(
        server="daphne",
        target=options.operands[0] if options.operands else None,
        search=list_search_folders(invocation.folder, (), invocation.variables),
        address=UNKNOWN if options.has("--endpoint", "--fd", "--unix-socket") else address,
    )


def _waitress(invocation: Invocation, _read: Read) -> Serving | None:
    options = parse_options(invocation.arguments, grammars.WAITRESS)
    if options is None:
        return None
    listens = options.values.get("--listen")
    if listens:
        address = listening_at(listens, option="--listen")
    else:
        address = listening_on(options.last("--host") or "0.0.0.0", options.last("--port"), standard="8080")  # noqa: S104
    return Serving(
        server="waitress-serve",
        target=options.last("--app") or (options.operands[0] if options.operands else None),
        search=list_search_folders(invocation.folder, (), invocation.variables),
        address=UNKNOWN if options.has("--unix-socket") else address,
        called=options.has("--call"),
    )


def _granian(invocation: Invocation, read: Read) -> Serving | None:
    options = parse_options(invocation.arguments, grammars.GRANIAN)
    if options is None or not options.operands:
        return None
    moved = options.last("--working-dir")
    folder = inside_app(invocation.folder, moved) if moved else invocation.folder
    target, search = _by_path(options.operands[0], folder, invocation.variables, read)
    variables = invocation.variables
    host = options.last("--host") or variables.get("GRANIAN_HOST") or "127.0.0.1"
    address = listening_on(host, options.last("--port") or variables.get("GRANIAN_PORT"), standard="8000")
    return Serving(
        server="granian",
        target=target if ":" in target or not target else f"{target}:app",
        written=options.operands[0],
        search=search,
        address=UNKNOWN if options.has("--uds") else address,
        called=options.has("--factory"),
        needs=read_needs(options, "--loop"),
        files=read_config_files(invocation.folder, options, "--log-config"),
    )


def _flask(invocation: Invocation, read: Read, app_object: str) -> Serving | None:
    """Read which app Flask's command loads; only ``flask run`` serves it."""
    variables = invocation.variables
    group = parse_options(invocation.arguments, grammars.FLASK, until_operand=True)
    if group is None or not group.operands:
        return None
    shipped = find_flaskenv(invocation.folder, read)
    named = group.last("--app") or variables.get("FLASK_APP") or shipped.get("FLASK_APP", ("", ""))[0]
    # Without a name Flask loads the first of these files that has an app.
    found = (one for one in ("wsgi.py", "app.py") if read(inside_app(invocation.folder, one) or one) is not None)
    written = named or app_object or next(found, "")
    target, search = _by_path(written, invocation.folder, variables, read)
    loaded = Serving(
        server="flask",
        verb="load",
        target=target or None,
        written=written,
        search=search,
        files=read_config_files(invocation.folder, group, "--env-file"),
    )
    if group.operands[0] != "run":
        return loaded
    options = parse_options(group.operands[1:], grammars.FLASK)
    if options is None:
        return loaded
    host = options.last("--host") or variables.get("FLASK_RUN_HOST") or "127.0.0.1"
    port = options.last("--port") or variables.get("FLASK_RUN_PORT")
    address = listening_on(host, port, standard="5000")
    return replace(
        loaded,
        verb="serve",
        # Both files may set the port.
        address=UNKNOWN if shipped or group.has("--env-file") else address,
    )


def _by_path(
    written: str, folder: str | None, variables: Mapping[str, str], read: Read
) -> tuple[str, tuple[str, ...] | None]:
    """Return the target of a server that takes a path (``src/blasto:APP``, ``app.py``), and its search folders.

    Such a server goes up from the path while a folder is a package, and imports from the folder above.
    """
    place, colon, name = written.partition(":")
    path = inside_app(folder, place) if place else None
    if not path:
        return "", None
    path = path.removesuffix(".py").removesuffix("/__init__")
    parent, _, module = path.rpartition("/")
    while parent and read(f"{parent}/__init__.py") is not None:
        parent, _, package = parent.rpartition("/")
        module = f"{package}.{module}"
    search = list_search_folders(folder, (), variables)
    return f"{module}{colon}{name}", None if search is None else tuple(dict.fromkeys((parent, *search)))


def find_flaskenv(folder: str | None, read: Read) -> Mapping[str, tuple[str, str]]:
    """Return the variables of the ``.flaskenv`` that Flask finds from `folder` upwards, each with its file and line."""
    while folder is not None:
        path = posixpath.join(folder, ".flaskenv")
        content = read(path)
        if content is not None:
            lines = enumerate(content.decode(errors="replace").splitlines(), 1)
            found = ((number, _ASSIGNMENT.fullmatch(line)) for number, line in lines)
            return {match[1]: (match[2].strip("'\""), f"{path}:{number}") for number, match in found if match}
        folder = posixpath.dirname(folder) if folder else None
    return {}


_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*('[^']*'|\"[^\"]*\"|[^\s#'\"]*)\s*(?:#.*)?")

_READERS: Mapping[str, Callable[[Invocation, Read], Serving | None]] = {
    "gunicorn": _gunicorn,
    "gunicorn.app.wsgiapp": _gunicorn,
    "uvicorn": _uvicorn,
    "hypercorn": _hypercorn,
    "daphne": _daphne,
    "waitress-serve": _waitress,
    "waitress": _waitress,
    "granian": _granian,
    "celery": workers.read_celery,
    "dramatiq": workers.read_dramatiq,
    "dramatiq-gevent": workers.read_dramatiq,
    "arq": workers.read_dotted,
    "huey_consumer": workers.read_dotted,
    "huey_consumer.py": workers.read_dotted,
    "huey.bin.huey_consumer": workers.read_dotted,
    "rq": workers.read_rq,
    "rqworker": workers.read_rq,
}
