"""Gives `requests` the sockets that registries use: one look-up for each name, shared TLS contexts, and a pace."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from buildpack.net.pace import Pace
from buildpack.net.sockets import Contexts, Names, Unreadable, paced, set_pace

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

_CONNECTIONS = 32
"""Kept to each host."""


def make_adapter(
    environ: Mapping[str, str],
    *,
    unreadable: Unreadable,
    pace: Callable[[str], Pace],
    verifies: Callable[[str], bool],
) -> HTTPAdapter:
    """Return an adapter for package indexes.

    `pace` starts the time of an exchange with a host. `verifies` returns True for a URL whose certificate is checked.
    """
    from requests.adapters import HTTPAdapter

    contexts = Contexts(environ, unreadable)
    pools = _pools(pace)

    class Adapter(HTTPAdapter):
        # By itself, requests makes urllib3 load the file of authorities for each connection, in 15 ms.
        def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
            host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
            url = str(request.url)
            encrypted = url.startswith("https:")
            return host, {"ssl_context": contexts.context(verified=verifies(url))} if encrypted else {}

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            """Do nothing: the context verifies."""

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = pools

    return Adapter(pool_connections=8, pool_maxsize=_CONNECTIONS)


def _pools(pace: Callable[[str], Pace]) -> dict[str, Any]:
    """Return urllib3's pools, with connections that look up each name once and keep to a pace."""
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
            return super()._new_conn()  # its error says that the look-up failed

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
