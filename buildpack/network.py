"""What of an environment the network code believes (docs/decisions/0007), and the connections it makes.

Indexes and registries are asked through here alike: one TLS context and one look-up of each name for all connections,
proxies and authorities from the mapping that is handed in, and from nothing else.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

    from requests.adapters import HTTPAdapter

__all__ = ["CA_VARIABLES", "Contexts", "Names", "Unreadable", "adapter", "proxies"]

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT", "SSL_CERT_DIR")
"""The first that is set names the authorities, a PEM file or a folder of them; else they are certifi's."""


Unreadable = Callable[[str, str], Exception]
"""Words a file of authorities that cannot be read, from the variable's name and its value."""


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
    verifies: Callable[[str], bool] = lambda _url: True,
) -> HTTPAdapter:
    """Make what requests connects with; `verifies` tells by URL whether a certificate is checked."""
    from requests.adapters import HTTPAdapter

    contexts = Contexts(environ, unreadable)
    pools = _pools()

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


def _pools() -> dict[str, Any]:
    """Make urllib3's pools look each name up once.

    Sixteen connections at once mean sixteen questions at once, and many a resolver in a container drops
    some: each then waits 5 seconds before it asks again (kubernetes#56903).
    """
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    names = Names()

    def connect(connection: Any, base: Any) -> socket.socket:
        name = connection._dns_host
        failure: Exception | None = None
        for address in names.addresses(name, connection.port):
            connection._dns_host = address
            try:
                return base._new_conn(connection)  # type: ignore[no-any-return]
            except (NewConnectionError, ConnectTimeoutError) as error:
                failure = error
            finally:
                connection._dns_host = name
        if failure is not None:
            raise failure
        return base._new_conn(connection)  # type: ignore[no-any-return]  # which words the failed look-up

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self, HTTPConnection)

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self, HTTPSConnection)

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
                self._made[verified] = self._verified() if verified else _unverified()
            return self._made[verified]

    def _verified(self) -> ssl.SSLContext:
        import ssl

        for variable in CA_VARIABLES:
            path = self._environ.get(variable, "")
            if not path:
                continue
            try:
                if Path(path).is_dir():
                    return ssl.create_default_context(capath=path)
                return ssl.create_default_context(cafile=path)
            except (OSError, ssl.SSLError):
                raise self._unreadable(variable, path) from None
        import certifi

        return ssl.create_default_context(cafile=certifi.where())


def _unverified() -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
