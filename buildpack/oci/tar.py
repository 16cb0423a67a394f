"""Writes the tar headers of layers and archives: USTAR, with a PAX record only for values that USTAR cannot hold.

The standard library's `tarfile` costs about 40 microseconds for each header, and an image has more than
ten thousand. Follows POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header".
"""

from __future__ import annotations

import struct
from functools import lru_cache

from buildpack.oci.entry import EPOCH, Entry

BLOCK = 512
END = bytes(2 * BLOCK)
"""The two zero blocks that end an archive. No padding to ten kilobytes: layers are not written to tapes."""

_TYPES = {"file": b"0", "symlink": b"2", "directory": b"5"}
_PAX = b"x"
_NAME, _PREFIX = 100, 155
_LIMIT_OF_7_DIGITS = 8**7
_LIMIT_OF_11_DIGITS = 8**11

# name; mode, uid, gid; size; mtime; checksum; type; linkname; magic to devminor; prefix; filler
_HEADER = struct.Struct("100s24s12s12s8s1s100s88s155s12x")
_MAGIC = b"ustar\x0000" + bytes(80)
_ZEROS = bytes(BLOCK)


def padding(size: int) -> bytes:
    """Return the zeros that fill the last block of `size` bytes of content."""
    return _ZEROS[: -size % BLOCK]


def small_file(name: str, body: bytes) -> bytes:
    """Return a small file of an archive: header, content and padding."""
    return file_header(name, len(body)) + body + padding(len(body))


def file_header(name: str, size: int) -> bytes:
    """Return the header blocks of a file with this size, root as its owner, mode 0644 and a time in 1980."""
    return render_header(Entry(path=name, kind="file", mode=0o644), size)


def render_header(entry: Entry, size: int) -> bytes:
    """Return the header blocks of an entry with `size` bytes of content.

    A directory's name ends in a slash, as in every tar. User and group have numbers but no names.
    """
    name = entry.path.encode()
    if entry.kind == "directory":
        name += b"/"
    link = entry.target.encode()
    records: dict[str, bytes] = {}
    prefix = b""
    if len(name) > _NAME or not name.isascii():
        prefix, short = _split(name)
        if not short:
            records["path"] = name
            short = _ascii(name)
        name = short
    if len(link) > _NAME or not link.isascii():
        records["linkpath"] = link
        link = _ascii(link)
    uid, gid, mtime, held = entry.uid, entry.gid, entry.mtime, size
    if uid >= _LIMIT_OF_7_DIGITS or gid >= _LIMIT_OF_7_DIGITS:
        records |= {"uid": b"%d" % uid, "gid": b"%d" % gid}
        uid = gid = 0
    if not 0 <= mtime < _LIMIT_OF_11_DIGITS:
        records["mtime"] = b"%d" % mtime
        mtime = 0
    if size >= _LIMIT_OF_11_DIGITS:
        records["size"] = b"%d" % size
        held = 0
    header = _ustar(name, prefix, link, held, (entry.mode, uid, gid, mtime, _TYPES[entry.kind]))
    return _pax(records) + header if records else header


def _ustar(name: bytes, prefix: bytes, link: bytes, size: int, rest: tuple[int, int, int, int, bytes]) -> bytes:
    owner, time, kind, total = _fixed(*rest)
    size_field = b"%011o" % size
    # Adds up only fields that differ between entries: to sum all 512 bytes would be the slowest step.
    checksum = total + sum(name) + sum(prefix) + sum(link) + sum(size_field)
    return _HEADER.pack(name, owner, size_field, time, b"%06o\0 " % checksum, kind, link, _MAGIC, prefix)


@lru_cache(maxsize=256)
def _fixed(mode: int, uid: int, gid: int, mtime: int, kind: bytes) -> tuple[bytes, bytes, bytes, int]:
    owner = b"%07o\0%07o\0%07o\0" % (mode, uid, gid)
    time = b"%011o" % mtime
    # The checksum counts its own field as eight spaces.
    return owner, time, kind, sum(owner) + sum(time) + sum(kind) + sum(_MAGIC) + 8 * ord(" ")


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Split a long path at a slash into USTAR's prefix and name; the name is empty if the path does not fit."""
    if not name.isascii():
        return b"", b""
    cut = name.rfind(b"/", 0, min(_PREFIX + 1, len(name) - 1))
    if cut <= 0 or len(name) - cut - 1 > _NAME:
        return b"", b""
    return name[:cut], name[cut + 1 :]


def _ascii(name: bytes) -> bytes:
    """Return a substitute for a name that the PAX record holds in full."""
    return name.decode().encode("ascii", "replace")[:_NAME]


def _pax(records: dict[str, bytes]) -> bytes:
    body = b"".join(_record(key.encode(), records[key]) for key in sorted(records))
    header = _ustar(b"././@PaxHeader", b"", b"", len(body), (0o644, 0, 0, EPOCH, _PAX))
    return header + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    """Render the length, a space, ``key=value`` and a line feed; the length includes its own digits."""
    rest = b" %b=%b\n" % (key, value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d%b" % (length, rest)
