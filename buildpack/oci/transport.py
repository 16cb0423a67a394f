"""What all talk with registries shares: connections that are kept, logins and tokens, and a count of what moves.

One `Transport` serves a whole command, so that reading the previous image and pushing the next need one TLS handshake
and one token. Of the environment it believes what docs/decisions/0007 says, and no more.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import urlsplit

from buildpack import network
from buildpack.errors import StackError
from buildpack.errors import registry as errors
from buildpack.oci.reference import Reference

if TYPE_CHECKING:
    from types import TracebackType

    import requests

    from buildpack.oci.registry_tokens import Authorizer

__all__ = ["Body", "InterruptedRequest", "Traffic", "Transport", "origin_of", "shown"]

_CONNECTIONS = 16
_PORTS = {"http": 80, "https": 443}
_HUB_NAMES = {"index.docker.io": "docker.io", "registry-1.docker.io": "docker.io"}
_LOOPBACK = re.compile(r"localhost|::1|127(?:\.\d{1,3}){3}")


class Body(Protocol):
    """What is sent: iterated anew for each attempt, `len()` bytes each time."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


class InterruptedRequest(Exception):
    """No answer came, for a reason that may pass; `error` is what to raise where it does not."""

    def __init__(self, error: StackError) -> None:
        super().__init__(error.what)
        self.error = error


