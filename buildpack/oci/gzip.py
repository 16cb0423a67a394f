"""Gzip members: a layer's blob is a series of them (RFC 1952, 2.2).

Every member's header is the same ten bytes: no time, no name, no hint of the machine. The bytes after it
are libdeflate's, or a zip's own DEFLATE stream.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Protocol

HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Magic, DEFLATE, no flags, no time, no XFL, operating system unknown."""
FOOTER = 8
"""Bytes of a member's footer."""
_LEVEL = 1
_PIECE = 256 << 10
_footer = struct.Struct("<II")


class Readable(Protocol):
    """What `gunzip` reads from."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""
        ...


def footer(crc32: int, size: int) -> bytes:
    """Return the footer of a member that inflates to `size` bytes."""
    return _footer.pack(crc32, size & 0xFFFFFFFF)


def member(content: bytes | bytearray) -> bytes:
    """Compress to one member; the same bytes on every machine."""
    import deflate

    packed = deflate.deflate_compress(content, _LEVEL)
    return b"".join((HEADER, packed, footer(deflate.crc32(content), len(content))))


def gunzip(source: Readable) -> Iterator[bytes]:
    """Inflate any number of members, yielding at most 1 MiB at a time.

    Raises zlib.error on bytes that are not gzip's or fail their checksum, EOFError where the last member is cut short.
    """
    inflater = zlib.decompressobj(wbits=31)
    begun = False
    while piece := source.read(_PIECE):
        while piece:
            begun = True
            if made := inflater.decompress(piece, 1 << 20):
                yield made
            piece = inflater.unconsumed_tail
            if inflater.eof:
                piece = inflater.unused_data
                inflater = zlib.decompressobj(wbits=31)
                begun = False
    # With max_length reached exactly at the end of the input, some output may still wait inside.
    if begun and not inflater.eof:
        if made := inflater.flush():
            yield made
        if not inflater.eof:
            raise EOFError("gzip stream is cut short")
