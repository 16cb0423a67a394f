"""Archives of sources, unpacked: whoever packed them is not trusted with names, links, sizes or compression.

A compressed tar is inflated as a whole first, into a nameless file, so that its size is known before anything is
believed that it says; its members are then checked all together before the first one is written.
"""

from __future__ import annotations

import io
import os
import posixpath
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from buildpack.app.links import leads_out
from buildpack.errors import sdist as errors
from buildpack.system.temporary import make_folder

if TYPE_CHECKING:
    import tarfile

LARGEST = 4 << 30
"""Bytes of an archive's content."""
MAX_RATIO = 200
RATIO_FROM = 256 << 20
"""The ratio counts from this size on, as with wheels."""
MAX_MEMBERS = 100_000
"""The largest sdist of the thousand most downloaded packages has 40,000 files."""
MAX_DEPTH = 100
"""Folders in one another."""
_MAX_READ = 16 << 20
"""Bytes that are read at once: `tarfile` reads an extended header as a whole, whatever size it claims."""
_MAX_DICTIONARY = 128 << 20
"""Bytes of memory that an .xz may want: `xz -9` takes 65 MB."""
_CHUNK = 1 << 20
_READ = 64 << 10
"""Compressed bytes at a time; small, because each of many tiny streams copies what is left of them."""
_DAMAGED = "it is damaged, or reaches outside its folder"
_BOMB = "its {packed:,} bytes unpack to {size:,} or more, as only a bomb does"


def unpack(archive: Path, folder: Path, name: str) -> None:
    """Unpack the archive of the sources of `name` into a folder.

    Raises DependencyError for one that is damaged, reaches outside or goes beyond the limits of this module,
    MachineError where it cannot be written.
    """
    import lzma
    import tarfile
    import zipfile

    make_folder(folder)
    try:
        if archive.suffix == ".zip":
            _unpack_zip(archive, folder)
        else:
            _unpack_tar(archive, folder)
    except ValueError as error:
        raise errors.unusable_archive(name, archive.name, str(error)) from None
    except (
        *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
        # What these modules raise for nonsense of a kind that they do not expect.
        *(RecursionError, OverflowError, NotImplementedError, RuntimeError, AttributeError, IndexError, KeyError),
    ):
        raise errors.unusable_archive(name, archive.name, _DAMAGED) from None
    except OSError as error:
        if error.errno is None:  # bz2's way to say that it is damaged
            raise errors.unusable_archive(name, archive.name, _DAMAGED) from None
        raise errors.cannot_unpack(name, archive.name, error) from None


def _unpack_zip(archive: Path, folder: Path) -> None:
    import zipfile

    with zipfile.ZipFile(archive) as opened:
        listed = opened.infolist()
        _check_count(len(listed))
        _check_size(sum(each.file_size for each in listed), archive.stat().st_size)
        members = {_checked(each.filename): each for each in listed}
        _check_parents(members, files={name for name, each in members.items() if not each.is_dir()})
        for name, member in members.items():
            if member.is_dir():
                make_folder(folder / name)
                continue
            # `zipfile` gives at most as many bytes as it was told, and raises where the CRC is another's.
            with opened.open(member) as source:
                _write(folder / name, source, executable=bool(member.external_attr >> 16 & 0o100))


def _unpack_tar(archive: Path, folder: Path) -> None:
    import tarfile

    with _inflated(archive, folder.parent) as plain, tarfile.open(fileobj=_Wary(plain), mode="r:") as opened:
        listed = _list(opened)
        # Zeros of a sparse file take no room in the tar.
        _check_size(sum(each.size for each in listed), archive.stat().st_size)
        members: dict[str, tarfile.TarInfo] = {}
        for member in listed:
            _check_kind(member)
            # Of two with one name the later counts, as for every tar.
            members[_checked(member.name)] = member
        _check_parents(members, files={name for name, each in members.items() if not each.isdir()})
        _check_links(members)
        hard = {name: each for name, each in members.items() if each.islnk()}
        for name, member in members.items():
            if name not in hard:
                _extract(opened, member, folder / name)
        for name, member in hard.items():
            _make_parents(folder / name)
            (folder / name).hardlink_to(folder / _checked(member.linkname))


def _list(opened: tarfile.TarFile) -> list[tarfile.TarInfo]:
    listed = []
    for member in opened:
        listed.append(member)
        _check_count(len(listed))
    return listed


