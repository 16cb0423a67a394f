"""Reads the directory of a wheel's zip and checks the names, sizes and places of its files.

Nothing is unpacked here. A member's content is a slice of the wheel itself, so that the layer writer can copy its
DEFLATE stream and the byte-code workers can read it without knowing about zips.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.dataclass import dataclass
from buildpack.errors.wheels import member_refused, wheel_damaged, wheel_refused
from buildpack.oci.content import Sources
from buildpack.oci.entry import Deflated, FileSlice

if TYPE_CHECKING:
    from zipfile import ZipInfo

MAX_MEMBERS = 200_000
MAX_TOTAL = 16 << 30
"""Bytes of all members together, inflated: twice the largest wheel known (CUDA libraries)."""
MAX_RATIO = 200
RATIO_FROM = 256 << 20
"""The ratio counts from this size on: a small file of zeros does no harm."""
MAX_TEXT = 16 << 20
"""Bytes of a member that is read as a whole: metadata, scripts, sources."""

MAX_DIRECTORY = 16 << 20
"""Bytes of the zip's directory, which is read as a whole; the largest known has about 5 MB."""

_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x1 | 0x40
_UTF8 = 0x800
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]|^/|^[A-Za-z]:|(?:^|/)(?:\.{0,2}(?:/|$)|\.wh\.)")
"""Control characters, backslashes, absolute paths, drive letters, empty parts, ``.``, ``..``, whiteouts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipMember:
    """One file of a wheel, with its name in the zip and the place of its bytes."""

    name: str
    executable: bool
    content: Deflated | FileSlice


def read_members(path: Path) -> list[ZipMember]:
    """List the files of the wheel, without folders, in the order of the zip's central directory.

    Raises DependencyError for names that leave the archive or occur twice, links, encryption, other methods than
    "stored" and "deflated", overlapping streams, and sizes beyond the limits of this module.
    """
    import zipfile

    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError, OverflowError) as error:
        raise wheel_damaged(path.name, f"the directory cannot be read ({error})") from error
    _check_sizes(path, listed)
    with path.open("rb") as raw:
        members = [_read_member(path, raw.fileno(), found) for found in listed if not found.filename.endswith("/")]
    _check_unique(path, members)
    _check_overlap(path, members)
    return members


def read_whole(member: ZipMember) -> bytes:
    """Return a member's content, verified; raises ValueError if that fails, or if it is larger than MAX_TEXT."""
    with Sources() as sources:
        return sources.whole(member.content, limit=MAX_TEXT)


def read_text(member: ZipMember) -> str:
    """Return a metadata file's text; raises DependencyError if it is damaged, too large or not UTF-8."""
    try:
        return read_whole(member).decode("utf-8")
    except ValueError as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error}"
        raise member_refused(member.content.path.name, member.name, reason) from error


def unsafe(name: str) -> bool:
    """Return True if a path of a wheel could leave its folder, or mean something else in a layer."""
    return _UNSAFE.search(name) is not None


def _check_directory(path: Path) -> None:
    """Refuse a directory that would fill the memory before it is read; without one here, `zipfile` fails anyway."""
    with path.open("rb") as raw:
        size = raw.seek(0, os.SEEK_END)
        tail = os.pread(raw.fileno(), _END.size + (1 << 16), max(0, size - _END.size - (1 << 16)))
        at = tail.rfind(b"PK\5\6")
        if at < 0 or at + _END.size > len(tail):
            return
        length = _END.unpack_from(tail, at)[5]
        at64 = tail.rfind(b"PK\6\6", 0, at)
        if length == 0xFFFFFFFF and 0 <= at64 <= len(tail) - _END64.size:
            length = _END64.unpack_from(tail, at64)[8]
    if length > MAX_DIRECTORY:
        raise wheel_refused(path.name, f"its directory has {length:,} bytes, and the limit is {MAX_DIRECTORY:,}")


