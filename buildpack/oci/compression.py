"""Gzip members, which a layer's blob is a series of (RFC 1952, 2.2), and compressed files that may be hostile.

The header of each member is the same ten bytes: no time, no name, no trace of the machine. After it come bytes of
libdeflate, or a zip's own DEFLATE stream.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from _typeshed import SupportsRead

HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Magic, DEFLATE, no flags, no time, no XFL, operating system unknown."""
FOOTER = 8
"""Bytes of a member's footer."""
_LEVEL = 1
_CHUNK = 1 << 20
_READ = 16 << 10
"""Compressed bytes at a time: few, because the end of each member copies the rest.

33,000 empty members take 0.02 s; with 256 KiB they took 0.11 s.
"""
_MAX_DICTIONARY = 128 << 20
"""Bytes of memory that an .xz may need: `xz -9` takes 65 MB."""
_footer = struct.Struct("<II")


class CannotDecompressError(ValueError):
    """A compressed file that is damaged, cut short, or needs too much memory."""


def footer(crc32: int, size: int) -> bytes:
    """Return the footer of a member that inflates to `size` bytes."""
    return _footer.pack(crc32, size & 0xFFFFFFFF)


def member(content: bytes | bytearray) -> bytes:
    """Compress to one member; the same bytes on every machine."""
    import deflate

    packed = deflate.deflate_compress(content, _LEVEL)
    return b"".join((HEADER, packed, footer(deflate.crc32(content), len(content))))


def gunzip(source: SupportsRead[bytes]) -> Iterator[bytes]:
    """Inflate any number of members, yielding at most 1 MiB at a time.

    Raises zlib.error for bytes that are not gzip's or fail their checksum, EOFError if the last member is cut short.
    """
    inflater = zlib.decompressobj(wbits=31)
    begun = False
    while piece := source.read(_READ):
        while piece:
            begun = True
            if made := inflater.decompress(piece, _CHUNK):
                yield made
            piece = inflater.unconsumed_tail
            if inflater.eof:
                piece = inflater.unused_data
                inflater = zlib.decompressobj(wbits=31)
                begun = False
    # If the output limit was reached exactly at the end of the input, output may still wait inside.
    if begun and not inflater.eof:
        if made := inflater.flush():
            yield made
        if not inflater.eof:
            raise EOFError("gzip stream is cut short")


def decompress_file(file: BinaryIO, *, scratch: Path, check: Callable[[int], None]) -> BinaryIO:
    """Return a nameless file in `scratch` with the content of a gzip, bzip2 or xz file, or of a plain file.

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
    """Return the next piece, empty at the end; an error of a decompressor must not look like an error of the disk."""
    import lzma

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
        # Unlike in layers, zeros may follow a member in files that tar wrote.
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
