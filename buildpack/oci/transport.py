"""Connections, logins, tokens, and counts of requests and bytes that all requests to registries share.

One `Transport` serves a whole command, so that reading the previous image and pushing the next take one TLS handshake
and one token. docs/decisions/0007 lists the variables of the environment that it reads.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Protocol, Self, TypeVar, cast
from urllib.parse import urlsplit

from buildpack.bounded import PORTS, join_url, origin_of, parse_url
from buildpack.errors import StackError
from buildpack.errors import registry as errors
from buildpack.net.http1 import MalformedError, Response
from buildpack.net.pace import ATTEMPTS, LONGEST_WAIT, LOOKS, Pace, is_busy, pause, retry_after
from buildpack.net.pool import Pool, ProxyError
from buildpack.net.secret import Secret
from buildpack.net.sockets import Contexts, find_proxy
from buildpack.oci.reference import Reference
from buildpack.oci.registry_replies import said_by

K = TypeVar("K")

_ANSWER_LIMIT = _REDIRECT_LIMIT = 1 << 16
_REDIRECTS = 30
_REPEATING = frozenset({307, 308})
_REDIRECTING = frozenset({301, 302, 303}) | _REPEATING
_HUB_NAMES = {"index.docker.io": "docker.io", "registry-1.docker.io": "docker.io"}
_LOOPBACK = re.compile(r"localhost|::1|127(?:\.\d{1,3}){3}")


class Body(Protocol):
    """A request's body: each attempt iterates it again, and gets `len()` bytes."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


class InterruptedRequest(Exception):
    """No answer came, for a reason that may pass; `error` is the error to raise if it does not."""

    def __init__(self, error: StackError) -> None:
        super().__init__(error.what)
        self.error = error


