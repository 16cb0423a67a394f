"""The streams of a container: its output as the engine multiplexes it, and its input.

Without a terminal a frame is eight bytes (stream 1 or 2, three zeros, the length in network order) and the payload, see
"Attach to a container" in Docker's API reference.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

STDOUT, STDERR = 1, 2

_HEADER = struct.Struct(">BxxxL")


class Demultiplexer:
    """Turns chunks of any size into pieces of output with their stream's number."""

    def __init__(self) -> None:
        self._head = b""
        self._stream = STDOUT
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (stream, bytes) for each piece in `data`; a frame that is cut comes in several pieces."""
        at = 0
        while at < len(data):
            if not self._left:
                taken = data[at : at + _HEADER.size - len(self._head)]
                self._head += taken
                at += len(taken)
                if len(self._head) < _HEADER.size:
                    return
                self._stream, self._left = _HEADER.unpack(self._head)
                self._head = b""
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            yield (STDOUT if self._stream == STDOUT else STDERR), piece


class Stream:
    """The open connection to a container's streams."""

    def __init__(self, attached: Any, *, terminal: bool) -> None:
        # The response owns the connection: it stays referenced for as long as the socket is used.
        self._attached = attached
        self._socket: socket.socket = getattr(attached, "_sock", attached)
        self._socket.settimeout(None)
        self._terminal = terminal

    def pieces(self) -> Iterator[Sequence[tuple[int, bytes]]]:
        """Yield output as it comes, each piece with the number of its stream, until container or connection end."""
        frames = Demultiplexer()
        with contextlib.suppress(OSError):
            while received := self._socket.recv(1 << 16):
                yield [(STDOUT, received)] if self._terminal else list(frames.feed(received))

    def write(self, data: bytes) -> bool:
        """Send input; False once nobody reads it."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def end_input(self) -> None:
        """End the input; output still comes."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End the connection, and every `pieces` or `write` that waits on it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        response = getattr(self._attached, "_response", None)
        owners: tuple[Any, ...] = (response, self._attached, self._socket)
        for owner in owners:
            # Each of them tries to flush a file that another owner has closed.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                owner.close()


def write_all(fd: int, text: bytes) -> None:
    """Write all of a text, even if another program that shares the stream set O_NONBLOCK."""
    left = memoryview(text)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            select.select([], [fd], [])
