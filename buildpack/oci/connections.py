"""Connections to registries that are kept: requests go out, answers come in, proxies and TLS in between.

One request, one answer: redirects, logins and further attempts are for others.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterable, Mapping
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, unquote, urlsplit

from buildpack.bounded import PORTS, parse_url
from buildpack.network import Contexts, Names, Pace, paced, set_pace
from buildpack.oci.http1 import CutError, Framed, Head, MalformedError, read_head

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_CONNECT = 10.0
"""Seconds."""
_DECODED_LIMIT = 1 << 20
_PATH = "!$%&'()*+,/:;=@[]~"
"""What stands in a path as it is, besides letters and digits; signatures do not survive a change."""


class ProxyError(ConnectionError):
    """The proxy is not there, or does not let us through."""


class _Connection:
    """A socket and what is read from it; `key` tells to where."""

    __slots__ = ("file", "key", "socket")

    def __init__(self, key: tuple[Any, ...], opened: socket.socket) -> None:
        self.key = key
        self.socket = opened
        self.file = opened.makefile("rb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def is_dropped(self) -> bool:
        """Tell whether the other side has closed it, or said something that nobody asked for."""
        try:
            poller = select.poll()
            poller.register(self.socket, select.POLLIN)
            return bool(poller.poll(0))
        except (OSError, ValueError):
            return True


class Response:
    """An answer whose body is not read yet; a context manager that ends the reading.

    Once the body was read to its end the connection is another request's.
    """

    def __init__(
        self, method: str, url: str, *, head: Head, body: Framed, connection: _Connection, owner: Connections
    ) -> None:
        self.method = method
        self.url = url
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        self._keeps = head.keeps
        self._body = body
        self._connection: _Connection | None = connection
        self._owner = owner
        if body.ended:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, size: int) -> bytes:
        """Return the next bytes of the body as they were sent, fewer than `size` only at its end; raises OSError."""
        try:
            read = self._body.read(size)
        except MalformedError as error:
            raise CutError(str(error)) from None
        if self._body.ended:
            self.close()
        return read

    def read_decoded(self, limit: int) -> bytes:
        """Return at most `limit` bytes of the body, unpacked where it came packed all the same; raises OSError."""
        raw = self.read(limit)
        if self.headers.get("Content-Encoding", "").lower() not in {"gzip", "deflate"}:
            return raw
        import zlib

        try:
            return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(raw, _DECODED_LIMIT)
        except zlib.error as error:
            raise CutError(str(error)) from None

    def close(self) -> None:
        """Give the connection back, or close it where there is more to come on it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._body.ended and self._body.delimited and self._keeps:
            self._owner.keep(connection)
        else:
            connection.close()


