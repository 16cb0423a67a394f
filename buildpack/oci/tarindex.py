"""Random access to the files of a tar archive that nobody vouches for, in bounded memory.

Python's `tarfile` reads extended headers of any size into memory; here nothing larger than `_EXTENDED_LIMIT` is
read. POSIX.1-1988 (ustar), POSIX.1-2001 (pax) and GNU's long names are understood, which is what engines write.
"""

from __future__ import annotations

import io
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from buildpack.bounded import open_regular, parse_integer
from buildpack.dataclass import dataclass
from buildpack.errors import transfer as errors

_BLOCK = 512
_EXTENDED_LIMIT = 1 << 20
_MEMBERS_LIMIT = 100_000
_INFLATED_LIMIT = 64 << 30
_LINKS_LIMIT = 8
_LENGTH_DIGITS = 9
"""Bytes in which a record of an extended header tells its length, the space included."""
_CHUNK = 1 << 20
_REGULAR = (b"0", b"\0", b"7")
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "lzma", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    offset: int
    size: int
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TarHeader:
    """What a header block says that every reader needs; `kind` is the type flag, `size` is in bytes."""

    name: str
    kind: bytes
    size: int
    link: str


class TarIndex:
    """The regular files of an archive, by name; links inside the archive are followed. Threads may share it."""

    def __init__(self, file: BinaryIO, *, origin: str) -> None:
        self._file = file
        self._origin = origin
        self._members: dict[str, _Member] = dict(self._scan())

    def close(self) -> None:
        """Close the archive; what was opened from it can no longer be read."""
        self._file.close()

    def leads_out(self, name: str) -> bool:
        """Return False: nothing outside of the archive is read."""
        return False

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, None where there is no such file."""
        found = self._follow(name)
        return None if found is None else found.size

    def open(self, name: str) -> BinaryIO:
        """Open a file of the archive; raises KeyError where there is no such file."""
        found = self._follow(name)
        if found is None:
            raise KeyError(name)
        return io.BufferedReader(_Slice(self._file.fileno(), found.offset, found.size), _CHUNK)

    def _follow(self, name: str) -> _Member | None:
        for _ in range(_LINKS_LIMIT):
            found = self._members.get(posixpath.normpath(name))
            if found is None or not found.link:
                return found
            name = found.link
        return None

    def _scan(self) -> Iterator[tuple[str, _Member]]:
        end = os.fstat(self._file.fileno()).st_size
        offset, long_name, long_link, pax = 0, "", "", dict[str, str]()
        for _ in range(_MEMBERS_LIMIT):
            block = self._read(offset, _BLOCK)
            if len(block) < _BLOCK or block == bytes(_BLOCK):
                return
            header = parse_header(block, self._origin)
            offset += _BLOCK
            told = parse_integer(pax.get("size", ""))
            size = header.size if told is None else told
            if offset + size > end:
                raise errors.archive_damaged(self._origin, f"the file ends inside {header.name!r}")
            if header.kind in b"LKxg":
                body = self._extended(offset, size, header.name)
                if header.kind == b"L":
                    long_name = parse_text(body)
                elif header.kind == b"K":
                    long_link = parse_text(body)
                elif header.kind == b"x":
                    pax = parse_pax(body, self._origin)
            else:
                name = posixpath.normpath(pax.get("path") or long_name or header.name)
                link = pax.get("linkpath") or long_link or header.link
                if header.kind in _REGULAR:
                    yield name, _Member(offset=offset, size=size)
                elif header.kind == b"1":
                    yield name, _Member(offset=0, size=0, link=link)
                elif header.kind == b"2":
                    yield name, _Member(offset=0, size=0, link=posixpath.join(posixpath.dirname(name), link))
                long_name, long_link, pax = "", "", {}
            offset += -(-size // _BLOCK) * _BLOCK
        raise errors.archive_damaged(self._origin, f"it has more than {_MEMBERS_LIMIT} members")

    def _extended(self, offset: int, size: int, name: str) -> bytes:
        if size > _EXTENDED_LIMIT:
            raise errors.archive_damaged(self._origin, f"the extended header {name!r} is {size} bytes long")
        return self._read(offset, size)

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset)


class _Slice(io.RawIOBase):
    """A part of a file, read without moving the file's position."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        super().__init__()
        self._fd, self._offset, self._left = fd, offset, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        got = os.preadv(self._fd, [memoryview(buffer)[: self._left]], self._offset)
        self._offset += got
        self._left -= got
        return got


