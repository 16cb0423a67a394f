"""Sockets for indexes, registries and engines: addresses, proxies, TLS, and a pace for every socket.

Proxies and authorities come only from the mapping that is passed in (docs/decisions/0007).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from buildpack.net.pace import Pace

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT", "SSL_CERT_DIR")
"""The first variable that is set names the authorities, a PEM file or a folder; otherwise they are certifi's."""

Unreadable = Callable[[str, str], Exception]
"""Makes the error for a file of authorities that cannot be read, from the variable's name and its value."""


def find_proxy(environ: Mapping[str, str], url: str) -> str:
    """Return the proxy for a URL; "" if none is set, or ``no_proxy`` excludes the URL."""

    def variable(name: str) -> str:
        return environ.get(name, "") or environ.get(name.upper(), "")

    parts = urlsplit(url)
    address = variable(f"{parts.scheme}_proxy") or variable("all_proxy")
    if not address:
        return ""
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # missing in typeshed

    host = parts.netloc.rpartition("@")[2]
    return "" if proxy_bypass_environment(host, {"no": variable("no_proxy")}) else address


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
    """Return the same connection as a socket that takes a pace (`set_pace`); `opened` can no longer be used."""
    timeout = opened.gettimeout()
    made = _Paced(opened.family, opened.type, opened.proto, fileno=opened.detach())
    made.settimeout(timeout)
    return made


def set_pace(opened: Any, pace: Pace) -> None:
    """Set the pace of the next exchange on a connection; with TLS inside TLS, on the innermost socket."""
    while not isinstance(opened, socket.socket):
        opened = opened.socket
    opened.pace = pace  # type: ignore[attr-defined]


class Names:
    """Addresses by host name; threads share it, and it looks up one name at a time.

    Sixteen connections would ask sixteen times at once. Many resolvers in containers drop some of these questions, and
    each is asked again only after 5 seconds (kubernetes#56903).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, ...]] = {}

    def addresses(self, name: str, port: int) -> tuple[str, ...]:
        """Return a name's addresses in the resolver's order; none if the name is unknown."""
        with self._lock:
            if name not in self._known:
                try:
                    # As bytes: Python imports the IDNA codec to encode text, even if it is ASCII.
                    place = name.encode() if name.isascii() else name
                    found = socket.getaddrinfo(place, port, 0, socket.SOCK_STREAM)
                except (OSError, UnicodeError):
                    return ()
                self._known[name] = tuple(dict.fromkeys(str(each[4][0]) for each in found))
            return self._known[name]


class Contexts:
    """TLS contexts, each made at its first use, because loading the authorities takes 15 ms; threads share them."""

    def __init__(self, environ: Mapping[str, str], unreadable: Unreadable) -> None:
        self._environ = environ
        self._unreadable = unreadable
        self._lock = threading.Lock()
        self._made: dict[bool, ssl.SSLContext] = {}

    def context(self, *, verified: bool) -> ssl.SSLContext:
        """Return the context that checks certificates, or the one that does not.

        Raises the error that `unreadable` makes if the environment's authorities cannot be read.
        """
        with self._lock:
            if verified not in self._made:
                self._made[verified] = self._verified() if verified else make_context(verified=False)
            return self._made[verified]

    def _verified(self) -> ssl.SSLContext:
        for variable in CA_VARIABLES:
            path = self._environ.get(variable, "")
            if not path:
                continue
            try:
                return make_context(path)
            except OSError:
                raise self._unreadable(variable, path) from None
        import certifi

        return make_context(certifi.where())


def make_context(authorities: str | None = None, *, verified: bool = True) -> ssl.SSLContext:
    """Return a TLS context whose sockets keep to a pace; raises OSError if the authorities cannot be read.

    `authorities` is a PEM file or a folder of them; without it they are the system's.
    """
    import ssl

    if verified:
        folder = authorities if authorities and os.path.isdir(authorities) else None
        context = ssl.create_default_context(cafile=None if folder else authorities, capath=folder)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = _paced_tls()
    return context


@cache
def _paced_tls() -> type[ssl.SSLSocket]:
    import ssl

    class Encrypted(_Paced, ssl.SSLSocket):
        """A TLS socket that keeps to a pace."""

    return Encrypted