class Traffic:
    """Counts requests and bytes, those of request lines and headers included; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._sent = self._received = 0

    def count(self, *, requests: int = 0, sent: int = 0, received: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self._requests += requests
            self._sent += sent
            self._received += received

    @property
    def requests(self) -> int:
        """Requests made, redirects and those for tokens included."""
        return self._requests

    @property
    def sent(self) -> int:
        """Bytes sent."""
        return self._sent

    @property
    def received(self) -> int:
        """Bytes received."""
        return self._received


class Transport:
    """Owns the connections to all registries; a context manager that threads share.

    `environ` supplies proxies, certificates, logins and DEPLOY_INSECURE_REGISTRIES. `homes` are references of the
    user's own image: DEPLOY_REGISTRY_USER is for their registries, or for the one that DEPLOY_REGISTRY names.
    `sleep` waits between attempts, `clock` tells when a token ends; both in seconds.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        homes: Iterable[Reference] = (),
        traffic: Traffic | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.environ = environ
        self.traffic = traffic or Traffic()
        self.sleep = sleep
        self.clock = clock
        self._own = frozenset(each.registry for each in homes)
        named = environ.get("DEPLOY_REGISTRY", "").partition("://")[2] or environ.get("DEPLOY_REGISTRY", "")
        named = named.partition("/")[0]
        self._homes = frozenset({_HUB_NAMES.get(named, named)}) if named else self._own
        self._insecure = frozenset(
            filter(None, environ.get("DEPLOY_INSECURE_REGISTRIES", "").replace(",", " ").split())
        )
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._authorizers: dict[str, Authorizer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None

    def warm(self) -> None:
        """Load the code that speaks HTTP beside whatever else happens now; return at once."""
        threading.Thread(target=self._connected, name="registry code", daemon=True).start()

    def plain(self, url: str) -> bool:
        """Tell whether this address may be spoken to without TLS: on this machine, or because the user says so."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        return _LOOPBACK.fullmatch(host) is not None or bool({host, parts.netloc} & self._insecure)

    def base(self, reference: Reference) -> str:
        """Return where a reference's registry is: ``https://HOST``, or ``http://HOST``."""
        plain = reference.local or self.plain(f"//{reference.host}")
        return f"{'http' if plain else 'https'}://{reference.host}"

    def is_home(self, registry: str) -> bool:
        """Tell whether DEPLOY_REGISTRY_USER is for this registry."""
        return registry in self._homes

    def is_own(self, registry: str) -> bool:
        """Tell whether the user's own image is in this registry."""
        return registry in self._own

    def authorizer(self, reference: Reference) -> Authorizer:
        """Return what answers the 401s of a reference's registry."""
        from buildpack.oci.registry_tokens import Authorizer

        with self._lock:
            if reference.registry not in self._authorizers:
                self._authorizers[reference.registry] = Authorizer(self, reference)
            return self._authorizers[reference.registry]

    def redact(self, text: str) -> str:
        """Replace every secret that was sent by ``[redacted]``."""
        secrets = {each.reveal() for known in [*self._authorizers.values()] for each in known.secrets}
        for secret in sorted(secrets, key=lambda each: (-len(each), each)):
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
    ) -> requests.Response:
        """Send one request, once, and follow its redirects; the response's body is not read yet.

        `patience` is in seconds, between two reads. Raises InterruptedRequest for what may pass, else
        StackError.
        """
        import requests

        session = self._connected()
        try:
            return session.request(
                method,
                url,
                headers=dict(headers),
                data=body,  # anything that is iterable and has a length
                proxies=self.proxies(url),
                stream=True,
                timeout=(10.0, patience),
                allow_redirects=method in {"GET", "HEAD"},
            )
        except requests.RequestException as failure:
            error, passing = _explain(failure, urlsplit(url).netloc.rpartition("@")[2])
        if passing:
            raise InterruptedRequest(error)
        raise error

    def proxies(self, url: str) -> dict[str, str]:
        """Return the proxies for a URL; none for this machine, since a proxy would look for its own loopback."""
        host = urlsplit(url).hostname or ""
        return {} if _LOOPBACK.fullmatch(host) else network.proxies(self.environ, url)

    def _connected(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                self._session = self._connect()
            return self._session

    def _connect(self) -> requests.Session:
        from http.cookiejar import DefaultCookiePolicy

        import requests

        transport = self

        class Session(requests.Session):
            """Sends a login to the one server it is for, counts, and never falls back to plain http."""

            def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
                lines = sum(len(name) + len(str(value)) + 4 for name, value in request.headers.items())
                size = len(request.body) if isinstance(request.body, bytes) else 0
                transport.traffic.count(
                    requests=1, sent=lines + len(request.path_url) + len(request.method or "") + 13 + size
                )
                response = super().send(request, **options)
                if not response.history:
                    lines = sum(len(name) + len(value) + 4 for name, value in response.headers.items())
                    transport.traffic.count(received=lines + len(response.reason or "") + 17)
                return response

            def get_redirect_target(self, resp: requests.Response) -> str | None:
                target = super().get_redirect_target(resp)
                if target and resp.url.startswith("https:") and target.lower().startswith("http:"):
                    resp.close()
                    raise errors.insecure(urlsplit(resp.url).netloc, "it sends us on to plain http")
                if target:
                    _skip_body(resp)
                return target

            def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
                if origin_of(str(prepared_request.url)) != origin_of(response.url):
                    prepared_request.headers.pop("Authorization", None)

            def rebuild_proxies(self, prepared_request: requests.PreparedRequest, proxies: Any) -> Any:
                return super().rebuild_proxies(  # type: ignore[no-untyped-call]
                    prepared_request, transport.proxies(str(prepared_request.url))
                )

        session = Session()
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Bodies are verified as they are sent: nothing may decompress them on the way.
        session.headers.update({"Accept-Encoding": "identity", "User-Agent": "deploy"})
        connections = network.adapter(self.environ, _CONNECTIONS, unreadable=errors.authorities_unreadable)
        for scheme in ("https://", "http://"):
            session.mount(scheme, connections)
        return session


def _skip_body(response: requests.Response) -> None:
    """Read the body of a redirect as far as such bodies go: requests would read all of it, however much comes."""
    from urllib3.exceptions import HTTPError

    with suppress(HTTPError, OSError):
        response.raw.read(_REDIRECT_LIMIT, decode_content=False)
    response._content = b""  # what requests takes for read


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port: what a login belongs to."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)


def shown(url: str) -> str:
    """Return a URL without login and query: the state of an upload and the signature of a link are in its query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


_REDIRECT_LIMIT = 1 << 16
_ASTRAY = "check that the host is a registry's, and nothing in between answers for it."


def _explain(failure: requests.RequestException, host: str) -> tuple[StackError, bool]:
    """Say why nothing was answered, and whether it may pass."""
    import requests

    text = str(failure)
    if isinstance(failure, requests.exceptions.SSLError):
        if found := re.search(r"certificate verify failed: ([^(\"']*)", text):
            return errors.untrusted(host, found[1].strip()), False
        found = re.search(r"\[SSL: \w+\] ([^(\"']*)", text)
        return errors.insecure(host, f"TLS failed: {found[1].strip() if found else 'no handshake'}"), False
    if isinstance(failure, requests.exceptions.ProxyError):
        return errors.unreachable(host, "the proxy cannot be reached, or refuses", todo="check HTTPS_PROXY."), False
    if isinstance(failure, requests.exceptions.Timeout):
        return errors.unreachable(host, "it did not answer in time"), True
    if isinstance(failure, requests.exceptions.TooManyRedirects):
        return errors.unreachable(host, "it sends us in a circle", todo=_ASTRAY), False
    if isinstance(failure, requests.exceptions.InvalidSchema | requests.exceptions.InvalidURL):
        return errors.unreachable(host, "it sends us to what is no web address", todo=_ASTRAY), False
    if "resolve" in text or "getaddrinfo" in text or "Name or service" in text:
        todo = "check the spelling of the host, and HTTPS_PROXY where only a proxy knows it."
        return errors.unreachable(host, "its name does not resolve", todo=todo), False
    if "refused" in text:
        todo = "check host and port, and that the registry is running."
        return errors.unreachable(host, "it refused the connection", todo=todo), False
    if isinstance(failure, requests.exceptions.ConnectionError | requests.exceptions.ChunkedEncodingError):
        if any(word in text for word in ("Remote", "aborted", "reset", "EOF", "Broken pipe", "closed")):
            return errors.unreachable(host, "it cut the connection"), True
        return errors.unreachable(host, "there is no way to it from here"), False
    return errors.unreachable(host, type(failure).__name__), False
