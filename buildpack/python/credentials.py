"""Separates the addresses of package sources from their secrets, so that the rest can be shown and stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlunsplit

from buildpack.app.indexes import expand_url, set_variables, split_address
from buildpack.bounded import parse_url
from buildpack.dataclass import dataclass, field
from buildpack.errors import python as errors
from buildpack.net.secret import Secret

if TYPE_CHECKING:
    from buildpack.app.indexes import Source

_PYPI = re.compile(r"https?://(?:[a-z0-9-]+\.)*pypi(?:\.python)?\.org/simple/?", re.IGNORECASE)
_OLD_PYPI = re.compile(r"https?://pypi\.python\.org(?=/|$)", re.IGNORECASE)
_HEAD = re.compile(r"(?:[^/]*://)?[^/]*")
_KEPT = "!#$%&'()*+,/:;=?@[]~"
"""Characters that requests does not quote in an address."""
_USERINFO = re.compile(r"(?<=://)[^/?#\s'\"]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user (a secret too: tokens are often sent as the user) and a password."""

    user: Secret
    password: Secret

    @property
    def header(self) -> str:
        """The value of the header ``Authorization`` (RFC 7617, in UTF-8)."""
        from base64 import b64encode

        return f"Basic {b64encode(f'{self.user.reveal()}:{self.password.reveal()}'.encode()).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUrl:
    """A source of the lock: `url` ends with a slash, has no login, and shows variables as ``${VAR}``.

    `starts` are beginnings of addresses, each as it is sent and as it is shown; the source's own comes first. `values`
    are the values of variables in the path, each with the text that is shown instead.
    """

    name: str
    url: str
    login: Login | None
    verify: bool
    starts: tuple[tuple[Secret, str], ...] = field(repr=False)
    values: tuple[tuple[Secret, str], ...] = field(default=(), repr=False)

    @property
    def address(self) -> Secret:
        """The address that requests go to."""
        return self.reveal(self.url) or Secret(self.url)

    def reveal(self, shown: str) -> Secret | None:
        """Return the real address of `shown`; None if it is not one of this source's."""
        real, start = self.starts[0]
        if not shown.startswith(start):
            return None
        rest = shown.removeprefix(start)
        for value, name in self.values:
            rest = rest.replace(name, value.reveal())
        return Secret(real.reveal() + rest)

    def veil(self, link: str) -> str:
        """Return a link in which ``${VAR}`` replaces each value that the source's address takes from a variable."""
        real, start = next(
            ((real.reveal(), shown) for real, shown in self.starts if link.startswith(real.reveal())), ("", "")
        )
        folder, slash, name = link.removeprefix(real).rpartition("/")
        for value, variable in self.values:
            text = value.reveal()
            for guise in dict.fromkeys((text, quote(text, safe=""), quote(text, safe=_KEPT)) if text else ()):
                folder = folder.replace(guise, variable)
        return f"{start}{folder}{slash}{name}"


def open_source(source: Source, environ: Mapping[str, str]) -> SourceUrl:
    """Expand variables, separate the login, and replace pypi.org by PIPENV_PYPI_MIRROR.

    Raises DependencyError for a variable that is not set and for a scheme other than http(s).
    """
    raw = _OLD_PYPI.sub("https://pypi.org", source.url.strip())
    mirror = environ.get("PIPENV_PYPI_MIRROR", "")
    if mirror and _PYPI.fullmatch(raw):
        raw = mirror
    where = f"the source `{source.name}`"
    expand_url(raw, environ, where=where)  # reports all missing variables at once
    written, login = open_address(raw, environ, where=where)
    shown, values = set_variables(written, environ)
    head = _HEAD.match(shown)[0]  # type: ignore[index]  # it matches the empty text
    begin, late = split_login(expand_url(head, environ, where=where))
    parts = parse_url(begin)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise errors.source_scheme(source.name, shown)
    # If a variable holds the whole address, files beside and above the source need its folders.
    folders = [f"{folder}/" for folder in parts.path.split("/") if folder]
    starts = [
        (f"{parts.scheme}://{parts.netloc.lower()}/" + "".join(folders[: len(folders) - up]), f"{head}/" + "../" * up)
        for up in range(len(folders) + 1)
    ]
    return SourceUrl(
        name=source.name,
        url=shown.rstrip("/") + "/",
        login=login or late,
        verify=source.verify_ssl,
        starts=tuple((Secret(address), text) for address, text in starts),
        values=tuple((Secret(value), name) for name, value in values.items() if name in shown.removeprefix(head)),
    )


def open_address(raw: str, environ: Mapping[str, str], *, where: str) -> tuple[str, Login | None]:
    """Separate the login from an address and expand its variables, whose values may hold ``/``, ``@`` and ``:``.

    The rest stays as it is written. `where` names the owner of the address in messages. Raises DependencyError for a
    variable that is not set.
    """
    scheme, userinfo, rest = split_address(raw)
    if not scheme or not userinfo:
        return split_login(raw)
    user, colon, password = (expand_url(part, environ, where=where) for part in userinfo.partition(":"))
    if not colon:  # ${CREDENTIALS}@host, where the variable holds both
        user, _, password = user.partition(":")
    return scheme + rest, Login(user=Secret(unquote(user)), password=Secret(unquote(password)))


def split_login(url: str) -> tuple[str, Login | None]:
    """Take ``user:password@`` out of a URL."""
    parts = parse_url(url)
    if parts is None:  # the end of a login in it is unknown
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
    """Replace logins in URLs, and each of these secrets, by ``[redacted]``."""
    text = _USERINFO.sub("[redacted]@", text)
    # The longest first: one secret may be part of another.
    for secret in sorted({each.reveal() for each in secrets if each}, key=lambda each: (-len(each), each)):
        text = text.replace(secret, "[redacted]")
    return text


def unreadable_netrc(environ: Mapping[str, str]) -> str:
    """Return a clause about a netrc file that exists and cannot be read; empty if there is none."""
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
    """Look up a host's login in the file of NETRC, else in ``~/.netrc``; a damaged file has none, as in requests."""
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
