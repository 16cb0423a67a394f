"""Reads tar archives that may be hostile: as a stream, or from a file with random access.

It reads POSIX.1-1988 (ustar), POSIX.1-2001 (pax) and GNU's long names, the formats of engines, as engines do. Memory is
bounded and time is linear; docs/decisions/0042-hostile-formats.md says why this is not `tarfile`.
"""

from __future__ import annotations

import io
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from buildpack.bounded import open_regular, parse_integer
from buildpack.dataclass import dataclass
from buildpack.errors import transfer as errors
from buildpack.oci.tar import BLOCK

_EXTENDED_LIMIT = 1 << 20
_STREAMED_LIMIT = 1_000_000
_INDEXED_LIMIT = 100_000
_INFLATED_LIMIT = 64 << 30
_LINKS_LIMIT = 8
_LENGTH_DIGITS = 9
"""Bytes of the length, and the space after it, in a record of an extended header."""
_CHUNK = 1 << 20

Kind = Literal["file", "directory", "symlink", "hardlink", "special"]
_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"5": "directory",
    b"2": "symlink",
    b"1": "hardlink",
}
_WITHOUT_CONTENT = b"123456"
_NUMBERS = ((100, 8), (108, 8), (116, 8), (136, 12))
"""Offset and length of mode, uid, gid and mtime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry; `path` has no slash at its ends, `mtime` is in seconds, as written: with a fraction or without.

    `absolute` is True if the written path begins with a slash. `size` is the size of the content in the archive.
    """

    path: str
    absolute: bool
    kind: Kind
    size: int
    mode: int
    uid: int
    gid: int
    mtime: str
    target: str


def read_members(pieces: Iterator[bytes], *, origin: str) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Yield each entry with its content; skip content that the caller did not read before the next entry.

    Bytes after the end of the archive stay in `pieces`. Raises StackError for anything but a tar.
    """
    stream = _Stream(pieces, origin)
    for member in _read_headers(stream, origin, _STREAMED_LIMIT):
        content = stream.content(member.size)
        yield member, content
        for _ in content:
            pass
        stream.take(-member.size % BLOCK)


class TarIndex:
    """The regular files of an archive, by name; links inside the archive are followed. Threads may share it."""

    def __init__(self, file: BinaryIO, *, origin: str) -> None:
        self._file = file
        self._members = dict(_places(file, origin))

    def close(self) -> None:
        """Close the archive; files opened from it can no longer be read."""
        self._file.close()

    def leads_out(self, name: str) -> bool:
        """Return False, because only members of the archive are read."""
        return False

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes; None if there is no such file."""
        found = self._follow(name)
        return None if found is None else found.size

    def open(self, name: str) -> BinaryIO:
        """Open a file of the archive; raises KeyError if there is no such file."""
        found = self._follow(name)
        if found is None:
            raise KeyError(name)
        return open_part(self._file, found.offset, found.size)

    def _follow(self, name: str) -> _Place | None:
        for _ in range(_LINKS_LIMIT):
            found = self._members.get(posixpath.normpath(name))
            if found is None or not found.link:
                return found
            name = found.link
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    offset: int
    size: int
    link: str


def _places(file: BinaryIO, origin: str) -> Iterator[tuple[str, _Place]]:
    for member, offset in list_members(file, origin=origin, most=_INDEXED_LIMIT):
        name = posixpath.normpath(f"/{member.path}" if member.absolute else member.path)
        link = posixpath.join(posixpath.dirname(name), member.target) if member.kind == "symlink" else member.target
        if link or member.kind == "file":
            yield name, _Place(offset=offset, size=member.size, link=link)


def list_members(file: BinaryIO, *, origin: str, most: int) -> Iterator[tuple[Member, int]]:
    """Yield each entry of a file, with the offset of its content; raises StackError for anything but a tar."""
    source = _Random(file.fileno())
    end = os.fstat(file.fileno()).st_size
    for member in _read_headers(source, origin, most):
        if source.offset + member.size > end:
            raise errors.archive_damaged(origin, f"the file ends inside {member.path!r}")
        yield member, source.offset
        source.offset += member.size + -member.size % BLOCK


def open_part(file: BinaryIO, offset: int, size: int) -> BinaryIO:
    """Open a part of a file, without moving the file's position."""
    return io.BufferedReader(_Slice(file.fileno(), offset, size), _CHUNK)


def open_tar(path: Path, *, scratch: Path, origin: str) -> TarIndex:
    """Open an archive; one that is compressed as a whole is inflated into a nameless file in `scratch`.

    Raises StackError if it is not an archive, MachineError if `scratch` cannot take it.
    """
    try:
        file: BinaryIO = open_regular(path)
    except OSError as error:
        raise errors.image_unreadable(origin, error.strerror or str(error)) from None
    try:
        start = os.pread(file.fileno(), 8, 0)
        if start.startswith(b"\x28\xb5\x2f\xfd"):
            raise errors.zstd_archive(origin)
        if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
            file = _decompress(file, scratch=scratch, origin=origin)
        return TarIndex(file, origin=origin)
    except BaseException:
        file.close()
        raise