class Traffic:
    """Counts `requests`, and the bytes `sent` and `received`; threads share it.

    Redirects and requests for tokens count, and so do the bytes of heads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = self.sent = self.received = 0

    def count(self, *, requests: int = 0, sent: int = 0, received: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self.requests += requests
            self.sent += sent
            self.received += received


class Transport:
    """Owns the connections to all registries; a context manager that threads share.

    `environ` supplies proxies, certificates, logins and DEPLOY_INSECURE_REGISTRIES. `homes` are references of the
    user's own image: DEPLOY_REGISTRY_USER is for their registries, or for the one that DEPLOY_REGISTRY names.
    `sleep` waits between attempts; `clock` is the time for tokens and time limits. Both are in seconds.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        homes: Iterable[Reference] = (),
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.environ = environ
        self.traffic = Traffic()
        self.sleep = sleep
        self.clock = clock
        self._images = tuple(homes)
        self.own = frozenset(each.registry for each in self._images)
        """The registries of the user's own image."""
        named = environ.get("DEPLOY_REGISTRY", "").partition("://")[2] or environ.get("DEPLOY_REGISTRY", "")
        named = named.partition("/")[0]
        self.homes = frozenset({_HUB_NAMES.get(named, named)}) if named else self.own
        """The registries that DEPLOY_REGISTRY_USER is for."""
        self._insecure = frozenset(
            filter(None, environ.get("DEPLOY_INSECURE_REGISTRIES", "").replace(",", " ").split())
        )
        self._lock = threading.Lock()
        self._contexts = Contexts(environ, errors.authorities_unreadable)
        self._pool = Pool(self._contexts)
        self._keyrings: dict[str, object] = {}
        self.secrets: set[Secret] = set()
        """Texts of logins and tokens, which must not be shown."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def warm(self) -> None:
        """Load TLS in the background if the user's own image needs it."""
        if any(self.base(each).startswith("https:") for each in self._images):
            threading.Thread(target=self._warm, name="registry code", daemon=True).start()

    def _warm(self) -> None:
        # The first request reports unreadable authorities.
        with suppress(StackError):
            self._contexts.context(verified=True)

    def plain(self, url: str) -> bool:
        """Return True if requests to this address need no TLS: it is on this machine, or the user allows it."""
        parts = parse_url(url)
        if parts is None:
            return False
        host = parts.hostname or ""
        return _LOOPBACK.fullmatch(host) is not None or bool({host, parts.netloc} & self._insecure)

    def base(self, reference: Reference) -> str:
        """Return the address of a reference's registry: ``https://HOST``, or ``http://HOST``."""
        return f"{'http' if self.plain(f'//{reference.host}') else 'https'}://{reference.host}"

    def keyring(self, registry: str, make: Callable[[], K]) -> K:
        """Return the logins and tokens of a registry; `make` makes the object the first time."""
        with self._lock:
            if registry not in self._keyrings:
                self._keyrings[registry] = make()
            return cast("K", self._keyrings[registry])

    def redact(self, text: str) -> str:
        """Replace every secret that was sent by ``[redacted]``."""
        for secret in sorted({each.reveal() for each in [*self.secrets]}, key=lambda each: (-len(each), each)):
            text = text.replace(secret, "[redacted]")
        return text

    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body | bytes | None = None,
        patience: float = 60.0,
    ) -> Response:
        """Send one request, once, and follow its redirects; the response's body is not read yet.

        `patience` is the longest silence in seconds. Raises InterruptedRequest for a failure that may pass, else
        StackError.
        """
        sent = dict(headers)
        for _ in range(_REDIRECTS):
            response = self._ask(method, url, sent, body, patience)
            target = response.headers.get("Location", "")
            # 307 and 308 repeat the request as it is (RFC 9110, 15.4.8); the others would turn it into a GET.
            followed = _REDIRECTING if method in {"GET", "HEAD"} else _REPEATING
            if not target or response.status not in followed:
                return response
            with response:
                following = _followed(url, target)
                # Such bodies are short. A longer one is not read, which closes the connection.
                with suppress(OSError):
                    response.read(_REDIRECT_LIMIT)
            if origin_of(following) != origin_of(url):
                sent.pop("Authorization", None)
            url = following
        raise errors.astray(_host(url), "it redirects in a circle")

    def proxy(self, url: str) -> str:
        """Return the proxy for a URL; "" for this machine, because a proxy would use its own loopback."""
        host = urlsplit(url).hostname or ""
        return "" if _LOOPBACK.fullmatch(host) else find_proxy(self.environ, url)

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | bytes | None, patience: float
    ) -> Response:
        """Send one request, once; raises as `exchange` does."""
        try:
            response = self._pool.request(
                method,
                url,
                headers=headers,
                body=(body,) if isinstance(body, bytes) else body,
                length=len(body or b""),
                proxy=self.proxy(url),
                pace=Pace(
                    lambda reason: errors.too_slow(_host(url), reason),
                    patience=patience,
                    size=len(body or b""),
                    clock=self.clock,
                ),
            )
        except (OSError, MalformedError) as failure:
            self.traffic.count(requests=1)
            host = _host(url)
            if isinstance(failure, MalformedError):
                raise errors.astray(host, str(failure)) from None
            if isinstance(failure, ProxyError):
                raise errors.proxy(host) from None
            error = errors.unanswered(host, failure)
            if isinstance(failure, TimeoutError | ConnectionError) and not isinstance(failure, ConnectionRefusedError):
                raise InterruptedRequest(error) from None
            raise error from None
        sent = response.request_size + (len(body) if isinstance(body, bytes) else 0)
        self.traffic.count(requests=1, sent=sent, received=response.head_size)
        return response

    def persist(self, ask: Callable[[], Response], *, look: bool, attempts: int = ATTEMPTS) -> tuple[Response, int]:
        """Repeat a request while the connection is cut or the server is busy.

        Return the last answer, which may still be a busy server's, and the number of attempts. A `look` only saves
        work, so it is tried twice at most, and does not wait as long as a busy server asks. Raises StackError if no
        answer came.
        """
        attempts = LOOKS if look else attempts
        for attempt in range(1, attempts + 1):
            wait = None
            try:
                response = ask()
            except InterruptedRequest as interrupted:
                if attempt == attempts:
                    raise interrupted.error from None
            else:
                if attempt == attempts or not is_busy(response.status):
                    return response, attempt
                wait = None if look else wait_asked(response)
                self.finish(response)
            self.sleep(pause(attempt) if wait is None else wait)
        raise AssertionError("unreachable")

    def answer(self, response: Response, raw: bytes = b"") -> errors.Answer:
        """Return the facts of a response with the body `raw`, for messages."""
        said = said_by(raw, self.redact)
        return errors.Answer(method=response.method, url=shown(response.url), status=response.status, said=said)

    def finish(self, response: Response) -> bytes:
        """Read the beginning of a body, and close the response; b"" if the connection is cut.

        The connection is kept only if this reads the body to its end.
        """
        with response:
            try:
                raw = response.read_decoded(_ANSWER_LIMIT)
            except OSError:
                return b""
        self.traffic.count(received=len(raw))
        return raw


def wait_asked(response: Response) -> float | None:
    """Return the wait that a busy registry asks for, in seconds and with a limit; None if it asks for none."""
    wait = retry_after(response.headers)
    return None if wait is None else min(wait, LONGEST_WAIT)


def _followed(url: str, target: str) -> str:
    """Return the target of a redirect; raises StackError if it gives up TLS or is not a web address."""
    # Fields are read as Latin-1, but servers write addresses as UTF-8.
    text = target.encode("latin-1").decode("utf-8", "replace")
    following = join_url(url, text) or ""
    parts = urlsplit(following)
    scheme, host = parts.scheme, parts.hostname
    if url.startswith("https:") and scheme == "http":
        raise errors.insecure(_host(url), "it redirects to plain http")
    if scheme not in PORTS or not host:
        raise errors.astray(_host(url), "it redirects to something that is not a web address")
    return following


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def shown(url: str) -> str:
    """Return a URL without login and query, which may hold an upload's state or a link's signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