def _extract(opened: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    """Write a member that was checked; of its attributes only the owner's x bit counts."""
    if member.isdir():
        make_folder(place)
    elif member.issym():
        _make_parents(place)
        place.symlink_to(member.linkname)
    else:
        source = opened.extractfile(member)
        assert source is not None
        with source:
            _write(place, source, executable=bool(member.mode & 0o100))


def _make_parents(place: Path) -> None:
    make_folder(place.parent)


def _write(place: Path, source: IO[bytes], *, executable: bool) -> None:
    import shutil

    _make_parents(place)
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        shutil.copyfileobj(source, out, _CHUNK)
        os.fchmod(out.fileno(), 0o755 if executable else 0o644)


# What is refused


def _check_count(count: int) -> None:
    if count > MAX_MEMBERS:
        raise ValueError(f"it holds more than {MAX_MEMBERS:,} files")


def _check_size(size: int, packed: int) -> None:
    if size > LARGEST:
        raise ValueError(f"its content is larger than {LARGEST >> 30} GB")
    if size > RATIO_FROM and size > packed * MAX_RATIO:
        raise ValueError(_BOMB.format(packed=packed, size=size))


def _check_kind(member: tarfile.TarInfo) -> None:
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        raise ValueError(f"it holds {member.name!r}, which is neither file nor folder")


def _checked(name: str) -> str:
    """Return a path without ``.``, ``..`` and empty parts; raises ValueError where it is absolute or leads out."""
    path = posixpath.normpath(name)
    if name.startswith("/") or path == ".." or path.startswith("../"):
        raise ValueError(f"it reaches outside its folder with {name!r}")
    if path.count("/") > MAX_DEPTH:
        raise ValueError(f"its folders nest more than {MAX_DEPTH} deep")
    return path


def _check_parents(members: Iterable[str], *, files: set[str]) -> None:
    """Refuse members below what is a file or a link: nothing is written through a link."""
    checked: set[str] = set()
    for name in members:
        parent = name.rpartition("/")[0]
        while parent and parent not in checked:
            if parent in files:
                raise ValueError(f"{parent!r} is a folder in it, and a file or link as well")
            checked.add(parent)
            parent = parent.rpartition("/")[0]


def _check_links(members: Mapping[str, tarfile.TarInfo]) -> None:
    """Refuse symbolic links that lead out at any step, and hard links to anything but a file of the archive."""
    links = {name: member.linkname for name, member in members.items() if member.issym()}
    for name, member in members.items():
        if (member.issym() and leads_out(name, links)) or (
            member.islnk() and (member.linkname.startswith("/") or not _is_file(member.linkname, members))
        ):
            raise ValueError(f"it reaches outside its folder with {member.name!r}")


def _is_file(name: str, members: Mapping[str, tarfile.TarInfo]) -> bool:
    target = members.get(posixpath.normpath(name))
    return target is not None and target.isfile()


# Reading


class _Wary(io.BufferedReader):
    """A file that gives no more at once than anybody needs."""

    def __init__(self, plain: BinaryIO) -> None:
        super().__init__(io.FileIO(plain.fileno(), closefd=False))

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes; raises ValueError for more than a header can have."""
        if size is None or not 0 <= size <= _MAX_READ:
            raise ValueError(f"it has a header of more than {_MAX_READ >> 20} MB")
        return super().read(size)


def _inflated(archive: Path, scratch: Path) -> BinaryIO:
    """Inflate an archive into a nameless file, as long as its size is that of sources."""
    import tempfile

    packed = archive.stat().st_size
    plain: BinaryIO = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  the caller closes it
    try:
        with archive.open("rb") as raw:
            for piece in _pieces(raw):
                plain.write(piece)
                _check_size(plain.tell(), packed)
        plain.flush()
        plain.seek(0)
    except BaseException:
        plain.close()
        raise
    return plain


def _pieces(raw: BinaryIO) -> Iterator[bytes]:
    """Yield what an archive inflates to, a megabyte at a time; raises the decompressor's own error for damage."""
    import bz2
    import lzma

    start = raw.read(6)
    raw.seek(0)
    if start.startswith(b"\x1f\x8b"):
        yield from _series(raw, _Gunzip)
    elif start.startswith(b"BZh"):
        yield from _series(raw, bz2.BZ2Decompressor)
    elif start.startswith(b"\xfd7zXZ"):
        yield from _series(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_DICTIONARY))
    else:
        while piece := raw.read(_CHUNK):
            yield piece


class _Gunzip:
    """zlib's decompressor for one member, with the interface of bz2's and lzma's."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, piece: bytes, most: int, /) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail + piece, most)


def _series(raw: BinaryIO, decompressor: Callable[[], Any]) -> Iterator[bytes]:
    """Inflate streams one behind the other, with zeros between them, as gzip, bzip2 and xz do."""
    inflater, begun, rest = decompressor(), False, b""
    while piece := rest or raw.read(_READ):
        rest = b""
        if not begun and not (piece := piece.lstrip(b"\0")):
            continue
        begun = True
        yield inflater.decompress(piece, _CHUNK)
        while not inflater.eof and not inflater.needs_input:
            yield inflater.decompress(b"", _CHUNK)
        if inflater.eof:
            rest, inflater, begun = inflater.unused_data, decompressor(), False
    if begun:
        # zlib may hold back output where it ended exactly at the limit.
        while made := inflater.decompress(b"", _CHUNK):
            yield made
        if not inflater.eof:
            raise EOFError