def open_tar(path: Path, *, scratch: Path, origin: str) -> TarIndex:
    """Open an archive, plain or compressed as a whole; the latter is inflated into a nameless file in `scratch`.

    Raises StackError for what is no archive, MachineError where `scratch` cannot take it.
    """
    try:
        file: BinaryIO = open_regular(path)
    except OSError as error:
        raise errors.image_unreadable(origin, error.strerror or str(error)) from None
    try:
        start = os.pread(file.fileno(), 8, 0)
        packing = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "")
        if packing == "zstd":
            raise errors.zstd_archive(origin)
        if packing:
            inflated = _inflate(file, packing, scratch=scratch, origin=origin)
            file.close()
            file = inflated
        return TarIndex(file, origin=origin)
    except BaseException:
        file.close()
        raise


def _inflate(file: BinaryIO, packing: str, *, scratch: Path, origin: str) -> BinaryIO:
    import importlib
    import tempfile

    unpacked: BinaryIO | None = None
    try:
        unpacked = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - the caller closes it
        with importlib.import_module(packing).open(file, "rb") as source:
            while chunk := _next(source, origin):
                unpacked.write(chunk)
                if unpacked.tell() > _INFLATED_LIMIT:
                    raise errors.archive_damaged(origin, f"it unpacks to more than {_INFLATED_LIMIT >> 30} GiB")
        unpacked.flush()
    except BaseException as error:
        if unpacked is not None:
            unpacked.close()
        if isinstance(error, OSError):
            raise errors.cannot_write(str(scratch), error.strerror or str(error)) from None
        raise
    return unpacked


def _next(source: BinaryIO, origin: str) -> bytes:
    """Read on; what the decompressor dislikes is told from what the disk dislikes."""
    import lzma
    import zlib

    try:
        return source.read(_CHUNK)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise errors.not_an_archive(origin, f"it cannot be decompressed ({error})") from None


def parse_header(block: bytes, origin: str) -> TarHeader:
    """Read a header block; raises StackError where its checksum is wrong."""
    blanked = block[:148] + b" " * 8 + block[156:]
    try:
        if int(block[148:156].strip(b" \0") or b"x", 8) != sum(blanked):
            raise ValueError
        size = parse_number(block[124:136])
    except ValueError:
        raise errors.not_an_archive(origin, "a header's checksum is wrong") from None
    name, prefix = parse_text(block[:100]), parse_text(block[345:500])
    if block[257:263] == b"ustar\0" and prefix:
        name = f"{prefix}/{name}"
    return TarHeader(name=name, kind=block[156:157], size=size, link=parse_text(block[157:257]))


def parse_number(field: bytes) -> int:
    """Read octal digits, or GNU's base-256 for files of 8 GiB and more."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    if not digits.isdigit():  # int() takes a sign, and underscores
        raise ValueError("not an octal number")
    return int(digits, 8)


def parse_text(field: bytes) -> str:
    """Read what stands before the first NUL; bytes that are not UTF-8 become lone surrogates."""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def parse_pax(body: bytes, origin: str) -> dict[str, str]:
    """Read ``length key=value`` records (POSIX pax, "Extended Header")."""
    records: dict[str, str] = {}
    at = 0
    while at < len(body):
        digits, space, _ = body[at : at + _LENGTH_DIGITS].partition(b" ")
        length = parse_integer(digits.decode("latin-1"), least=len(digits) + 3, most=len(body) - at)
        if length is None or not space:
            raise errors.archive_damaged(origin, "an extended header is malformed")
        key, _, value = body[at + len(digits) + 1 : at + length - 1].partition(b"=")
        records[parse_text(key)] = value.decode("utf-8", "surrogateescape")
        at += length
    return records
