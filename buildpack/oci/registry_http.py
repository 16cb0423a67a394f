"""Requests to one repository of a registry: answered for good, or explained. Tokens, waits and retries happen here.

Distribution specification 1.1 for paths and codes; the token flow is the one that
distribution.github.io/distribution/spec/auth/token describes.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from buildpack.errors import StackError
from buildpack.errors import transfer as errors
from buildpack.oci.reference import Reference

if TYPE_CHECKING:
    import requests

__all__ = ["ATTEMPTS", "Authorization", "Connection", "Tokens", "parse_challenge", "pause"]

ATTEMPTS = 5
_LONGEST_PAUSE = 60.0
_TIMEOUT = (10.0, 60.0)
"""Seconds: to connect, and between two reads."""
_TOKEN_LIMIT = 1 << 20
_PARAMETER = re.compile(r'([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


class Authorization(Protocol):
    """What answers a registry's 401. Threads share it."""

    def header(self, scope: str) -> str | None:
        """Return the Authorization header for `scope`, None where there is none yet."""

    def answer(self, challenge: str, scope: str) -> bool:
        """Get what `challenge` (a WWW-Authenticate header) asks for; False where that cannot be had."""


class Connection:
    """Kept connections to one repository. `sleep` waits between attempts, in seconds."""

    def __init__(
        self, reference: Reference, *, authorization: Authorization | None, sleep: Callable[[float], None]
    ) -> None:
        import requests.adapters

        self._reference = reference
        self._sleep = sleep
        self._base = f"{'http' if reference.local else 'https'}://{reference.host}/v2/{reference.repository}"
        self._session = requests.Session()
        # A proxy would look for its own loopback.
        self._session.trust_env = not reference.local
        # Bodies are verified as they are sent: nothing may decompress them on the way.
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": "deploy"})
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=16))
        self._authorization = authorization or Tokens(self._session, plain=reference.local)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(
        self, method: str, path: str, *, headers: Mapping[str, str], actions: str = "pull", body: Any = None
    ) -> requests.Response:
        """Send one request until it is answered for good; the response's body is not read yet.

        `path` begins below the repository, `actions` are those of the token's scope. Raises StackError.
        """
        scope = f"repository:{self._reference.repository}:{actions}"
        challenged = False
        attempt = 0
        while True:
            attempt += 1
            response = self._attempt(method, path, headers, scope, body, last=attempt >= ATTEMPTS)
            if response is None:
                self._sleep(pause(attempt))
                continue
            status = response.status_code
            if status < 300:
                return response
            response.close()
            challenge = response.headers.get("WWW-Authenticate", "")
            if status == 401 and not challenged and self._authorization.answer(challenge, scope):
                challenged = True
                continue
            if status != 429 and status < 500:
                raise self._refusal(response)
            if attempt >= ATTEMPTS:
                host = self._reference.host
                raise (
                    errors.registry_busy(host, attempt)
                    if status == 429
                    else errors.registry_failed(host, status, attempt)
                )
            self._sleep(_retry_after(response.headers) or pause(attempt))

    def _attempt(
        self, method: str, path: str, headers: Mapping[str, str], scope: str, body: Any, *, last: bool
    ) -> requests.Response | None:
        """Send once; None where the connection failed in a way that may pass."""
        import requests

        try:
            response = self._session.request(
                method,
                self._base + path,
                headers=dict(headers),
                data=body,
                auth=_bearer(self._authorization.header(scope)),
                stream=True,
                timeout=_TIMEOUT,
            )
        except requests.RequestException as failure:
            error, passing = _explain(failure, self._reference.host)
            if last or not passing:
                raise error from None
            return None
        if self._base.startswith("https:") and not response.url.startswith("https:"):
            response.close()
            raise errors.registry_insecure(self._reference.host, "it sends us on to plain http")
        return response

    def _refusal(self, response: requests.Response) -> StackError:
        origin, host, status = str(self._reference), self._reference.host, response.status_code
        if status in {401, 403}:
            return errors.registry_denied(origin, status, host)
        if "html" in response.headers.get("Content-Type", ""):
            return errors.not_a_registry(host, f"a web page ({status})")
        if status == 404:
            return errors.manifest_unknown(origin, host)
        return errors.registry_failed(host, status, 1)


