"""Finds a Docker-compatible engine as the `docker` command does, and Podman's sockets too.

In this order: ``DOCKER_HOST``; the context that ``DOCKER_CONTEXT`` or ``~/.docker/config.json`` names; the first of the
usual sockets that accepts a connection.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from buildpack.bounded import parse_object, parse_port
from buildpack.dataclass import dataclass
from buildpack.errors import transfer as errors

_LOGIN = re.compile(r"(?<=://)[^/]*:[^/]*@")
_TLS_PORT, _PLAIN_PORT = 2376, 2375


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The address of an engine; `str()` gives ``unix:///PATH`` or ``tcp://HOST:PORT``.

    `address` is a socket's path or (host, port). `certificates` is a folder with ``ca.pem``, ``cert.pem`` and
    ``key.pem`` for TLS; None for a connection without TLS. `verify` is False if the engine's certificate is not
    checked.
    """

    address: str | tuple[str, int]
    certificates: Path | None = None
    verify: bool = True

    def __str__(self) -> str:
        if isinstance(self.address, str):
            return f"unix://{self.address}"
        host, port = self.address
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def require_engine(environ: Mapping[str, str]) -> Endpoint:
    """Return the engine to use; raises EngineError if there is none."""
    found = find_engine(environ)
    if found is None:
        raise errors.engine_missing([f"unix://{path}" for path in default_sockets(environ)])
    return found


def find_engine(environ: Mapping[str, str]) -> Endpoint | None:
    """Return the engine that the environment names, or the first usual socket; None if there is none.

    Raises EngineError if the environment names an engine that cannot be used.
    """
    if named := environ.get("DOCKER_HOST", ""):
        return parse_host(named, source="DOCKER_HOST", certificates=_environ_certificates(environ))
    context, source = _context(environ)
    if context not in {"", "default"}:
        return _read_context(context, source, environ)
    existing = [path for path in default_sockets(environ) if path.is_socket()]
    chosen = next((path for path in existing if _lets_in(path)), existing[0] if existing else None)
    return Endpoint(address=str(chosen)) if chosen else None


def default_sockets(environ: Mapping[str, str]) -> list[Path]:
    """Return the usual sockets of Docker, rootless Docker, Docker Desktop and Podman."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    home = environ.get("HOME", "")
    sockets = ["/var/run/docker.sock"]
    sockets += [f"{runtime}/docker.sock"] if runtime else []
    sockets += [f"{home}/.docker/run/docker.sock"] if home else []
    sockets += [f"{runtime}/podman/podman.sock"] if runtime else []
    return [Path(path) for path in (*sockets, "/run/podman/podman.sock")]


def parse_host(text: str, *, source: str, certificates: Path | None = None, verify: bool = True) -> Endpoint:
    """Read a value of DOCKER_HOST; `source` says where it is from, for messages. Raises EngineError."""
    # A login has no meaning here, and must not be shown.
    text = _LOGIN.sub("", text.strip())
    scheme, separator, rest = text.partition("://")
    if not separator and text.startswith("/"):
        scheme, rest = "unix", text
    if scheme == "ssh":
        raise errors.engine_speaks_ssh(text)
    if scheme == "unix" and rest.startswith("/"):
        return Endpoint(address=rest)
    if scheme in {"tcp", "http", "https"} and (address := _split_port(rest.partition("/")[0], certificates)):
        return Endpoint(address=address, certificates=certificates, verify=verify)
    raise errors.engine_unreadable_host(text, source)


def _split_port(text: str, certificates: Path | None) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    if not host or text.endswith("]"):
        host, port = text, str(_TLS_PORT if certificates else _PLAIN_PORT)
    host = host.removeprefix("[").removesuffix("]")
    number = parse_port(port)
    return (host, number) if host and number else None


def _environ_certificates(environ: Mapping[str, str]) -> Path | None:
    """Return the folder of certificates; None unless DOCKER_TLS_VERIFY asks for TLS."""
    if not environ.get("DOCKER_TLS_VERIFY"):
        return None
    return Path(environ.get("DOCKER_CERT_PATH") or _folder(environ))


def _folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the `docker` command's configuration."""
    return Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "/nonexistent") / ".docker")


def _context(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the name of the context to use, "" for none, and the source of that name."""
    if named := environ.get("DOCKER_CONTEXT", ""):
        return named, "DOCKER_CONTEXT"
    path = _folder(environ) / "config.json"
    return str(_read_object(path).get("currentContext") or ""), str(path)


def _read_context(name: str, source: str, environ: Mapping[str, str]) -> Endpoint:
    contexts = _folder(environ) / "contexts"
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = contexts / "meta" / identity / "meta.json"
    endpoints = _read_object(meta).get("Endpoints")
    endpoint = endpoints.get("docker") if isinstance(endpoints, dict) else None
    if not isinstance(endpoint, dict) or not isinstance(endpoint.get("Host"), str):
        raise errors.engine_unknown_context(name, source, ["default", *_context_names(contexts / "meta")])
    certificates = contexts / "tls" / identity / "docker"
    return parse_host(
        endpoint["Host"],
        source=f"the Docker context {name!r}",
        certificates=certificates if os.path.isdir(certificates) else None,
        verify=not endpoint.get("SkipTLSVerify"),
    )


def _context_names(folder: Path) -> list[str]:
    return sorted(str(name) for path in folder.glob("*/meta.json") if (name := _read_object(path).get("Name")))


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if it is missing or malformed, as for the `docker` command."""
    try:
        return parse_object(path.read_bytes())
    except OSError:
        return {}


def _lets_in(path: Path) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
