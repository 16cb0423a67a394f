"""Unpack gzip, bzip2 and xz files that may be hostile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

_CHUNK = 1 << 20
_READ = 64 << 10
"""Compressed bytes at a time; few, because the end of each of many tiny streams copies the rest of them."""
_MAX_DICTIONARY = 128 << 20
"""Bytes of memory that an .xz may need: `xz -9` takes 65 MB."""


class CannotDecompressError(ValueError):
    """A compressed file that is damaged, cut short, or needs too much memory."""


def decompress_file(file: BinaryIO, *, scratch: Path, check: Callable[[int], None]) -> BinaryIO:
    """Return a nameless file in `scratch` that holds the unpacked content; one that is not compressed is copied.

    `check` gets the size so far, and raises if that is too much. Raises CannotDecompressError for damage, OSError if
    `scratch` cannot take the file.
    """
    import tempfile

    unpacked: BinaryIO = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - the caller closes it
    try:
        pieces = _decompress(file)
        while piece := _next(pieces):
            unpacked.write(piece)
            check(unpacked.tell())
        unpacked.flush()
        unpacked.seek(0)
    except BaseException:
        unpacked.close()
        raise
    return unpacked


def _next(pieces: Iterator[bytes]) -> bytes:
    """Return the next piece, empty at the end; errors of the decompressor do not look like errors of the disk."""
    import lzma
    import zlib

    try:
        return next(filter(None, pieces), b"")
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise CannotDecompressError(str(error)) from None


def _decompress(raw: BinaryIO) -> Iterator[bytes]:
    import bz2
    import gzip
    import lzma

    start = raw.read(6)
    raw.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return iter(partial(gzip.GzipFile(fileobj=raw).read, _CHUNK), b"")
    if start.startswith(b"BZh"):
        return _streams(raw, bz2.BZ2Decompressor)
    if start.startswith(b"\xfd7zXZ"):
        return _streams(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_DICTIONARY))
    return iter(partial(raw.read, _CHUNK), b"")


def _streams(raw: BinaryIO, decompressor: Callable[[], Any]) -> Iterator[bytes]:
    """Unpack one stream after another, as bzip2 and xz do; zeros may follow each."""
    piece = raw.read(_READ)
    while piece:
        inflater = decompressor()
        while not inflater.eof:
            yield inflater.decompress(piece, _CHUNK)
            piece = b""
            if inflater.needs_input and not inflater.eof and not (piece := raw.read(_READ)):
                raise EOFError("it is cut short")
        piece = (inflater.unused_data or raw.read(_READ)).lstrip(b"\0")
