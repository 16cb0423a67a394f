"""What indexes, registries and engines share: addresses, proxies, TLS contexts, and the time that an exchange may take.

Proxies and authorities come from the mapping that is passed in and from nothing else (docs/decisions/0007). Every
socket that talks to a server is a paced one (docs/decisions/0026).
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from buildpack.bounded import parse_seconds

if TYPE_CHECKING:
    import ssl

    from requests.adapters import HTTPAdapter

T = TypeVar("T")

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT", "SSL_CERT_DIR")
"""The first that is set names the authorities, a PEM file or a folder of them; else they are certifi's."""


Unreadable = Callable[[str, str], Exception]
"""Words a file of authorities that cannot be read, from the variable's name and its value."""

Slow = Callable[[str], Exception]
"""Words a transfer that takes too long or has no end, from the reason."""

SILENCE = 60.0
"""Seconds without a byte after which a server counts as gone."""
RATE = 1 << 10
"""Bytes a second: less than that for a minute ends a transfer."""
_WHOLE_RATE = 16 << 10
"""Bytes a second that all of a body needs, on top of `_BASE`."""
_BASE, _UNKNOWN, _LONGEST = 600.0, 3600.0, 6 * 3600.0
"""Seconds for any transfer, for one that does not say its size, and for the largest."""
_NEVER = 1e9
"""Seconds; a longer wait is the same to everybody."""
_HEAD_LIMIT = 1 << 20
"""Bytes before a body: a server may send interim answers (100 Continue) without end."""


def allowance(size: int | None) -> float:
    """Return the seconds that a transfer of so many bytes may take as a whole; None if it does not say its size."""
    return _UNKNOWN if size is None else min(_LONGEST, _BASE + size / _WHOLE_RATE)


