"""Sources of packages with their secrets taken out: what may be shown and stored, and what may not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlunsplit

from buildpack.app.sources import expand_url
from buildpack.bounded import parse_url
from buildpack.dataclass import dataclass
from buildpack.errors import python as errors
from buildpack.secret import Secret

if TYPE_CHECKING:
    from buildpack.app.lockfile import Source

__all__ = [
    "Login",
    "Secret",
    "SourceUrl",
    "netrc_login",
    "open_address",
    "open_source",
    "open_sources",
    "redact",
    "split_login",
    "unreadable_netrc",
    "without_secrets",
]

_PYPI = re.compile(r"https?://(?:[a-z0-9-]+\.)*pypi(?:\.python)?\.org/simple/?", re.IGNORECASE)
_OLD_PYPI = re.compile(r"https?://pypi\.python\.org(?=/|$)", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/?#\s'\"]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user (a secret too: tokens are often sent as the user) and a password."""

    user: Secret
    password: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUrl:
    """A source of the lock, ready to ask: `url` ends with a slash and holds no login."""

    name: str
    url: str
    login: Login | None
    verify: bool


def open_sources(sources: Iterable[Source], environ: Mapping[str, str]) -> tuple[SourceUrl, ...]:
    """Open each source, in their order."""
    return tuple(open_source(source, environ) for source in sources)


def open_source(source: Source, environ: Mapping[str, str]) -> SourceUrl:
    """Expand ``${VAR}``, split off the login, and let PIPENV_PYPI_MIRROR stand in for pypi.org.

    Raises DependencyError for a variable that is not set and for a scheme other than http(s).
    """
    raw = _OLD_PYPI.sub("https://pypi.org", source.url.strip())
    mirror = environ.get("PIPENV_PYPI_MIRROR", "")
    if mirror and _PYPI.fullmatch(raw):
        raw = mirror
    url, login = open_address(raw, environ, where=f"the source `{source.name}`")
    parts = parse_url(url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise errors.source_scheme(source.name, url)
    return SourceUrl(name=source.name, url=url.rstrip("/") + "/", login=login, verify=source.verify_ssl)


def open_address(raw: str, environ: Mapping[str, str], *, where: str) -> tuple[str, Login | None]:
    """Expand ``${VAR}`` in an address and split off its login; a password from a variable may hold ``/``, ``@``, ``:``.

    `where` says for messages what the address is of. Raises DependencyError for a variable that is not set.
    """
    whole = expand_url(raw, environ, where=where)
    scheme, separator, rest = raw.partition("://")
    authority, slash, path = rest.partition("/")
    userinfo, at, host = authority.rpartition("@")
    if not separator or not at:
        return split_login(whole)
    user, colon, password = (expand_url(part, environ, where=where) for part in userinfo.partition(":"))
    if not colon:  # ${CREDENTIALS}@host, where the variable holds both
        user, _, password = user.partition(":")
    login = Login(user=Secret(unquote(user)), password=Secret(unquote(password)))
    return expand_url(f"{scheme}://{host}{slash}{path}", environ, where=where), login


def split_login(url: str) -> tuple[str, Login | None]:
    """Take ``user:password@`` out of a URL."""
    parts = parse_url(url)
    if parts is None:  # nobody can tell where a login ends in it
        return f"[redacted]@{url.rpartition('@')[2]}" if "@" in url else url, None
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = userinfo.partition(":")
    login = Login(user=Secret(unquote(user)), password=Secret(unquote(password)))
    return urlunsplit(parts._replace(netloc=host)), login


def without_secrets(url: str) -> str:
    """Return a URL without its login, query and fragment: a signed link's signature is in its query."""
    parts = parse_url(url)
    if parts is None:
        return split_login(url)[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def redact(text: str, secrets: Iterable[Secret] = ()) -> str:
    """Replace logins in URLs, and these secrets wherever they stand, by ``[redacted]``."""
    text = _USERINFO.sub("[redacted]@", text)
    # The longest first: one secret may be part of another.
    for secret in sorted({each.reveal() for each in secrets if each}, key=lambda each: (-len(each), each)):
        text = text.replace(secret, "[redacted]")
    return text


def unreadable_netrc(environ: Mapping[str, str]) -> str:
    """Say which file of logins exists and cannot be read; empty if there is none."""
    for candidate in _netrc_files(environ):
        try:
            with open(candidate, "rb"):  # noqa: PTH123
                break
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{candidate} cannot be read ({error.strerror})"
    return ""


def _netrc_files(environ: Mapping[str, str]) -> list[str]:
    home = environ.get("HOME", "")
    return [environ["NETRC"]] if environ.get("NETRC") else [f"{home}/.netrc", f"{home}/_netrc"] if home else []


def netrc_login(host: str, environ: Mapping[str, str]) -> Login | None:
    """Look a host up in the file of NETRC, else in ``~/.netrc``; a damaged file counts as none, as in requests."""
    import netrc

    for candidate in _netrc_files(environ):
        try:
            found = netrc.netrc(candidate).authenticators(host)
        except FileNotFoundError:
            continue
        except (netrc.NetrcParseError, OSError, ValueError):
            return None
        if found:
            return Login(user=Secret(found[0] or ""), password=Secret(found[2] or ""))
        return None
    return None
