"""The start of a server, as readers of its command line return it, and the parts that they share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from buildpack.app.checks.commands import inside_app
from buildpack.app.checks.options import Options
from buildpack.dataclass import dataclass

Listening = Literal["port", "fixed", "loopback", "socket", "unknown"]
"""On ``$PORT``; on a port of its own; on the loopback address; on a Unix socket; or the command does not show it."""

Read = Callable[[str], "bytes | None"]
"""Returns the content of a file of the app by its path; None if the image has no such file."""

_LOOPBACK = re.compile(r"(?:127\.\d+\.\d+\.\d+|localhost|\[::1\]|::1)(?::|$)")


class Address(NamedTuple):
    """The place where a server listens, and the words that decide it: a part of the command, or a file and its line."""

    kind: Listening
    words: str = ""


UNKNOWN = Address("unknown")


class Need(NamedTuple):
    """A module that a server imports because an option names it; `words` are that option (``-k gevent``).

    `search` are the folders that it is imported from, None for those of the target.
    """

    module: str
    words: str
    search: tuple[str, ...] | None = None


_OWN = ("eventlet", "gevent", "httptools", "rloop", "tornado", "trio", "uvloop", "websockets", "winloop", "wsproto")
_WORKERS = {"gevent_wsgi": "gevent", "gevent_pywsgi": "gevent", "websockets-sansio": "websockets"}
_WORKERS |= {name: name for name in _OWN}
"""Short names of classes of workers, loops and protocols, and the modules that they need."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """The start of a server, as its command line describes it.

    `target` is the object as ``module:object`` (``blasto:APP``), None if a file names it. `written` is its spelling in
    the command, empty if it is the same. `joint` is the character between module and object in that spelling. `search`
    are the folders that the server imports from, relative to the app's folder; None if the command does not show them.
    `verb` is what the server does with the object. `called` is true if the server calls the object to get the app;
    `plain` if it serves nothing but WSGI. Options name the modules `needs` and the `files`, each of which is a path in
    the app with its option; `config` is the Python file of the server's settings, empty if there is none.
    """

    server: str
    target: str | None = None
    written: str = ""
    joint: Literal[":", "."] = ":"
    verb: Literal["serve", "run", "load"] = "serve"
    search: tuple[str, ...] | None = ("",)
    address: Address = UNKNOWN
    called: bool = False
    plain: bool = False
    needs: tuple[Need, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    config: str = ""

    @property
    def module(self) -> str:
        """The target's module; empty if a file names the target."""
        return (self.target or "").partition(":")[0]


def read_need(value: str | None, option: str) -> Need | None:
    """Return the module that a short name or a dotted one (``uvicorn.workers.UvicornWorker``) needs, if it is known."""
    if value is None:
        return None
    dotted = re.fullmatch(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\.[A-Za-z_]\w*", value)
    module = dotted[1] if dotted else _WORKERS.get(value)
    return Need(module, f"{option} {value}") if module else None


def read_needs(options: Options, *names: str) -> tuple[Need, ...]:
    """Return the modules that these options need."""
    found = (read_need(options.last(name), name) for name in names)
    return tuple(need for need in found if need)


def read_config_files(folder: str | None, options: Options, *names: str) -> tuple[tuple[str, str], ...]:
    """Return the files that these options name, each with the option, if they are in the app's folder."""
    found = []
    for name in names:
        value = options.last(name) or ""
        path = inside_app(folder, re.sub(r"^(?:file|json|toml):", "", value))
        if path and not value.startswith("python:"):
            found.append((path, f"{name} {value}"))
    return tuple(found)


def listening_at(binds: Sequence[str], *, option: str) -> Address:
    """Return the address of a server that binds addresses such as ``0.0.0.0:8000`` and ``unix:/tmp/socket``."""
    words = " ".join(f"{option} {one}" for one in binds)
    addresses = [one for bind in binds for one in bind.split(",")]
    ours = [one for one in addresses if "$" in one]
    if ours:
        inside = all(_LOOPBACK.match(one) for one in ours)
        return Address("loopback" if inside else "port", words)
    if any(one.startswith("fd://") for one in addresses):
        return UNKNOWN
    return Address("socket" if all(one.startswith("unix:") for one in addresses) else "fixed", words)


def listening_on(host: str, port: str | None, *, standard: str) -> Address:
    """Return the address of a server with options for host and port; `standard` is its default port."""
    if port is None:
        return Address("fixed", f"without --port: port {standard}")
    if "$" not in port:
        return Address("fixed", f"port {port}")
    return Address("loopback", f"host {host}") if _LOOPBACK.match(host) else Address("port")


def list_search_folders(
    folder: str | None, more: Sequence[str], variables: Mapping[str, str]
) -> tuple[str, ...] | None:
    """Return the folders that modules are imported from, the app's own last; None if the command does not show one."""
    paths = [path for path in more if path]
    # The launcher sets PYTHONPATH to the app's folder. A command may add to it, and repeat it as $PYTHONPATH.
    paths += [path for path in variables.get("PYTHONPATH", "").split(":") if path and path != "$PYTHONPATH"]
    found = [inside_app(folder, path) for path in paths]
    if folder is None or None in found:
        return None
    return tuple(dict.fromkeys([folder, *(path for path in found if path is not None), ""]))