class Pace:
    """The time that one request and its answer may take; a socket asks before and after each read and write.

    Bytes earn time, of which at most `patience` seconds are kept: a server that sends a byte now and then ends as soon
    as one that is silent. `steady` is False for a server that may have nothing to say for long, such as an engine.
    Time between two reads or writes does not count: it is ours (a layer is still being built, a laptop slept).
    """

    def __init__(
        self,
        slow: Slow,
        *,
        patience: float = SILENCE,
        size: int = 0,
        steady: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin; `size` is the number of bytes to send, `patience` the seconds of silence that are waited for."""
        self.slow = slow
        self.patience = patience
        self._clock = clock
        self._steady = steady
        self._began = self._last = clock()
        self._empty = self._began + patience
        self._end = self._began + (allowance(size) if steady else _LONGEST)
        self._head: int | None = 0

    def answered(self, size: int | None) -> None:
        """Begin the answer's body, of `size` bytes; None if the answer does not say its size."""
        self._head = None
        if self._steady:
            self._end = self._last + allowance(size)

    def left(self) -> float:
        """Begin a read or write; return how long it may wait, in seconds."""
        now = self._clock()
        ours, self._last = now - self._last, now
        self._empty += ours
        self._end += ours
        return max(min(self.patience, self._end - now), 0.001)

    def took(self, size: int, *, received: bool) -> None:
        """Count bytes that came or went. Raises what `slow` words."""
        now = self._last = self._clock()
        self._empty = min(self._empty + size / RATE, now + self.patience)
        if received and self._head is not None:
            self._head += size
            if self._head > _HEAD_LIMIT:
                raise self.slow(f"it sent {_HEAD_LIMIT >> 20} MB before its answer began")
        if now > self._end:
            raise self.slow(f"the transfer was not done after {(now - self._began) / 60:.0f} minutes")
        if self._steady and now > self._empty:
            raise self.slow(f"less than {RATE} bytes a second went over the connection for {self.patience:.0f} seconds")


class _Paced(socket.socket):
    """A socket whose reads and writes keep to a pace."""

    pace: Pace | None = None

    def recv(self, *args: Any) -> bytes:
        received = _timed(self, super().recv, args)
        if self.pace is not None:
            self.pace.took(len(received), received=True)
        return received

    def recv_into(self, *args: Any) -> int:
        size = _timed(self, super().recv_into, args)
        if self.pace is not None:
            self.pace.took(size, received=True)
        return size

    def sendall(self, data: Any, *args: Any) -> None:
        _timed(self, super().sendall, (data, *args))
        if self.pace is not None:
            self.pace.took(len(data), received=False)


def _timed(opened: _Paced, call: Callable[..., T], args: tuple[Any, ...]) -> T:
    if opened.pace is not None:
        opened.settimeout(opened.pace.left())
    return call(*args)


def paced(opened: socket.socket) -> socket.socket:
    """Return the same connection as a socket that takes a pace (`set_pace`); `opened` is not to be used any more."""
    timeout = opened.gettimeout()
    made = _Paced(opened.family, opened.type, opened.proto, fileno=opened.detach())
    made.settimeout(timeout)
    return made


def set_pace(opened: Any, pace: Pace) -> None:
    """Give the next exchange on a connection its time; TLS inside TLS keeps the socket below."""
    while not isinstance(opened, socket.socket):
        opened = opened.socket
    opened.pace = pace  # type: ignore[attr-defined]


def wait_asked(value: str, now: float) -> float | None:
    """Return the seconds that a Retry-After (RFC 9110, 10.2.3) asks for; None if it does not say or says nonsense."""
    if not value.strip():
        return None
    if (seconds := parse_seconds(value, most=_NEVER)) is not None:
        return seconds
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


def proxies(environ: Mapping[str, str], url: str) -> dict[str, str]:
    """Return the proxies for a URL as requests wants them; none where ``no_proxy`` says so."""

    def variable(name: str) -> str:
        return environ.get(name, "") or environ.get(name.upper(), "")

    parts = urlsplit(url)
    address = variable(f"{parts.scheme}_proxy") or variable("all_proxy")
    if not address:
        return {}
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # missing in typeshed

    host = parts.netloc.rpartition("@")[2]
    return {} if proxy_bypass_environment(host, {"no": variable("no_proxy")}) else {parts.scheme: address}


def adapter(
    environ: Mapping[str, str],
    connections: int,
    *,
    unreadable: Unreadable,
    pace: Callable[[str], Pace],
    verifies: Callable[[str], bool] = lambda _url: True,
) -> HTTPAdapter:
    """Make what requests connects with.

    `pace` begins the time of an exchange with a host. `verifies` tells by URL whether a certificate is checked.
    """
    from requests.adapters import HTTPAdapter

    contexts = Contexts(environ, unreadable)
    pools = _pools(pace)

    class Adapter(HTTPAdapter):
        # requests would have urllib3 load the file of authorities for each connection: 15 ms each.
        def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
            host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
            url = str(request.url)
            encrypted = url.startswith("https:")
            return host, {"ssl_context": contexts.context(verified=verifies(url))} if encrypted else {}

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            """Leave it to the context."""

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = pools

    return Adapter(pool_connections=8, pool_maxsize=connections)


def _pools(pace: Callable[[str], Pace]) -> dict[str, Any]:
    """Make urllib3's pools look each name up once, and keep to a pace.

    Sixteen connections at once mean sixteen questions at once, and many a resolver in a container drops
    some: each then waits 5 seconds before it asks again (kubernetes#56903).
    """
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    names = Names()

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            name = self._dns_host
            failure: Exception | None = None
            for address in names.addresses(name, self.port or 0):
                self._dns_host = address
                try:
                    opened = paced(super()._new_conn())
                except (NewConnectionError, ConnectTimeoutError) as error:
                    failure = error
                    continue
                finally:
                    self._dns_host = name
                set_pace(opened, pace(name))
                return opened
            if failure is not None:
                raise failure
            return super()._new_conn()  # which words the failed look-up

        def request(self, *args: Any, **options: Any) -> None:
            if self.sock is not None:
                set_pace(self.sock, pace(self.host))
            super().request(*args, **options)

        def getresponse(self) -> Any:
            own = pace(self.host)
            set_pace(self.sock, own)
            response = super().getresponse()
            own.answered(response.length_remaining)
            return response

    class Encrypted(Plain, HTTPSConnection):
        """The same with TLS."""

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


class Names:
    """Addresses by host name, asked for one name at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, ...]] = {}

    def addresses(self, name: str, port: int) -> tuple[str, ...]:
        """Return a name's addresses in the resolver's order; none where it knows none."""
        with self._lock:
            if name not in self._known:
                try:
                    # As bytes: of text Python makes IDNA, and loads what that takes, also where it is ASCII.
                    place = name.encode() if name.isascii() else name
                    found = socket.getaddrinfo(place, port, 0, socket.SOCK_STREAM)
                except (OSError, UnicodeError):
                    return ()
                self._known[name] = tuple(dict.fromkeys(str(each[4][0]) for each in found))
            return self._known[name]


class Contexts:
    """TLS contexts, made when first needed: to load the authorities takes 15 ms. Threads share them."""

    def __init__(self, environ: Mapping[str, str], unreadable: Unreadable) -> None:
        self._environ = environ
        self._unreadable = unreadable
        self._lock = threading.Lock()
        self._made: dict[bool, ssl.SSLContext] = {}

    def context(self, *, verified: bool) -> ssl.SSLContext:
        """Return the context for connections whose certificate is checked, or is not.

        Raises what `unreadable` words where the authorities that the environment names cannot be read.
        """
        with self._lock:
            if verified not in self._made:
                made = self._verified() if verified else _unverified()
                made.sslsocket_class = paced_tls()
                self._made[verified] = made
            return self._made[verified]

    def _verified(self) -> ssl.SSLContext:
        import ssl

        for variable in CA_VARIABLES:
            path = self._environ.get(variable, "")
            if not path:
                continue
            try:
                if os.path.isdir(path):
                    return ssl.create_default_context(capath=path)
                return ssl.create_default_context(cafile=path)
            except (OSError, ssl.SSLError):
                raise self._unreadable(variable, path) from None
        import certifi

        return ssl.create_default_context(cafile=certifi.where())


@cache
def paced_tls() -> type[ssl.SSLSocket]:
    """Return the class of sockets that TLS contexts make of paced ones."""
    import ssl

    class Encrypted(_Paced, ssl.SSLSocket):
        """What a context makes of a paced socket."""

    return Encrypted


def _unverified() -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