class Tokens:
    """Anonymous bearer tokens, one for each scope. `plain` allows a token server without TLS."""

    def __init__(self, session: requests.Session, *, plain: bool) -> None:
        self._session = session
        self._plain = plain
        self._tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    def header(self, scope: str) -> str | None:
        """Return the header with the token that was got for `scope`."""
        token = self._tokens.get(scope)
        return f"Bearer {token}" if token else None

    def answer(self, challenge: str, scope: str) -> bool:
        """Fetch the token that a ``Bearer`` challenge asks for; other schemes need credentials."""
        scheme, parameters = parse_challenge(challenge)
        realm = parameters.get("realm", "")
        if scheme != "bearer" or not realm.startswith(("https://", "http://") if self._plain else "https://"):
            return False
        with self._lock:
            token = self._fetch(realm, service=parameters.get("service", ""), scope=parameters.get("scope", scope))
            if token:
                self._tokens[scope] = token
        return token is not None

    def _fetch(self, realm: str, *, service: str, scope: str) -> str | None:
        import requests

        asked = {name: value for name, value in (("service", service), ("scope", scope)) if value}
        try:
            with self._session.get(realm, params=asked, auth=_bearer(None), stream=True, timeout=_TIMEOUT) as response:
                raw = response.raw.read(_TOKEN_LIMIT, decode_content=True)
                return _parse_token(raw) if response.status_code == 200 else None
        except requests.RequestException as failure:
            raise _explain(failure, realm.split("/")[2])[0] from None


def parse_challenge(header: str) -> tuple[str, dict[str, str]]:
    """Split a WWW-Authenticate header (RFC 9110, 11.6.1) into the scheme, in lower case, and its parameters."""
    scheme, _, rest = header.strip().partition(" ")
    parameters = {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else bare
        for name, quoted, bare in _PARAMETER.findall(rest)
    }
    return scheme.lower(), parameters


def pause(attempt: int) -> float:
    """Return how long to wait after this many failures in a row, in seconds."""
    return float(min(0.25 * 2**attempt, _LONGEST_PAUSE))


def _parse_token(raw: bytes) -> str | None:
    import json

    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    token = body.get("token") or body.get("access_token")
    # A line end inside would end the header.
    return token if isinstance(token, str) and token.isascii() and token.isprintable() else None


def _bearer(header: str | None) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Set the Authorization header; given to `requests` even where there is none, or it would look into ~/.netrc."""

    def set_header(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if header:
            request.headers["Authorization"] = header
        return request

    return set_header


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Retry-After (RFC 9110, 10.2.3) asks for, within reason."""
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return min(float(value), _LONGEST_PAUSE)
    if not value:
        return None
    from email.utils import parsedate_to_datetime

    try:
        wait = parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return None
    return min(max(wait, 0.0), _LONGEST_PAUSE)


def _explain(failure: requests.RequestException, host: str) -> tuple[StackError, bool]:
    """Say why nothing was answered, and whether it may pass."""
    import requests

    text = str(failure)
    if isinstance(failure, requests.exceptions.SSLError):
        if found := re.search(r"certificate verify failed: ([^(\"']*)", text):
            return errors.registry_untrusted(host, found[1].strip()), False
        found = re.search(r"\[SSL: \w+\] ([^(\"']*)", text)
        return errors.registry_insecure(host, f"TLS failed: {found[1].strip() if found else 'no handshake'}"), False
    if isinstance(failure, requests.exceptions.ProxyError):
        return errors.registry_unreachable(host, "the proxy cannot be reached, or refuses"), False
    if isinstance(failure, requests.exceptions.Timeout):
        return errors.registry_unreachable(host, "it did not answer in time"), True
    if "resolve" in text or "getaddrinfo" in text or "Name or service" in text:
        return errors.registry_unreachable(host, "its name does not resolve"), False
    if "refused" in text:
        return errors.registry_unreachable(host, "it refused the connection"), False
    if isinstance(failure, requests.exceptions.ConnectionError):
        if "Remote" in text or "aborted" in text or "reset" in text:
            return errors.registry_unreachable(host, "it cut the connection"), True
        return errors.registry_unreachable(host, "there is no way to it from here"), False
    return errors.registry_unreachable(host, type(failure).__name__), False
