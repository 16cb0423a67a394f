"""Complete the environment of an image's processes with the variables that nobody has set.

Every start of a container loads this module, so it imports next to nothing.
"""

from __future__ import annotations

import os

from deployer.runner.concurrency import web_concurrency

TYPE_CHECKING = False  # of `typing`, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

PORT = "8000"

_LARGEST = 1 << 18
_ONLY_AST = 0x400
"""PyCF_ONLY_AST, without `ast`, whose import is slow."""
_TEMPORARY = ("/tmp", "/dev/shm")  # noqa: S108
"""The second is writable in a container whose root file system is not."""


def app_environment(
    environ: Mapping[str, str], app_object: str | None, *, app: str = "/app", root: str = "/"
) -> dict[str, str]:
    """Return the environment of an image's processes: `environ`, completed.

    `app` is the app's folder, `root` where /proc and /sys are. A user without an entry in /etc/passwd
    (``docker run --user 12345``) has ``/`` as HOME, which is not writable, and no name, so that
    `getpass.getuser` would raise.
    """
    env = dict(environ)
    env["PORT"] = env.get("PORT") or PORT
    env["PYTHONPATH"] = env.get("PYTHONPATH") or app
    env.update(default_flask_app(env, app_object, app=app))
    if (env.get("HOME") or "/") == "/":
        env["HOME"] = app
    env["USER"] = env.get("USER") or env.get("LOGNAME") or _user_name()
    env["WEB_CONCURRENCY"] = env.get("WEB_CONCURRENCY") or str(web_concurrency(root))
    return env


def default_flask_app(env: Mapping[str, str], app_object: str | None, *, app: str) -> dict[str, str]:
    """Return FLASK_APP for the app object, unless that is set, or Flask's own file sets it."""
    unset = app_object and not env.get("FLASK_APP") and not _sets_flask_app(f"{app}/.flaskenv")
    return {"FLASK_APP": app_object} if unset and app_object else {}


def own_flask_app(env: Mapping[str, str], command: str, *, app_object: str | None, app: str) -> Mapping[str, str]:
    """Return the environment of a Procfile's command, without FLASK_APP's default if Flask's own file sets it there.

    A command may enter a folder with such a file (``cd src && flask run``), and a variable wins over the file.
    """
    words = command.split(None, 3)
    inside = len(words) > 2 and words[0] == "cd" and (words[1].endswith(";") or words[2] in ("&&", ";"))
    if not inside or not app_object or env.get("FLASK_APP") != app_object:
        return env
    folder = os.path.normpath(f"{app}/{words[1].rstrip(';')}")
    while folder.startswith(f"{app}/"):
        if os.path.exists(f"{folder}/.flaskenv"):  # noqa: PTH110
            # Flask reads the nearest of these files alone.
            sets = _sets_flask_app(f"{folder}/.flaskenv")
            return {name: value for name, value in env.items() if name != "FLASK_APP"} if sets else env
        folder = folder.rpartition("/")[0]
    return env


def _sets_flask_app(flaskenv: str) -> bool:
    """Return True if Flask will read FLASK_APP from its own file, which does not replace a variable that is set."""
    for line in _read(flaskenv).splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name.removeprefix("export ").strip() == "FLASK_APP" and value.strip():
            return True
    return False


def behind_router(environ: Mapping[str, str], app: str = "/app", *, commands: Iterable[str] = ()) -> dict[str, str]:
    """Return the variables that gunicorn needs behind a router, as on Heroku: trusted proxies, and a log of requests.

    GUNICORN_CMD_ARGS has precedence over gunicorn's file, so a file that sets the log decides alone. It is found by its
    name, or because one of `commands` names it.
    """
    added = {}
    if not environ.get("FORWARDED_ALLOW_IPS"):
        added["FORWARDED_ALLOW_IPS"] = "*"
    if not environ.get("GUNICORN_CMD_ARGS") and not any(map(_sets_access_log, _gunicorn_files(app, commands))):
        added["GUNICORN_CMD_ARGS"] = "--access-logfile -"
    return added


def _gunicorn_files(app: str, commands: Iterable[str]) -> Iterator[str]:
    for folder in (app, f"{app}/config"):
        try:
            names = os.listdir(folder)  # noqa: PTH208 - pathlib costs a container's start 5 ms
        except OSError:
            continue
        yield from (f"{folder}/{name}" for name in names if "gunicorn" in name and name.endswith(".py"))
    for command in commands:
        if "gunicorn" not in command:
            continue
        for word in command.replace("=", " ").replace("'", " ").replace('"', " ").split():
            name = word.removeprefix("-c").removeprefix("file:")
            if name.startswith("python:"):
                name = name.removeprefix("python:").replace(".", "/") + ".py"
            if name.endswith(".py"):
                yield os.path.join(app, name)  # noqa: PTH118


def _sets_access_log(file: str) -> bool:
    text = _read(file)
    if "accesslog" not in text:
        return False
    try:
        tree: Any = compile(text, file, "exec", _ONLY_AST, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return _assigns(tree.body, "accesslog")


def _assigns(statements: Iterable[Any], name: str) -> bool:
    """Return True if a statement of a module, or one inside it, assigns to a name."""
    for statement in statements:
        kind = type(statement).__name__
        if kind in {"FunctionDef", "AsyncFunctionDef", "ClassDef"}:
            continue
        targets = getattr(statement, "targets", [])
        if kind == "AnnAssign" and statement.value is not None:
            targets = [statement.target]
        if any(getattr(one, "id", "") == name for target in targets for one in getattr(target, "elts", [target])):
            return kind != "Delete"
        inner = [
            each
            for part in ("body", "orelse", "handlers", "finalbody", "cases")
            for each in getattr(statement, part, [])
        ]
        if _assigns(inner, name):
            return True
    return False


def _read(file: str) -> str:
    try:
        # As bytes at first: a container's only process would load a codec for anything else.
        with open(file, "rb") as opened:  # noqa: PTH123
            return opened.read(_LARGEST).decode("utf-8", "replace")
    except OSError:
        return ""


def _user_name() -> str:
    uid = os.geteuid()
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"u{uid}"


def temporary_folder(environ: Mapping[str, str], places: Sequence[str] = _TEMPORARY) -> dict[str, str]:
    """Return a TMPDIR that is writable if the first of `places` is not; nothing if there is no need.

    Without one gunicorn does not start under ``docker run --read-only``.
    """
    if environ.get("TMPDIR") or os.access(places[0], os.W_OK):
        return {}
    return next(({"TMPDIR": place} for place in places[1:] if os.access(place, os.W_OK)), {})


def runtime_folder(environ: Mapping[str, str], places: Sequence[str] = _TEMPORARY) -> dict[str, str]:
    """Make a fresh XDG_RUNTIME_DIR for one process; return nothing if it is set, or if no place is writable.

    Two gunicorns with one folder would unlink each other's control sockets.
    """
    if environ.get("XDG_RUNTIME_DIR"):
        return {}
    for place in places:
        folder = f"{place}/deploy-{os.getpid()}-{os.urandom(4).hex()}"  # tempfile costs a start 8 ms
        try:
            os.mkdir(folder, 0o700)  # noqa: PTH102
        except OSError:
            continue
        return {"XDG_RUNTIME_DIR": folder}
    return {}
