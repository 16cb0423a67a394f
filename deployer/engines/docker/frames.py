"""Split the engine's multiplexed stream into standard output and error of a container without a terminal.

A frame is eight bytes (stream 1 or 2, three zeros, the length in network order) and the payload, see "Attach to a
container" in Docker's API reference.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

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
