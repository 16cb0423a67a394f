"""Ports of this machine and of containers: reads PORT, and finds out which ports are taken before anything starts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

from buildpack.bounded import parse_port
from deployer.errors.engines import bad_port_variable, port_taken

_FURTHER = 100


def read_port(text: str) -> int:
    """Read the value of PORT; raises UsageError unless it is the number of a port."""
    port = parse_port(text)
    if port is None:
        raise bad_port_variable(text)
    return port


def require_free(address: str, ports: Iterable[int]) -> None:
    """Raise MachineError for the first of these ports on which something listens at this address."""
    wanted = list(ports)
    for port in wanted:
        if not _is_free(address, port):
            raise port_taken(address, port, _suggest(address, len(wanted), above=port))


def _suggest(address: str, count: int, *, above: int) -> int:
    """Return a port from which on as many are free."""
    for port in range(above + 1, min(above + _FURTHER, 65536 - count)):
        if all(_is_free(address, port + offset) for offset in range(count)):
            return port
    return 8000


def _is_free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Else the last run's connections, in TIME_WAIT, would count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            # Not allowed below 1024, or no address of this machine: the engine may see that otherwise.
            return error.errno != errno.EADDRINUSE
    return True
