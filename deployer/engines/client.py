"""A connection to an engine through the docker SDK, whose errors come out in our words."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from buildpack.dataclass import dataclass
from buildpack.errors import transfer
from buildpack.oci.engine_host import Endpoint
from deployer.engines import errors

__all__ = ["Engine", "connect"]

_CONNECT_SECONDS = 5
_VERSION_SECONDS = 30
"""For an engine that took the connection: on a busy machine it may need longer than `_CONNECT_SECONDS` to answer."""
_ANSWER_SECONDS = 120
_CONNECTIONS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that answers: what it calls itself (``Docker 20.10.24``), and its API."""

    endpoint: Endpoint
    name: str
    api: Any  # docker.APIClient, which ships no types

    @property
    def remote(self) -> str | None:
        """The host it is on, None where that is this machine as far as one can tell."""
        address = self.endpoint.address
        if isinstance(address, str) or address[0] in {"localhost", "127.0.0.1", "::1"}:
            return None
        return address[0]

    @contextlib.contextmanager
    def worded(self) -> Iterator[None]:
        """Turn the SDK's exceptions into EngineError."""
        from docker.errors import APIError, DockerException
        from requests import RequestException

        try:
            yield
        except APIError as error:
            raise errors.engine_failed(str(self.endpoint), explain(error)) from error
        except (DockerException, RequestException) as error:
            raise transfer.engine_unreachable(str(self.endpoint), _reason(error)) from error

    def close(self) -> None:
        """Let go of the connections."""
        self.api.close()


def explain(error: Any) -> str:
    """Return what an engine said, in one line."""
    return " ".join(str(error.explanation or error).split())


def connect(endpoint: Endpoint) -> Engine:
    """Connect to an engine; raises EngineError where it does not answer."""
    _knock(endpoint)
    from docker.api.client import APIClient
    from docker.errors import DockerException
    from requests import RequestException

    client: Any = APIClient
    try:
        api = client(
            base_url=str(endpoint),
            version="auto",
            tls=_tls(endpoint),
            timeout=_VERSION_SECONDS if isinstance(endpoint.address, str) else _CONNECT_SECONDS,
            max_pool_size=_CONNECTIONS,
        )
        version = api.version()
    except (DockerException, RequestException) as error:
        raise transfer.engine_unreachable(str(endpoint), _reason(error)) from error
    api.timeout = _ANSWER_SECONDS
    components = version.get("Components") or [{}]
    product = "Podman" if "podman" in str(components[0].get("Name", "")).lower() else "Docker"
    return Engine(endpoint=endpoint, name=f"{product} {str(version.get('Version', '')).partition('+')[0]}", api=api)


def _knock(endpoint: Endpoint) -> None:
    """See whether anybody opens, before the SDK is imported for it; raises EngineError."""
    if not isinstance(endpoint.address, str):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(endpoint.address)
        except PermissionError as error:
            raise transfer.engine_denied(str(endpoint)) from error
        except OSError as error:
            raise transfer.engine_unreachable(str(endpoint), error.strerror or str(error)) from error


def _tls(endpoint: Endpoint) -> Any:
    folder = endpoint.certificates
    if folder is None:
        return False
    from docker.errors import DockerException
    from docker.tls import TLSConfig

    own = (str(folder / "cert.pem"), str(folder / "key.pem")) if (folder / "cert.pem").exists() else None
    authority = folder / "ca.pem"
    config: Any = TLSConfig
    try:
        return config(client_cert=own, ca_cert=str(authority) if authority.exists() else None, verify=endpoint.verify)
    except DockerException as error:
        raise transfer.engine_tls(str(endpoint), _reason(error)) from error


def _reason(error: BaseException) -> str:
    """Return the operating system's word in a chain of wrapped exceptions, else the innermost message."""
    found: BaseException | None = error
    last = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        last, found = found, found.__cause__ or found.__context__
    return " ".join(str(last).split())
