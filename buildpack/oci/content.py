"""Read content that is inside other files: slices, and DEFLATE streams of zips."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from buildpack.oci.entry import Deflated, FileSlice

WHOLE = 64 << 20
"""Bytes up to which a stream is inflated at once, which takes half the time of doing it in pieces."""

_CHUNK = 1 << 20

ReadAt = Callable[[int, int], bytes]
"""Returns up to this many bytes (second) at this offset (first); fewer at the end of the file."""


@contextmanager
def reader(content: Deflated | FileSlice) -> Iterator[ReadAt]:
    """Give random access to unverified content, with bounded memory whatever its size."""
    with content.path.open("rb") as raw:
        descriptor = raw.fileno()
        if isinstance(content, FileSlice):
            yield lambda offset, size: os.pread(
                descriptor, max(0, min(size, content.size - offset)), content.offset + offset
            )
        elif content.size <= WHOLE:
            yield _inflated(descriptor, content)
        else:
            yield _Restartable(descriptor, content).read_at


def _inflated(descriptor: int, content: Deflated) -> ReadAt:
    import deflate

    stream = os.pread(descriptor, content.compressed, content.offset)
    # A damaged stream reads as an empty file: the layer writer checks the CRC and reports it.
    try:
        body = memoryview(deflate.deflate_decompress(stream, content.size))
    except deflate.DeflateError:
        body = memoryview(b"")
    return lambda offset, size: bytes(body[offset : offset + size])


class _Restartable:
    """Reads a DEFLATE stream forwards, and from the start again for an earlier offset."""

    def __init__(self, descriptor: int, content: Deflated) -> None:
        self._descriptor = descriptor
        self._content = content
        self._restart()

    def _restart(self) -> None:
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._consumed = 0
        self._start = 0
        self._window = b""

    def read_at(self, offset: int, size: int) -> bytes:
        if offset < self._start:
            self._restart()
        while self._start + len(self._window) < offset + size and self._advance(offset):
            pass
        begin = offset - self._start
        return self._window[begin : begin + size]

    def _advance(self, keep_from: int) -> bool:
        """Inflate another piece, forgetting what comes before `keep_from`; False at the end."""
        piece = self._inflater.unconsumed_tail
        if not piece:
            left = self._content.compressed - self._consumed
            piece = os.pread(self._descriptor, min(_CHUNK, left), self._content.offset + self._consumed)
            self._consumed += len(piece)
        try:
            made = self._inflater.decompress(piece, _CHUNK)
        except zlib.error:
            return False
        keep = max(0, min(keep_from - self._start, len(self._window)))
        self._start += keep
        self._window = self._window[keep:] + made
        return bool(made) or (bool(piece) and not self._inflater.eof)