def _check_sizes(path: Path, listed: list[ZipInfo]) -> None:
    total = sum(found.file_size for found in listed)
    if len(listed) > MAX_MEMBERS:
        raise wheel_refused(path.name, f"it holds {len(listed):,} files, and the limit is {MAX_MEMBERS:,}")
    if total > MAX_TOTAL:
        raise wheel_refused(path.name, f"it unpacks to {total:,} bytes, and the limit is {MAX_TOTAL:,}")
    packed = path.stat().st_size
    if total > RATIO_FROM and total > packed * MAX_RATIO:
        raise wheel_refused(path.name, f"its {packed:,} bytes unpack to {total:,}, as only a zip bomb does")


def _read_member(path: Path, descriptor: int, found: ZipInfo) -> ZipMember:
    mode = found.external_attr >> 16
    if reason := _refusal(found, mode):
        raise member_refused(path.name, found.orig_filename, reason)
    encoding = "utf-8" if found.flag_bits & _UTF8 else "cp437"
    name = found.orig_filename.encode(encoding)
    try:
        header = os.pread(descriptor, _LOCAL_HEADER.size + len(name), found.header_offset)
    except (OSError, OverflowError):  # an offset that is negative, or beyond any file
        header = b""
    # Otherwise tools that trust the local header would see another archive than those that trust the directory.
    if not header.startswith(b"PK\3\4") or header[_LOCAL_HEADER.size :] != name:
        raise wheel_damaged(path.name, f"the header of {found.filename!r} is not where the directory says")
    *_, name_length, extra_length = _LOCAL_HEADER.unpack_from(header)
    offset = found.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    content: Deflated | FileSlice
    if found.compress_type == _DEFLATED:
        content = Deflated(path, offset, found.compress_size, found.file_size, found.CRC)
    else:
        content = FileSlice(path, found.file_size, offset, found.CRC)
    # As pip decides: only a mode that says "regular file" counts (pip/_internal/utils/unpacking.py).
    return ZipMember(name=found.filename, executable=stat.S_ISREG(mode) and bool(mode & 0o111), content=content)


def _refusal(found: ZipInfo, mode: int) -> str:
    if unsafe(found.orig_filename):
        return "has an unsafe name"
    if max(map(len, found.orig_filename.encode("utf-8", "surrogateescape").split(b"/"))) > 255:
        return "has a name of more than 255 bytes"
    if found.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if found.compress_type not in (_STORED, _DEFLATED):
        return f"is compressed by method {found.compress_type}; wheels use 0 (stored) or 8 (deflated)"
    if found.compress_type == _STORED and found.compress_size != found.file_size:
        return "is stored, but has two sizes"
    if found.compress_size > found.file_size + found.file_size // 16 + 4096:
        return "is larger compressed than it is"
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG):
        return "is a symbolic link" if kind == stat.S_IFLNK else "is neither a file nor a directory"
    return ""


def _check_unique(path: Path, members: Iterable[ZipMember]) -> None:
    names: set[str] = set()
    for member in members:
        if member.name in names:
            raise member_refused(path.name, member.name, "is there twice")
        names.add(member.name)
    if clash := file_and_folder(names):
        raise member_refused(path.name, clash, "is a file and a directory")


def file_and_folder(names: set[str]) -> str:
    """Return the first of these files' paths that is also the folder of another; empty if there is none."""
    folders: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return min(names & folders, default="")


def _check_overlap(path: Path, members: Iterable[ZipMember]) -> None:
    """Refuse streams that share bytes: a small zip bomb uses the same bytes for many members."""
    end = 0
    for member in sorted(members, key=lambda member: member.content.offset):
        content = member.content
        if content.offset - _LOCAL_HEADER.size - len(member.name) < end:
            raise wheel_damaged(path.name, f"{member.name!r} overlaps another file")
        end = content.offset + (content.compressed if isinstance(content, Deflated) else content.size)
    if end > path.stat().st_size:
        raise wheel_damaged(path.name, "a file reaches beyond its end")
