"""Reads content inside other files: slices, and DEFLATE streams of zips. `Sources` verifies it as it reads."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from buildpack.errors import MachineError
from buildpack.errors import oci as errors
from buildpack.oci.entry import Content, Deflated, FileSlice, Inline

WHOLE = 64 << 20
"""Bytes up to which `reader` inflates a stream at once, in half the time that pieces take."""
LARGEST_PIECE = 8 << 20
"""Bytes up to which `Sources` inflates a stream at once."""

_CHUNK = 1 << 20
_STREAM = 256 << 10
_OPEN_FILES = 32

ReadAt = Callable[[int, int], bytes]
"""Returns up to this many bytes (second) at this offset (first); fewer at the end of the file."""


class ContentDamagedError(ValueError):
    """Content does not have the size or the CRC-32 of its entry."""

    def __init__(self, content: FileSlice | Deflated, reason: str = "") -> None:
        part = "stream" if isinstance(content, Deflated) else "part"
        super().__init__(reason or f"the {part} at byte {content.offset} fails its checksum")
        self.content = content

    def as_machine_error(self) -> MachineError:
        """Return the error for content that was right when its entry was made."""
        # A part of a file belongs to an archive; a whole file is the app's.
        if isinstance(self.content, FileSlice) and not self.content.offset and self.content.crc32 is not None:
            return errors.file_changed(self.content.path)
        return errors.ContentError(self.content.path, str(self))


class Sources:
    """Reads content from files, of which a few stay open; verifies it.

    Raises ContentDamagedError for content that contradicts its entry, MachineError if a file cannot be read.
    """

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def pieces(self, content: Content, *, compressed: Callable[[bytes], object] | None = None) -> Iterator[bytes]:
        """Yield the content, in bounded memory. `compressed` is called with each piece of the stream itself."""
        if isinstance(content, Inline):
            yield content.body
        elif isinstance(content, FileSlice):
            yield from self._slice(content)
        elif compressed is None and max(content.size, content.compressed) <= LARGEST_PIECE:
            yield self.whole(content)
        else:
            yield from self._inflate(content, compressed or (lambda _: None))

    def whole(self, content: FileSlice | Deflated, *, limit: int = LARGEST_PIECE) -> bytes:
        """Return the content, of at most `limit` bytes."""
        import deflate

        if content.size > limit:
            raise ContentDamagedError(content, f"it has {content.size:,} bytes, which is more than {limit:,}")
        if isinstance(content, FileSlice):
            return b"".join(self._slice(content))
        stream = self.stream(content)
        try:
            # libdeflate takes half of zlib's time if the size is known before.
            body = deflate.deflate_decompress(stream, content.size)
        except deflate.DeflateError:
            raise ContentDamagedError(content) from None
        if len(body) != content.size or deflate.crc32(body) != content.crc32:
            raise ContentDamagedError(content)
        return bytes(body)

    def stream(self, content: Deflated) -> bytes:
        """Return a DEFLATE stream itself, unverified."""
        return self._read(content, content.compressed, content.offset)

    def _slice(self, content: FileSlice) -> Iterator[bytes]:
        import deflate

        crc = 0
        for start in range(0, content.size, _CHUNK):
            piece = self._read(content, min(_CHUNK, content.size - start), content.offset + start)
            if content.crc32 is not None:
                crc = deflate.crc32(piece, crc)
            yield piece
        if content.crc32 not in {None, crc}:
            raise ContentDamagedError(content)

    def _inflate(self, content: Deflated, compressed: Callable[[bytes], object]) -> Iterator[bytes]:
        inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        size = crc = 0
        for start in range(0, content.compressed, _STREAM):
            piece = self._read(content, min(_STREAM, content.compressed - start), content.offset + start)
            compressed(piece)
            for body in _inflated(inflater, piece, content):
                size += len(body)
                crc = zlib.crc32(body, crc)
                if size > content.size:
                    raise ContentDamagedError(content)
                yield body
        if not inflater.eof or size != content.size or crc != content.crc32:
            raise ContentDamagedError(content)

    def _read(self, content: FileSlice | Deflated, size: int, offset: int) -> bytes:
        path = content.path
        try:
            if path not in self._open:
                if len(self._open) >= _OPEN_FILES:
                    os.close(self._open.pop(next(iter(self._open))))
                # O_NONBLOCK makes a pipe in place of the file fail instead of waiting.
                self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            piece = os.pread(self._open[path], size, offset)
        except OSError as error:
            raise errors.content_unreadable(path, error) from error
        if len(piece) != size:
            raise ContentDamagedError(content, f"it ends before byte {offset + size}")
        return piece


def _inflated(inflater: zlib._Decompress, piece: bytes, content: Deflated) -> Iterator[bytes]:
    """Yield the inflated bytes of this piece of the stream; bytes after the stream's end count as damage."""
    if inflater.eof:
        raise ContentDamagedError(content)
    try:
        while not inflater.eof:
            body = inflater.decompress(piece, _CHUNK)
            yield body
            piece = inflater.unconsumed_tail
            # A full chunk may leave output inside even if all input is taken.
            if not piece and len(body) < _CHUNK:
                break
    except zlib.error:
        raise ContentDamagedError(content) from None
    if inflater.unused_data:
        raise ContentDamagedError(content)


@contextmanager
def reader(content: Deflated | FileSlice) -> Iterator[ReadAt]:
    """Yield a function for random access to unverified content, in bounded memory."""
    with content.path.open("rb") as raw:
        descriptor = raw.fileno()
        if isinstance(content, FileSlice):
            yield lambda offset, size: os.pread(
                descriptor, max(0, min(size, content.size - offset)), content.offset + offset
            )
        elif content.size <= WHOLE:
            yield _inflated_at_once(descriptor, content)
        else:
            with Sources() as sources:
                yield _Restartable(sources, content).read_at


def _inflated_at_once(descriptor: int, content: Deflated) -> ReadAt:
    import deflate

    stream = os.pread(descriptor, content.compressed, content.offset)
    # A damaged stream reads as an empty file: the layer writer checks the CRC and reports it.
    try:
        body = memoryview(deflate.deflate_decompress(stream, content.size))
    except deflate.DeflateError:
        body = memoryview(b"")
    return lambda offset, size: bytes(body[offset : offset + size])


class _Restartable:
    """Reads a DEFLATE stream forwards, and from the start again for an earlier offset; damage counts as its end."""

    def __init__(self, sources: Sources, content: Deflated) -> None:
        self._sources = sources
        self._content = content
        self._restart()

    def _restart(self) -> None:
        self._pieces = filter(None, self._sources.pieces(self._content))
        self._start = 0
        self._window = b""

    def read_at(self, offset: int, size: int) -> bytes:
        if offset < self._start:
            self._restart()
        while self._start + len(self._window) < offset + size and (piece := self._next()):
            dropped = max(0, min(offset - self._start, len(self._window)))
            self._start += dropped
            self._window = self._window[dropped:] + piece
        begin = offset - self._start
        return self._window[begin : begin + size]

    def _next(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except ContentDamagedError:
            return b""