def _decompress(file: BinaryIO, *, scratch: Path, origin: str) -> BinaryIO:
    from buildpack.oci.compression import CannotDecompressError, decompress_file

    def check(size: int) -> None:
        if size > _INFLATED_LIMIT:
            raise errors.archive_damaged(origin, f"it unpacks to more than {_INFLATED_LIMIT >> 30} GiB")

    with file:
        try:
            return decompress_file(file, scratch=scratch, check=check)
        except CannotDecompressError as error:
            raise errors.not_an_archive(origin, f"it cannot be decompressed ({error})") from None
        except OSError as error:
            raise errors.cannot_write(str(scratch), error.strerror or str(error)) from None


def _read_headers(source: _Stream | _Random, origin: str, most: int) -> Iterator[Member]:
    """Yield each entry when `source` is at the beginning of its content; the caller moves it past the content."""
    long_name, long_link, pax = "", "", dict[str, str]()
    for _ in range(most):
        block = source.take(BLOCK)
        if not block or block == bytes(BLOCK):
            return
        if len(block) < BLOCK:
            raise errors.archive_damaged(origin, "it ends inside a header")
        name, size = _check_header(block, origin)
        kind = block[156:157]
        size = _decimal(pax, "size", size)
        if kind in b"LKxg":
            body = _extended(source, size, name, origin)
            if kind == b"L":
                long_name = parse_text(body)
            elif kind == b"K":
                long_link = parse_text(body)
            elif kind == b"x":
                pax = parse_pax(body, origin)
            continue
        path = pax.get("path") or long_name or name
        target = pax.get("linkpath") or long_link or parse_text(block[157:257])
        if kind == b"\0" and path.endswith("/"):  # folders in archives from before 1988
            kind = b"5"
        size = 0 if kind in _WITHOUT_CONTENT else size
        yield _member(block, pax, origin, kind=_KINDS.get(kind, "special"), path=path, size=size, target=target)
        long_name, long_link, pax = "", "", {}
    raise errors.archive_damaged(origin, f"it has more than {most} members")


def _member(block: bytes, pax: dict[str, str], origin: str, *, kind: Kind, path: str, size: int, target: str) -> Member:
    try:
        mode, uid, gid, mtime = (parse_number(block[at : at + length]) for at, length in _NUMBERS)
    except ValueError:
        raise errors.archive_damaged(origin, f"the header of {path[:200]!r} holds no numbers") from None
    return Member(
        # ".." stays, so that the caller can refuse it.
        path="/".join(part for part in path.split("/") if part not in {"", "."}),
        absolute=path.startswith("/"),
        kind=kind,
        size=size,
        mode=mode & 0o7777,
        uid=_decimal(pax, "uid", uid),
        gid=_decimal(pax, "gid", gid),
        mtime=pax.get("mtime") or str(mtime),
        target=target if kind in {"symlink", "hardlink"} else "",
    )


def _extended(source: _Stream | _Random, size: int, name: str, origin: str) -> bytes:
    if size > _EXTENDED_LIMIT:
        raise errors.archive_damaged(origin, f"the extended header {name!r} is {size} bytes long")
    body = source.take(size)
    if len(body) < size:
        raise errors.archive_damaged(origin, f"the file ends inside {name!r}")
    source.take(-size % BLOCK)
    return body


def _check_header(block: bytes, origin: str) -> tuple[str, int]:
    """Return a header block's name and size; raises StackError if its checksum is wrong."""
    blanked = block[:148] + b" " * 8 + block[156:]
    try:
        if int(block[148:156].strip(b" \0") or b"x", 8) != sum(blanked):
            raise ValueError
        size = parse_number(block[124:136])
    except ValueError:
        raise errors.not_an_archive(origin, "a header's checksum is wrong") from None
    name, prefix = parse_text(block[:100]), parse_text(block[345:500])
    return f"{prefix}/{name}" if prefix and block[257:263] == b"ustar\0" else name, size


def _decimal(pax: dict[str, str], name: str, otherwise: int) -> int:
    number = parse_integer(pax.get(name, ""))
    return otherwise if number is None else number


def parse_number(field: bytes) -> int:
    """Read octal digits, or GNU's base-256 for files of 8 GiB and more."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    if not digits.isdigit():  # int() accepts a sign and underscores
        raise ValueError("not an octal number")
    return int(digits, 8)


def parse_text(field: bytes) -> str:
    """Read the text before the first NUL; bytes that are not UTF-8 become lone surrogates."""
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


class _Random:
    """A file, read from `offset` without moving its position."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.offset = 0

    def take(self, size: int) -> bytes:
        found = os.pread(self._fd, size, self.offset)
        self.offset += len(found)
        return found


class _Stream:
    """Reads pieces of any length as a stream of bytes."""

    def __init__(self, pieces: Iterator[bytes], origin: str) -> None:
        self._pieces = pieces
        self._origin = origin
        self._piece = b""
        self._taken = 0

    def take(self, size: int) -> bytes:
        made = []
        while size and (piece := self._next(size)):
            made.append(piece)
            size -= len(piece)
        return b"".join(made)

    def content(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._next(min(size, _CHUNK))
            if not piece:
                raise errors.archive_damaged(self._origin, "it ends inside a file")
            size -= len(piece)
            yield piece

    def _next(self, most: int) -> bytes:
        if self._taken == len(self._piece):
            self._piece, self._taken = next(self._pieces, b""), 0
        begin = self._taken
        self._taken = min(begin + most, len(self._piece))
        return self._piece[begin : self._taken]


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
