"""Answers a registry's 401: with a token for the next requests, or with the login itself.

Tokens follow distribution.github.io/distribution/spec/auth: GET with basic authentication or none, POST (OAuth2) if the
login is an identity token.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from buildpack.bounded import origin_of, parse_object, parse_seconds, parse_url
from buildpack.dataclass import dataclass
from buildpack.errors import StackError
from buildpack.errors import registry as errors
from buildpack.net.pace import is_busy
from buildpack.net.secret import Secret
from buildpack.oci.reference import Reference
from buildpack.oci.transport import InterruptedRequest, Transport

if TYPE_CHECKING:
    from buildpack.net.http1 import Response
    from buildpack.oci.registry_auth import Login, Logins

_ATTEMPTS = 4
_TOKEN_LIMIT = 1 << 20
_LONGEST_LIFE = 86400.0
_LASTS = 60.0
"""Seconds that a token without a lifetime is valid, by the specification."""
_PARAMETER = re.compile(r'(?<![A-Za-z_])([A-Za-z_]++)\s*+=\s*+(?:"((?:[^"\\]++|\\.)*+)"|([^\s,]+))')
_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?$)', re.DOTALL)
"""A quoted string, or the beginning of an unfinished one."""
_SCHEME = re.compile(r"(?:^|,)\s*+([A-Za-z][A-Za-z0-9-]*)(?=\s+[A-Za-z_]+\s*=|\s*(?:,|$))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Rights in a repository: some of ``pull``, ``push``, ``delete``."""

    repository: str
    actions: frozenset[str]

    def __str__(self) -> str:
        return f"repository:{self.repository}:{','.join(sorted(self.actions))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    header: Secret
    grants: tuple[Access, ...]
    ends: float

    def covers(self, needed: Iterable[Access]) -> bool:
        return all(
            any(have.repository == need.repository and need.actions <= have.actions for have in self.grants)
            for need in needed
        )


class Authorizer:
    """The logins and tokens of one registry; threads share it."""

    def __init__(self, transport: Transport, reference: Reference) -> None:
        self._transport = transport
        self._reference = reference
        self._lock = threading.RLock()
        self._found: Logins | None = None
        self._tokens: list[_Token] = []
        self._always: dict[Login, Secret] = {}
        self._challenge: Mapping[str, str] | None = None
        self._refusals: dict[tuple[Login | None, str], errors.Answer] = {}
        self._at_root: str | None = None

    def source(self, repository: str) -> str:
        """Return the source of the login for a repository; empty if it has none."""
        login = self._login(repository)
        return login.source if login else ""

    def refusal(self, repository: str) -> errors.Answer | None:
        """Return how the token server refused that login for this repository; None if it did not."""
        return self._refusals.get((self._login(repository), repository))

    @property
    def basic(self) -> bool:
        """True if the registry has no token server, and so gets the login itself."""
        return self._challenge is None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about configuration that could not be used to find a login."""
        return self._found.notes if self._found else ()

    def header(self, needed: tuple[Access, ...], *, look: bool = False) -> str:
        """Return the Authorization header for `needed`; "" if the registry has not asked for one yet.

        A `look` does not wait for a busy token server.
        """
        with self._lock:
            known = self._known(needed)
            # Once a registry has named its token server, no request is spent on being refused again.
            return known or (self._fetch_header(needed, look=look) if self._challenge is not None else "")

    def answer(self, challenge: str, needed: tuple[Access, ...], used: str, *, look: bool = False) -> bool:
        """Get what a WWW-Authenticate header asks for, after `used` was refused; return False if that fails."""
        with self._lock:
            self._tokens = [token for token in self._tokens if token.header.reveal() != used]
            if self._known(needed) not in {used, ""}:
                # Another thread was faster.
                return True
            for scheme, parameters in sorted(parse_challenges(challenge), key=lambda each: each[0] != "bearer"):
                if scheme == "bearer" and self._allowed(parameters.get("realm", "")):
                    self._challenge = parameters
                    return bool(self._fetch_header(needed, asked=_parse_scope(parameters.get("scope", "")), look=look))
                if scheme == "basic":
                    login = self._find(needed)
                    if login is None:
                        return False
                    self._always[login] = Secret(login.basic if login.basic != used else "")
                    return bool(self._always[login])
            return False

    def offer(self, needed: tuple[Access, ...]) -> bool:
        """Use the configured login although the registry did not ask; return False if there is none or it was refused.

        The registry's root is asked first, as Docker's clients do: it may say which login it wants.
        """
        with self._lock:
            if self._known(needed):
                # Another thread was faster.
                return True
            login = self._find(needed)
            if login is None or login in self._always:
                return False
            if self._at_root is None:
                self._at_root = self._ask_root()
            if self._at_root:
                return self.answer(self._at_root, needed, "")
            bearer = f"Bearer {login.bearer.reveal()}" if login.bearer else ""
            self._always[login] = Secret(login.basic or bearer)
            return bool(self._always[login])

    def _ask_root(self) -> str:
        """Return the WWW-Authenticate header of the registry's root; empty if there is none."""
        base = self._transport.base(self._reference)
        try:
            with self._transport.exchange("GET", f"{base}/v2/", headers={}) as response:
                ours = origin_of(response.url) == origin_of(base)
                return response.headers.get("WWW-Authenticate", "") if ours else ""
        except (InterruptedRequest, StackError):
            return ""

    def _known(self, needed: tuple[Access, ...]) -> str:
        login = self._login(needed[0].repository)
        if login is not None and self._always.get(login):
            return self._always[login].reveal()
        now = self._transport.clock()
        fitting = (token for token in self._tokens if token.ends > now and token.covers(needed))
        return next((token.header.reveal() for token in fitting), "")

    def _find(self, needed: tuple[Access, ...]) -> Login | None:
        """Look for logins at the first call; return the login for the first repository in `needed`."""
        if self._found is None:
            from buildpack.oci.registry_auth import find_logins

            registry = self._reference.registry
            home = registry in self._transport.homes
            self._found = find_logins(registry, self._transport.environ, home=home)
            self._transport.secrets.update(secret for _, login in self._found.found for secret in login.secrets)
        return self._login(needed[0].repository)

    def _login(self, repository: str) -> Login | None:
        return self._found.of(repository) if self._found else None

    def _allowed(self, realm: str) -> bool:
        if parse_url(realm) is None:
            return False
        return realm.startswith("https://") or (realm.startswith("http://") and self._transport.plain(realm))

    def _fetch_header(self, needed: tuple[Access, ...], *, asked: tuple[Access, ...] = (), look: bool) -> str:
        """Fetch a token for `needed` and `asked`, with the login for the first repository; "" if that fails."""
        challenge = self._challenge or {}
        login = self._find(needed)
        if login is not None and login.bearer:
            return f"Bearer {login.bearer.reveal()}"
        wanted = _merge((*needed, *asked))
        answer = self._ask(login, challenge["realm"], challenge.get("service", ""), wanted, look=look)
        if isinstance(answer, errors.Answer):
            # A refused mount does not matter: the blob is uploaded instead.
            if len(needed) == 1:
                self._refusals[login, needed[0].repository] = answer
            return ""
        if answer is None:
            return ""
        text, lasts = answer
        self._transport.secrets.add(Secret(text))
        token = _Token(
            header=Secret(f"Bearer {text}"),
            grants=wanted,
            # Renewed a little early, because an upload that is refused halfway is sent twice.
            ends=self._transport.clock() + lasts * 0.9,
        )
        self._tokens.append(token)
        return token.header.reveal()

    def _ask(
        self, login: Login | None, realm: str, service: str, wanted: tuple[Access, ...], *, look: bool
    ) -> tuple[str, float] | errors.Answer | None:
        named = {"service": service} if service else {}
        headers, body, method = {"Accept": "application/json"}, None, "GET"
        if login is not None and login.identity:
            method, url = "POST", realm
            scope = {"scope": " ".join(map(str, wanted))} if wanted else {}
            grant = {"grant_type": "refresh_token", "client_id": "deploy", "refresh_token": login.identity.reveal()}
            body = urlencode({**grant, **named, **scope}).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        else:
            query = urlencode([*named.items(), *(("scope", str(access)) for access in wanted)])
            url = f"{realm}{'&' if urlsplit(realm).query else '?'}{query}" if query else realm
            if login is not None and login.basic:
                headers["Authorization"] = login.basic
        with self._send(method, url, headers, body, look=look) as response:
            try:
                raw = response.read_decoded(_TOKEN_LIMIT)
            except OSError:
                raise errors.unreachable(urlsplit(url).netloc, "it cut the connection") from None
            self._transport.traffic.count(received=len(raw))
            if response.status == 200:
                return _parse_token(raw)
            return self._transport.answer(response, raw)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, look: bool) -> Response:
        response, attempts = self._transport.persist(
            lambda: self._transport.exchange(method, url, headers=headers, body=body),
            look=look,
            attempts=_ATTEMPTS,
        )
        if is_busy(response.status):
            response.close()
            raise errors.failed(urlsplit(url).netloc, self._transport.answer(response), attempts)
        return response


