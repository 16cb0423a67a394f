"""A pool of connections to registries: sends one request and returns its answer, through proxies and TLS.

The caller follows redirects, logs in and tries again.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

from buildpack.bounded import PORTS, parse_url
from buildpack.net.http1 import Connection, CutError, MalformedError, Response, render_head
from buildpack.net.pace import Pace
from buildpack.net.sockets import Contexts, Names, paced, set_pace

if TYPE_CHECKING:
    from io import BufferedReader
    from urllib.parse import SplitResult

_CONNECT = 10.0
"""Seconds."""
_IDLE = 16
"""Connections kept to each server."""
_PATH = "!$%&'()*+,/:;=@[]~"
"""Characters besides letters and digits that stay unquoted in a path: a changed path would break its signature."""

_Key = tuple[str, str, int, str]


class ProxyError(ConnectionError):
    """The proxy cannot be reached, or refuses the connection."""


class Pool:
    """Owns the connections to servers, and keeps some idle ones to each; threads share it."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self._names = Names()
        self._lock = threading.Lock()
        self._idle: dict[_Key, list[Connection]] = {}
        self._closed = False

    def close(self) -> None:
        """Close the idle connections, and keep none from now on."""
        with self._lock:
            self._closed = True
            idle = [each for kept in self._idle.values() for each in kept]
            self._idle.clear()
        for connection in idle:
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
    ) -> Response:
        """Send a request whose body has `length` bytes, and return the answer.

        `proxy` is a URL. `pace` limits the time of the exchange, including the answer's body. Raises OSError:
        ssl.SSLError if TLS fails, socket.gaierror for an unknown name, ProxyError, TimeoutError, ConnectionError; and
        MalformedError if the answer is not HTTP or the URL is not valid. Errors of `body` and `pace` pass.
        """
        parts = parse_url(url)
        if parts is None or parts.scheme not in PORTS or not parts.hostname:
            raise MalformedError("its address is not a web address")
        forwarded = bool(proxy) and parts.scheme == "http"
        sized = body is not None or method in {"POST", "PUT", "PATCH"}
        head = _render(method, parts, headers, length=length if sized else None, proxy=proxy if forwarded else "")
        key = (parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme], proxy)
        connection = self._take(key) or self._connect(key, pace)
        try:
            set_pace(connection.socket, pace)
            broken = connection.send(head, body or ())
            try:
                response = connection.answer(
                    pace, method=method, url=url, release=partial(self._take_back, key, connection)
                )
            except CutError:
                raise broken or CutError("the connection was closed") from None
        except BaseException:
            connection.close()
            raise
        response.request_size = len(head)
        response.keeps = response.keeps and broken is None
        if response.ended:
            response.close()
        return response

    def _take(self, key: _Key) -> Connection | None:
        """Return an idle connection on which nothing has arrived: neither bytes nor its end."""
        while True:
            with self._lock:
                kept = self._idle.get(key)
                connection = kept.pop() if kept else None
            if connection is None or not connection.has_input():
                return connection
            connection.close()

    def _take_back(self, key: _Key, connection: Connection, usable: bool) -> None:  # noqa: FBT001  called by Response
        with self._lock:
            kept = self._idle.setdefault(key, []) if usable and not self._closed else None
            if kept is not None and len(kept) < _IDLE:
                kept.append(connection)
                return
        connection.close()

    def _connect(self, key: _Key, pace: Pace) -> Connection:
        scheme, host, port, proxy = key
        encrypted = scheme == "https"
        if encrypted or proxy.startswith("https:"):
            self._contexts.context(verified=True)  # raise its errors before anything is open
        if proxy:
            opened = self._reach_proxy(proxy, host, port, tunnel=encrypted, pace=pace)
        else:
            opened = self._reach(host, port, pace)
        return Connection(self._encrypt(opened, host) if encrypted else opened)

    def _reach(self, host: str, port: int, pace: Pace) -> socket.socket:
        failure: OSError = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        for address in self._names.addresses(host, port):
            place: Any = (address.encode(), port)  # as bytes, see Names
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
        parts = _parse_proxy(proxy)
        if parts is None or parts.scheme not in PORTS or not parts.hostname:
            raise ProxyError("it is not an HTTP proxy")
        try:
            opened = self._reach(parts.hostname, parts.port or PORTS[parts.scheme], pace)
        except OSError as error:
            raise ProxyError(str(error)) from error
        if parts.scheme == "https":
            opened = self._encrypt(opened, parts.hostname)
        if tunnel:
            try:
                _open_tunnel(opened, proxy, host, port)
            except (OSError, MalformedError) as error:
                opened.close()
                raise ProxyError(str(error)) from error
        return opened

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


def _open_tunnel(opened: socket.socket, proxy: str, host: str, port: int) -> None:
    """Ask a proxy for a tunnel (RFC 9110, 9.3.6)."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    opened.sendall(render_head("CONNECT", place, {"Host": place, "User-Agent": "deploy", **_proxy_login(proxy)}))
    # Unbuffered, because TLS follows the head and must not be read.
    with opened.makefile("rb", buffering=0) as raw:
        answer = Response(cast("BufferedReader", raw), method="CONNECT")
    if answer.status >= 300:
        raise ProxyError(f"it answers {answer.status} {answer.reason}")


def _parse_proxy(proxy: str) -> SplitResult | None:
    return parse_url(proxy if "://" in proxy else f"http://{proxy}")


def _proxy_login(proxy: str) -> dict[str, str]:
    """Return the field with the login of a proxy's URL (RFC 7617); empty if the URL has none."""
    parts = _parse_proxy(proxy)
    login, at, _ = parts.netloc.rpartition("@") if parts else ("", "", "")
    if not at:
        return {}
    from base64 import b64encode

    return {"Proxy-Authorization": "Basic " + b64encode(unquote(login).encode()).decode()}


def _render(method: str, parts: SplitResult, headers: Mapping[str, str], *, length: int | None, proxy: str) -> bytes:
    """Return a request's head; with the whole address if a `proxy` passes it on."""
    place = parts.netloc.rpartition("@")[2]
    target = quote(parts.path or "/", safe=_PATH) + (f"?{quote(parts.query, safe=_PATH + '?')}" if parts.query else "")
    fields = {"Host": place, "User-Agent": "deploy", "Accept": "*/*", "Accept-Encoding": "identity", **headers}
    if length is not None:
        fields["Content-Length"] = str(length)
    if proxy:
        target = f"{parts.scheme}://{place}{target}"
        fields |= _proxy_login(proxy)
    return render_head(method, target, fields)
