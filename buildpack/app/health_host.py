"""The host name that an app answers to, for the request that finds out whether it runs.

Django refuses any other with 400 (DisallowedHost), and an app that runs well would look broken.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from buildpack.app.source import SourceTree
from buildpack.app.textfile import open_inside, read_text
from buildpack.bounded import parse_json
from buildpack.errors import BuildpackError

__all__ = ["find_health_host", "is_host"]

_VARIABLES = ("ALLOWED_HOSTS", "DJANGO_ALLOWED_HOSTS")
_LOCAL = frozenset({"*", "localhost", ".localhost"})
_LARGEST = 256 * 1024
_MOST = 50


def find_health_host(tree: SourceTree | None, environment: Mapping[str, str]) -> str:
    """Return the host to ask an app for; empty if it answers to ``localhost``, or does not say.

    `environment` is the app's; `tree` is None if its files are unknown. In this order: ``httpHeaders`` of the web
    process's ``healthchecks`` in app.json, the variable ALLOWED_HOSTS, and a list ALLOWED_HOSTS in Django's settings.
    """
    for host in _headers(tree) if tree else ():
        return host
    for name in _VARIABLES:
        if environment.get(name, "").strip():
            return _first(environment[name].replace(",", " ").split())
    for hosts in _settings(tree) if tree else ():
        return _first(hosts)
    return ""


def is_host(text: str) -> bool:
    """Tell whether this can be sent as a Host header: a name or an address, and a port."""
    return 0 < len(text) <= 255 and text.isascii() and text.isprintable() and not set(text) & set(" /,@")


def _first(hosts: Iterable[str]) -> str:
    known = [host for host in hosts if host]
    if not _LOCAL.isdisjoint(known):
        return ""
    # ".example.com" stands for the domain and all below it.
    return next((host.removeprefix(".") for host in known if is_host(host.removeprefix("."))), "")


def _headers(tree: SourceTree) -> Iterator[str]:
    try:
        document: Any = parse_json(read_text(tree.folder, "app.json") or "{}")
        for check in document["healthchecks"]["web"]:
            for header in check.get("httpHeaders", ()):
                if str(header["name"]).lower() == "host" and is_host(str(header["value"])):
                    yield str(header["value"])
    except (BuildpackError, ValueError, KeyError, TypeError, AttributeError):
        return


def _settings(tree: SourceTree) -> Iterator[list[str]]:
    """Find lists that are written out; what is computed is for the app alone to know."""
    files = [file for file in tree.files if file.path.endswith(".py") and "settings" in file.path]
    for file in files[:_MOST]:
        try:
            with open_inside(tree.folder, file.path) as opened:
                content = opened.read(_LARGEST)
            if b"ALLOWED_HOSTS" not in content:
                continue
            body = ast.parse(content).body
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for statement in body:
            if (
                isinstance(statement, ast.Assign)
                and any(isinstance(target, ast.Name) and target.id == "ALLOWED_HOSTS" for target in statement.targets)
                and isinstance(statement.value, ast.List | ast.Tuple)
            ):
                hosts = [each.value for each in statement.value.elts if isinstance(each, ast.Constant)]
                if hosts and len(hosts) == len(statement.value.elts):
                    yield [str(host) for host in hosts]