def parse_challenges(header: str) -> tuple[tuple[str, dict[str, str]], ...]:
    """Split a WWW-Authenticate header (RFC 9110, 11.6.1) into schemes, in lower case, with their parameters."""
    # A quoted string may look like a scheme.
    masked = _QUOTED.sub(lambda found: "x" * len(found[0]), header)
    starts = [found for found in _SCHEME.finditer(masked) if "=" not in found[1]]
    ends = [*(found.start() for found in starts[1:]), len(header)][: len(starts)]
    return tuple(
        (start[1].lower(), _parse_parameters(header[start.end() : end]))
        for start, end in zip(starts, ends, strict=True)
    )


def _parse_parameters(text: str) -> dict[str, str]:
    return {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else bare
        for name, quoted, bare in _PARAMETER.findall(text)
    }


def _parse_scope(text: str) -> tuple[Access, ...]:
    """Read the repositories of a challenge's scope; other resources are ignored."""
    found = []
    for part in text.split():
        kind, _, rest = part.partition(":")
        repository, _, actions = rest.rpartition(":")
        if kind == "repository" and repository:
            found.append(Access(repository=repository, actions=frozenset(actions.split(","))))
    return tuple(found)


def _merge(accesses: Iterable[Access]) -> tuple[Access, ...]:
    """Merge the rights in each repository, in the order of first mention."""
    merged: dict[str, frozenset[str]] = {}
    for access in accesses:
        merged[access.repository] = merged.get(access.repository, frozenset()) | access.actions
    return tuple(Access(repository=repository, actions=actions) for repository, actions in merged.items())


def _parse_token(raw: bytes) -> tuple[str, float] | None:
    body = parse_object(raw)
    token, lasts = body.get("token") or body.get("access_token"), body.get("expires_in")
    # A line break inside would end the header.
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        return None
    return token, parse_seconds(lasts, most=_LONGEST_LIFE) or _LASTS
