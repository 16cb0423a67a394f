"""Read the package indexes of a lock, and the variables in addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping

from buildpack.dataclass import dataclass
from buildpack.errors import lock as errors
from buildpack.errors import show

_GONE = re.compile(r"https?://pypi\.python\.org/simple/?")
_USERINFO = re.compile(r"(?<=://)(?:[^/]*|[^/@:\s]{0,200}:(?!\d{1,5}/)[^@\s]{0,200})@")
"""A login. Text after a colon that is not a port is a password, and may hold a slash."""
_LOGIN = re.compile(r"https?://(?!git@)([^/@\s\"']+)@")
"""The login before the host, except `git`, the user name of public repositories."""
_LOGIN_PART = re.compile(r"([^/@]*://|)([^/]*)@")
_WHOLE = re.compile(r"[^$]*|\$(?:\{[^}$]*\}|[A-Za-z_][A-Za-z0-9_]*)(?::\d+)?")
_OWN = re.compile(r"(?:DEPLOY|DOCKER|ACTIONS)_.*|\w+_PROXY|PIPENV_PYPI_MIRROR|REGISTRY_AUTH_FILE", re.IGNORECASE)
"""Variables of deploy, or of the machine that it runs on: no address gets their values."""
_VARIABLE = re.compile(r"\$(?:\{([^}$]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A package index. `url` may hold ``${VAR}`` and credentials: show `without_credentials(url)`."""

    name: str
    url: str
    verify_ssl: bool = True

    def __repr__(self) -> str:
        return f"Source(name={self.name!r}, url={without_credentials(self.url)!r}, verify_ssl={self.verify_ssl})"


PYPI = Source(name="pypi", url="https://pypi.org/simple")


def parse_sources(value: object, bad: list[str]) -> tuple[tuple[Source, ...], list[str]]:
    """Parse ``_meta.sources``; returns the sources, PyPI if none is named, and warnings. Appends to `bad`."""
    if value is None or value == []:
        return (PYPI,), []
    if not isinstance(value, list):
        bad.append("Pipfile.lock: `_meta.sources` is not a list")
        return (PYPI,), []
    sources: dict[str, Source] = {}
    warnings: list[str] = []
    for number, entry in enumerate(value, start=1):
        source = _parse_source(entry, number, bad)
        if source is None:
            continue
        if source.name in sources:
            bad.append(f"Pipfile.lock: two sources are called `{show(source.name)}`")
        sources[source.name] = source
        userinfo = _USERINFO.search(source.url)
        if userinfo and not _VARIABLE.search(userinfo[0]):
            warnings.append(errors.credential_in_lock(source.name))
        if not source.verify_ssl:
            warnings.append(errors.unverified_source(source.name))
    return tuple(sources.values()), warnings


def _parse_source(entry: object, number: int, bad: list[str]) -> Source | None:
    if not isinstance(entry, dict) or not isinstance(url := entry.get("url"), str) or not url:
        bad.append(f"Pipfile.lock: source {number} has no `url`")
        return None
    name = entry.get("name", "")
    if not isinstance(name, str):
        bad.append(f"Pipfile.lock: the name of source {number} is not a string")
        return None
    verify = entry.get("verify_ssl", True)
    if isinstance(verify, str):  # "true", and "$VERIFY" in the wild
        verify = verify.lower() != "false"
    # The old address of PyPI no longer answers.
    return Source(name=name, url=PYPI.url if _GONE.fullmatch(url) else url, verify_ssl=bool(verify))


def split_address(address: str) -> tuple[str, str, str]:
    """Split an address into the scheme, the login without ``@``, and the rest."""
    found = _LOGIN_PART.match(address)
    return (found[1], found[2], address[found.end() :]) if found else ("", "", address)


def check_variables(sources: Mapping[str, str], packages: Mapping[str, str], *, file: str) -> None:
    """Refuse variables whose values no server may get: the author of `file` chooses the servers.

    A login may hold any variable that does not belong to deploy. The rest of an address may hold variables only if it
    is a source's. No variable may be a part of the host. It may be the whole host, or the start of the address: then
    the variable itself names the server. Both mappings are from the name of an address in messages to the address.
    Raises AppError with all refused variables.
    """
    written = [(each, address, True) for each, address in sources.items()]
    written += [(each, address, False) for each, address in packages.items()]
    refused = [
        show(f"{each}: {problem}")
        for each, address, is_source in written
        if "$" in address
        for problem in _refused(address, is_source=is_source)
    ]
    if refused:
        raise errors.refused_variables(refused, file=file)


def _refused(address: str, *, is_source: bool) -> list[str]:
    scheme, _, rest = split_address(address)
    own = [name for name in _names(address) if _OWN.fullmatch(name)]
    begin, separator, after = (scheme, "://", rest) if scheme else rest.partition("://")
    host = (after if separator else begin).partition("/")[0]
    if not is_source:
        why, names = "is not in the login", _names(scheme + rest, bare=False)
    else:
        why = "is only a part of the host"
        names = [*(_names(begin) if separator else ()), *(() if _WHOLE.fullmatch(host) else _names(host))]
    refused = [f"${{{name}}} {why}" for name in names if name not in own]
    return [*(f"${{{name}}} belongs to deploy" for name in own), *refused]


def _names(text: str, *, bare: bool = True) -> list[str]:
    """List the variables. If `bare` is false, a dollar without braces is an ordinary character."""
    found = (one[1] or (bare and one[2]) for one in _VARIABLE.finditer(text))
    return list(dict.fromkeys(filter(None, found)))


def expand_url(url: str, environ: Mapping[str, str], *, where: str) -> str:
    """Replace ``${VAR}`` and, if the variable is set, ``$VAR`` with its value, as pipenv does.

    The result holds credentials: never put it into a message. `where` names the URL in an error. Raises DependencyError
    that names the missing variables.
    """
    missing = [found[1] for found in _VARIABLE.finditer(url) if found[1] is not None and found[1] not in environ]
    if missing:
        raise errors.missing_variables(where, sorted(set(missing)))
    return _VARIABLE.sub(lambda found: environ.get(found[1] or found[2], found[0]), url)


def set_variables(url: str, environ: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the URL with each variable that is set spelt ``${VAR}``, and their values by that text."""
    values = {f"${{{name}}}": environ[name] for name in _names(url) if name in environ}
    return _VARIABLE.sub(
        lambda found: f"${{{found[2]}}}" if found[2] and found[2] in environ else found[0], url
    ), values


def holds_credential(text: str) -> bool:
    """Return True if a file's text has a URL with a login that is not a ``${VAR}``."""
    return any(not _VARIABLE.search(found[1]) for found in _LOGIN.finditer(text))


def without_credentials(url: str) -> str:
    """Return the URL without user name and password, for messages and records."""
    return _USERINFO.sub("", url)