class Connections:
    """Asks servers over connections of its own; threads share it. `limit` connections to each are kept."""

    def __init__(self, contexts: Contexts, *, limit: int = 16) -> None:
        self._contexts = contexts
        self._names = Names()
        self._limit = limit
        self._lock = threading.Lock()
        self._idle: dict[tuple[Any, ...], list[_Connection]] = {}
        self._closed = False

    def warm(self) -> None:
        """Load what TLS needs; raises what the contexts raise where authorities cannot be read."""
        self._contexts.context(verified=True)

    def close(self) -> None:
        """Close what is kept, and keep nothing from now on."""
        with self._lock:
            self._closed = True
            idle = [each for kept in self._idle.values() for each in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def keep(self, connection: _Connection) -> None:
        """Take back a connection that stands before the next answer."""
        with self._lock:
            kept = self._idle.setdefault(connection.key, [])
            if not self._closed and len(kept) < self._limit:
                kept.append(connection)
                return
        connection.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Iterable[bytes] | None = None,
        length: int = 0,
        proxy: str = "",
        pace: Pace,
    ) -> tuple[Response, int, int]:
        """Send a request of `length` bytes; return the answer, and the bytes that the heads took there and back.

        `proxy` is a URL. `pace` ends the exchange if it takes too long, its body included. Raises OSError: ssl.SSLError
        if TLS fails, socket.gaierror for an unknown name, ProxyError, TimeoutError, ConnectionError; MalformedError if
        the answer is not HTTP or the URL is not one. What `body` and `pace` raise passes.
        """
        parts = parse_url(url)
        if parts is None or parts.scheme not in PORTS or not parts.hostname:
            raise MalformedError("its address is not one of the web")
        forwarded = bool(proxy) and parts.scheme == "http"
        head = _render(method, parts, headers, body=body, length=length, proxy=proxy if forwarded else "")
        connection = self._connect(parts, proxy, pace)
        try:
            set_pace(connection.socket, pace)
            broken = _send(connection.socket, head, body)
            try:
                answer = read_head(connection.file)
            except CutError:
                raise broken or CutError("the connection was closed") from None
            framed = Framed(connection.file, answer, method=method)
            pace.answered(framed.size)
        except BaseException:
            connection.close()
            raise
        answer.keeps = answer.keeps and broken is None
        return (
            Response(method, url, head=answer, body=framed, connection=connection, owner=self),
            len(head),
            answer.size,
        )

    def _connect(self, parts: SplitResult, proxy: str, pace: Pace) -> _Connection:
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        key = (parts.scheme, host, port, proxy)
        while True:
            with self._lock:
                kept = self._idle.get(key)
                connection = kept.pop() if kept else None
            if connection is None:
                break
            if not connection.is_dropped():
                return connection
            connection.close()
        encrypted = parts.scheme == "https"
        if encrypted or proxy.startswith("https:"):
            self.warm()  # whose errors are better raised before anything is open
        if proxy:
            opened = self._reach_proxy(proxy, host, port, tunnel=encrypted, pace=pace)
        else:
            opened = self._reach(host, port, pace)
        return _Connection(key, self._encrypt(opened, host) if encrypted else opened)

    def _reach(self, host: str, port: int, pace: Pace) -> socket.socket:
        failure: OSError = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        for address in self._names.addresses(host, port):
            place: Any = (address.encode(), port)  # of text Python makes IDNA, and loads what that takes
            try:
                opened = paced(socket.create_connection(place, timeout=_CONNECT))
            except OSError as error:
                failure = error
                continue
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            set_pace(opened, pace)
            return opened
        raise failure

    def _reach_proxy(self, proxy: str, host: str, port: int, *, tunnel: bool, pace: Pace) -> socket.socket:
        parts = parse_url(proxy if "://" in proxy else f"http://{proxy}")
        if parts is None or parts.scheme not in PORTS or not parts.hostname:
            raise ProxyError("it is no proxy that speaks HTTP")
        try:
            opened = self._reach(parts.hostname, parts.port or PORTS[parts.scheme], pace)
        except OSError as error:
            raise ProxyError(str(error)) from error
        if parts.scheme == "https":
            opened = self._encrypt(opened, parts.hostname)
        return _open_tunnel(opened, proxy, host, port) if tunnel else opened

    def _encrypt(self, opened: Any, host: str) -> Any:
        context = self._contexts.context(verified=True)
        try:
            if isinstance(opened, socket.socket) and not hasattr(opened, "context"):
                return context.wrap_socket(opened, server_hostname=host)
            from urllib3.util.ssltransport import SSLTransport

            return SSLTransport(opened, context, server_hostname=host)
        except BaseException:
            opened.close()
            raise


def _open_tunnel(opened: socket.socket, proxy: str, host: str, port: int) -> socket.socket:
    """Have a proxy pass everything on from now on (RFC 9110, 9.3.6)."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    login = _proxy_login(proxy)
    fields = f"Proxy-Authorization: {login}\r\n" if login else ""
    try:
        opened.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: deploy\r\n{fields}\r\n".encode())
        # Nothing may be read beyond the head: what follows it is TLS, and the server waits for us to begin.
        with opened.makefile("rb", buffering=0) as raw:
            answer = read_head(raw)
    except (OSError, MalformedError) as error:
        opened.close()
        raise ProxyError(str(error)) from error
    if answer.status >= 300:
        opened.close()
        raise ProxyError(f"it answers {answer.status} {answer.reason}")
    return opened


def _proxy_login(proxy: str) -> str:
    login, at, _ = urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")
    if not at:
        return ""
    from base64 import b64encode

    return "Basic " + b64encode(unquote(login).encode()).decode()


def _render(
    method: str, parts: SplitResult, headers: Mapping[str, str], *, body: object, length: int, proxy: str
) -> bytes:
    """Return a request's head; to a `proxy` that passes it on with the whole address."""
    place = parts.netloc.rpartition("@")[2]
    target = quote(parts.path or "/", safe=_PATH) + (f"?{quote(parts.query, safe=_PATH + '?')}" if parts.query else "")
    fields = {"Host": place, "User-Agent": "deploy", "Accept": "*/*", "Accept-Encoding": "identity", **headers}
    if body is not None or method in {"POST", "PUT", "PATCH"}:
        fields["Content-Length"] = str(length)
    if proxy:
        target = f"{parts.scheme}://{place}{target}"
        if login := _proxy_login(proxy):
            fields["Proxy-Authorization"] = login
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if any(character in line for line in lines for character in "\r\n\0"):
        raise MalformedError("a line of a request's head cannot hold a line's end")
    try:
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
    except UnicodeEncodeError:
        raise MalformedError("its name is not written in ASCII") from None


def _send(opened: socket.socket, head: bytes, body: Iterable[bytes] | None) -> OSError | None:
    """Send a request; return what was in the way where the other side hangs up: its answer may tell why."""
    pieces = iter(body or ())
    # The head and the first bytes go together: small requests are one packet.
    for piece in chain([head + next(pieces, b"")], pieces):
        try:
            opened.sendall(piece)
        except (BrokenPipeError, ConnectionResetError) as error:
            return error
    return None
