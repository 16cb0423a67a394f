"""Read PORT, and find ports that are taken before anything starts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping, Sequence

from buildpack.bounded import parse_port
from deployer.errors.engines import bad_host, bad_port_variable, port_taken, ports_exhausted
from deployer.readiness.sockets import listener_of_port

_FURTHER = 100


def read_port(variables: Mapping[str, str], default: int) -> int:
    """Return the port that PORT names, `default` if it is unset or empty; raises UsageError if it is not a port."""
    text = variables.get("PORT")
    if not text:
        return default
    port = parse_port(text)
    if port is None:
        raise bad_port_variable(text)
    return port


def ports_of_web(first: int, count: int) -> range:
    """Return the ports of `count` web processes, of which web.1 gets the first; raises UsageError above 65535."""
    if first + count > 65536:
        raise ports_exhausted(first, count)
    return range(first, first + count)


def require_free(ports: Sequence[int], *, address: str = "") -> None:
    """Raise MachineError for the first of these ports that is taken at this address; "" means all addresses.

    A listener on one address is in the way of a process that listens on all, as gunicorn does.
    """
    taken = next((port for port in ports if not _is_free(address, port)), None)
    if taken is not None:
        raise port_taken(
            taken, _suggest(address, len(ports), above=ports[0]), address=address, holder=listener_of_port(taken)
        )


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _suggest(address: str, count: int, *, above: int) -> int | None:
    """Return the first port above with as many free ports in a row."""
    candidates = range(above + 1, min(above + _FURTHER, 65537 - count))
    return next((port for port in candidates if all(_is_free(address, port + at) for at in range(count))), None)


def _is_free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Without it, connections of the last run in TIME_WAIT would count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            # Below 1024, or not an address of this machine: the engine may be allowed to.
            return error.errno != errno.EADDRINUSE
    return True


def parse_host(text: str) -> str:
    """Read an address of this machine; ``localhost`` is 127.0.0.1. Raises UsageError."""
    import ipaddress

    if text == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise bad_host(text) from None
