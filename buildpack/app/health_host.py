"""Find a host name that an app accepts, for the health check.

Django refuses any other with 400 (DisallowedHost), so an app that runs well would look broken.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

from buildpack.app.app_json import read_app_json
from buildpack.app.bindings import absolute_module, module_of, try_parse
from buildpack.app.source import LARGEST_MODULE, SourceTree
from buildpack.errors import BuildpackError

_VARIABLES = ("ALLOWED_HOSTS", "DJANGO_ALLOWED_HOSTS")
_LOCAL = frozenset({"*", "localhost", ".localhost"})
_MOST = 50
_NAMED = re.compile(rb"""DJANGO_SETTINGS_MODULE["'][\s,\]=]+["']([\w.]+)["']""", re.ASCII)
_QUOTED = re.compile(r"""["']([^"']*)["']""")
_BETWEEN = re.compile(r"[\s,;]+")


def find_health_host(tree: SourceTree | None, environment: Mapping[str, str]) -> str:
    """Return the host to send to an app; empty if it accepts ``localhost``, or if its files do not show one.

    `environment` is the app's; `tree` is None if its files are unknown. The first of these counts: ``httpHeaders``
    of the web process's ``healthchecks`` in app.json, the variable ALLOWED_HOSTS, and a list ALLOWED_HOSTS in the
    settings that DJANGO_SETTINGS_MODULE names.
    """
    for host in _headers(tree) if tree else ():
        return host
    for name in _VARIABLES:
        if environment.get(name, "").strip():
            return _first(_split(environment[name]))
    return _first(_settings(tree, environment)) if tree else ""


def is_host(text: str) -> bool:
    """Return True if this can be a Host header: a name or an address, and perhaps a port."""
    return 0 < len(text) <= 255 and text.isascii() and text.isprintable() and not set(text) & set(" /,@*")


def _first(hosts: Iterable[str]) -> str:
    known = [host for host in hosts if host]
    if not _LOCAL.isdisjoint(known):
        return ""
    # ".example.com" allows the domain and all its subdomains, "*.example.com" only the subdomains.
    named = [f"www{host[1:]}" if host.startswith("*.") else host.removeprefix(".") for host in known]
    return next((host for host in named if is_host(host)), "")


def _split(value: str) -> list[str]:
    """Return the hosts in a variable: a list of JSON or Python, or names between commas or spaces."""
    if value.strip() == "[]":
        return []
    return _QUOTED.findall(value) if _QUOTED.search(value) else _BETWEEN.split(value)


def _headers(tree: SourceTree) -> Iterator[str]:
    """Yield the hosts that app.json names; the build reports faults in that file."""
    try:
        yield from filter(is_host, read_app_json(tree.folder).health_hosts())
    except BuildpackError:
        return


def _settings(tree: SourceTree, environment: Mapping[str, str]) -> list[str]:
    """Return the hosts of the settings that Django loads; none if they are computed, or if nothing names the module."""
    module = environment.get("DJANGO_SETTINGS_MODULE") or _named_module(tree)
    if module:
        return _Settings(tree).hosts(module) or []
    found = [_Settings(tree).hosts(module_of(path)) for path in _python_files(tree, "settings")]
    answers = {tuple(hosts) for hosts in found if hosts}
    return [*answers.pop()] if len(answers) == 1 else []


def _named_module(tree: SourceTree) -> str:
    """Return the module that a server's entry point names, else the one that manage.py names."""
    for file in ("wsgi.py", "asgi.py", "manage.py"):
        for path in _python_files(tree, file):
            if found := _NAMED.search(tree.read(path, LARGEST_MODULE) or b""):
                return found[1].decode("ascii")
    return ""


def _python_files(tree: SourceTree, part: str) -> list[str]:
    return [file.path for file in tree.files if file.path.endswith(".py") and part in file.path][:_MOST]


class _Settings:
    """Follows ALLOWED_HOSTS through Django's settings, if it is a literal list."""

    def __init__(self, tree: SourceTree) -> None:
        self._tree = tree
        self._paths = {file.path for file in tree.files}
        self._left = _MOST

    def hosts(self, module: str) -> list[str] | None:
        """Return the last value of a module's ALLOWED_HOSTS; None if it has none, or computes it."""
        path = self._find(module)
        self._left -= 1
        if not path or self._left < 0:
            return None
        if (parsed := try_parse(self._tree.read(path, LARGEST_MODULE) or b"")) is None:
            return None
        package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
        hosts: list[str] | None = None
        for statement in parsed.body:
            match statement:
                case ast.ImportFrom(names=[ast.alias(name="*")], module=name, level=level):
                    inherited = self.hosts(absolute_module(name or "", level, package))
                    hosts = hosts if inherited is None else inherited
                case ast.Assign(targets=targets, value=value) if any(map(_is_hosts, targets)):
                    hosts = _written_out(value)
                case ast.AnnAssign(target=target, value=value) if _is_hosts(target) and value is not None:
                    hosts = _written_out(value)
                case ast.AugAssign(target=target, op=ast.Add(), value=value) if _is_hosts(target):
                    more = _written_out(value)
                    hosts = None if hosts is None or more is None else [*hosts, *more]
        return hosts

    def _find(self, module: str) -> str:
        """Return a module's file; the app's packages may be in a folder of it."""
        path = module.replace(".", "/")
        for file in (f"{path}.py", f"{path}/__init__.py"):
            found = [each for each in self._paths if each == file or each.endswith(f"/{file}")]
            if found:
                return min(found, key=len)
        return ""


def _is_hosts(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "ALLOWED_HOSTS"


def _written_out(value: ast.expr) -> list[str] | None:
    if not isinstance(value, ast.List | ast.Tuple):
        return None
    hosts = [str(each.value) for each in value.elts if isinstance(each, ast.Constant)]
    return hosts if len(hosts) == len(value.elts) else None
