"""Ports for servers that tests start."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket

__all__ = ["free_port"]

_FIRST, _MANY, _WORKERS = 16_000, 4_000, 4
"""Below the ports that kernels give by chance, also to clients (ip(7), ip_local_port_range), and so many a worker."""


def free_port(count: int = 1) -> int:
    """Return a port which, as the `count` - 1 after it, nobody has, nor gets but by asking for just that one."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    while True:
        first = _FIRST + worker * _MANY + secrets.randbelow(_MANY - count)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for number in range(count):
                stack.enter_context(socket.create_server(("", first + number)))
            return first
