"""A server on loopback that writes the bytes of a test, for answers that no library would send."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

CONTINUES = (b"HTTP/1.1 100 Continue\r\n\r\n",) * (1 << 18)
"""Interim answers, 6 MiB of them."""
TRICKLE = (b"x",) * (1 << 18)
"""A body that comes byte by byte."""
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: 1048576\r\n\r\n"
"""The head of an answer that promises 1 MiB."""


class SteppingClock:
    """A clock that goes on by `step` seconds with each look at it."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@contextmanager
def raw_server(reply: Callable[[str, str], Iterable[bytes]]) -> Iterator[str]:
    """Answer each connection's first request with what `reply` makes of method and path; yield ``host:port``.

    A request's body is read first, at most 4 MiB of it.
    """
    threads: list[threading.Thread] = []

    def run(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file, suppress(OSError):
            connection.settimeout(60)
            method, path, _ = file.readline().decode().split()
            length = 0
            while line := file.readline().strip():
                name, _, value = line.decode().partition(":")
                length = int(value) if name.lower() == "content-length" else length
            file.read(min(length, 4 << 20))
            for piece in reply(method, path):
                connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threads.append(threading.Thread(target=run, args=(connection,)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()
    for thread in threads:
        thread.join()
