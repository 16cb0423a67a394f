"""Connect to an engine through the docker SDK, and word its errors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from buildpack.dataclass import dataclass
from buildpack.errors import transfer
from buildpack.oci.engine_host import Endpoint
from buildpack.oci.engine_http import Connection
from deployer.errors import engines as errors

_PING_SECONDS = 30
"""On a busy machine an engine needs a while to answer."""
_ANSWER_SECONDS = 120
_CONNECTIONS = 256
_NONSENSE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""The exceptions that Python raises if an answer is not JSON, or is JSON of another shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An engine that answers: its name (``Docker 20.10.24``) and its API."""

    endpoint: Endpoint
    name: str
    api: Any  # docker.APIClient, which ships no types
    libpod: str | None
    """The version of Podman's own API; None if the engine is Docker."""

    @property
    def remote(self) -> str | None:
        """The host that it is on; None if it seems to be this machine."""
        address = self.endpoint.address
        if isinstance(address, str) or address[0] in {"localhost", "127.0.0.1", "::1"}:
            return None
        return address[0]

    @contextlib.contextmanager
    def worded(self) -> Iterator[None]:
        """Turn the SDK's exceptions into EngineError, and those of an answer of an unexpected shape.

        Callers read an answer inside this block, too.
        """
        from docker.errors import APIError, DockerException, StreamParseError
        from requests.exceptions import InvalidJSONError, RequestException

        try:
            yield
        except APIError as error:
            raise errors.engine_failed(str(self.endpoint), explain(error)) from error
        except (InvalidJSONError, StreamParseError) as error:
            raise errors.engine_nonsense(str(self.endpoint), str(error)) from error
        except (DockerException, RequestException) as error:
            raise transfer.engine_unreachable(str(self.endpoint), _reason(error)) from error
        except _NONSENSE as error:
            # The SDK looks for `message` in the body of every error.
            if isinstance(error.__context__, RequestException):
                raise errors.engine_failed(str(self.endpoint), str(error.__context__)) from error
            raise errors.engine_nonsense(str(self.endpoint), str(error)) from error

    def close(self) -> None:
        """Close the connections."""
        self.api.close()


def explain(error: Any) -> str:
    """Return what an engine said, in one line."""
    return " ".join(str(error.explanation or error).split())


def connect(endpoint: Endpoint) -> Client:
    """Connect to an engine; raises EngineError if it does not answer."""
    # Not the SDK's `version="auto"`: Podman starts dozens of programs before it answers `/version`.
    with contextlib.closing(Connection(endpoint, timeout=_PING_SECONDS)) as connection:
        answer = connection.ask("GET", "/_ping")
    if answer.failure:
        raise errors.engine_failed(str(endpoint), answer.failure)
    if "api-version" not in answer.headers:
        raise transfer.engine_unreachable(str(endpoint), "what answers is not an engine")
    from docker.api.client import APIClient
    from docker.errors import DockerException

    client: Any = APIClient
    try:
        api = client(
            base_url=str(endpoint),
            version=answer.headers["api-version"],
            tls=_tls(endpoint),
            timeout=_ANSWER_SECONDS,
            max_pool_size=_CONNECTIONS,
        )
    except DockerException as error:
        raise transfer.engine_unreachable(str(endpoint), _reason(error)) from error
    except _NONSENSE as error:
        raise errors.engine_nonsense(str(endpoint), str(error)) from error
    name = name_of(answer.headers.get("server", ""))
    return Client(endpoint=endpoint, name=name, api=api, libpod=answer.headers.get("libpod-api-version"))


def name_of(server: str) -> str:
    """Return the product and version that a `Server` header names, as in `Docker/20.10.24+dfsg1 (linux)`."""
    product, _, version = server.partition(" ")[0].partition("/")
    return " ".join(("Podman" if product == "Libpod" else product or "the engine", version.partition("+")[0])).strip()


def _tls(endpoint: Endpoint) -> Any:
    folder = endpoint.certificates
    if folder is None:
        return False
    from docker.errors import DockerException
    from docker.tls import TLSConfig

    own = (str(folder / "cert.pem"), str(folder / "key.pem")) if os.path.exists(folder / "cert.pem") else None
    authority = folder / "ca.pem"
    config: Any = TLSConfig
    try:
        return config(
            client_cert=own, ca_cert=str(authority) if os.path.exists(authority) else None, verify=endpoint.verify
        )
    except DockerException as error:
        raise transfer.engine_tls(str(endpoint), _reason(error)) from error


def _reason(error: BaseException) -> str:
    """Return the operating system's message in a chain of wrapped exceptions, else the innermost message."""
    found: BaseException | None = error
    last = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        last, found = found, found.__cause__ or found.__context__
    return " ".join(str(last).split())
