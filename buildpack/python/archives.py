"""Unpack archives of sources, without trust in their names, links, sizes or compression.

A compressed tar is first unpacked as a whole, into a nameless file, so that its real size is known. Then all members
are checked before the first one is written.
"""

from __future__ import annotations

import os
import posixpath
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from buildpack.app.links import leads_out
from buildpack.errors import StackError
from buildpack.errors import wheels as errors
from buildpack.oci.compression import CannotDecompressError, decompress_file
from buildpack.oci.tar_reader import Member, list_members, open_part
from buildpack.system.temporary import make_folder

LARGEST = 4 << 30
"""Bytes of an archive's content."""
MAX_RATIO = 200
RATIO_FROM = 256 << 20
"""The ratio counts from this size on, as with wheels."""
MAX_MEMBERS = 100_000
"""The largest sdist of the thousand most downloaded packages has 40,000 files."""
MAX_DEPTH = 100
"""Folders in one another."""
_CHUNK = 1 << 20
_DAMAGED = "it is damaged, or reaches outside its folder"
_BOMB = "its {packed:,} bytes unpack to {size:,} or more, as only a bomb does"


def unpack(archive: Path, folder: Path, name: str) -> None:
    """Unpack the archive of the sources of `name` into a folder.

    Raises DependencyError for one that is damaged, reaches outside or goes beyond the limits of this module,
    MachineError if it cannot be written.
    """
    import zipfile

    make_folder(folder)
    try:
        if archive.suffix == ".zip":
            _unpack_zip(archive, folder)
        else:
            _unpack_tar(archive, folder)
    except (
        *(StackError, CannotDecompressError, zipfile.BadZipFile, zlib.error, EOFError),
        # `zipfile` raises these for nonsense of a kind that it does not expect.
        *(OverflowError, NotImplementedError, RuntimeError, AttributeError, IndexError, KeyError),
    ):
        raise errors.unusable_archive(name, archive.name, _DAMAGED) from None
    except ValueError as error:
        raise errors.unusable_archive(name, archive.name, str(error)) from None
    except OSError as error:
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
            make_folder((folder / name).parent)
            # `zipfile` reads at most as many bytes as the archive says, and raises if the CRC differs.
            with opened.open(member) as source:
                _write(folder / name, source, executable=bool(member.external_attr >> 16 & 0o100))


def _unpack_tar(archive: Path, folder: Path) -> None:
    packed = archive.stat().st_size
    with (
        archive.open("rb") as raw,
        decompress_file(raw, scratch=folder.parent, check=lambda size: _check_size(size, packed)) as plain,
    ):
        members: dict[str, Member] = {}
        offsets: dict[str, int] = {}
        # Two of the entries that this counts may belong to one file: its path, and its link.
        for number, (member, offset) in enumerate(list_members(plain, origin=archive.name, most=3 * MAX_MEMBERS)):
            _check_count(number + 1)
            if member.kind == "special":
                raise ValueError(f"it holds {member.path!r}, which is neither file nor folder")
            # Of two with one name the later counts, as for every tar.
            name = _checked(f"/{member.path}" if member.absolute else member.path)
            members[name], offsets[name] = member, offset
        if not members:
            raise ValueError(_DAMAGED)
        _check_parents(members, files={name for name, each in members.items() if each.kind != "directory"})
        _check_links(members)
        for name, member in sorted(members.items(), key=lambda pair: pair[1].kind == "hardlink"):
            place = folder / name
            make_folder(place if member.kind == "directory" else place.parent)
            if member.kind == "symlink":
                place.symlink_to(member.target)
            elif member.kind == "hardlink":
                place.hardlink_to(folder / _checked(member.target))
            elif member.kind == "file":
                with open_part(plain, offsets[name], member.size) as source:
                    _write(place, source, executable=bool(member.mode & 0o100))


def _write(place: Path, source: IO[bytes], *, executable: bool) -> None:
    import shutil

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


def _check_links(members: Mapping[str, Member]) -> None:
    """Refuse symbolic links that lead out at any step, and hard links to anything but a file of the archive."""
    links = {name: member.target for name, member in members.items() if member.kind == "symlink"}
    for name, member in members.items():
        if (member.kind == "symlink" and leads_out(name, links)) or (
            member.kind == "hardlink" and not _is_file(member.target, members)
        ):
            raise ValueError(f"it reaches outside its folder with {member.path!r}")


def _is_file(name: str, members: Mapping[str, Member]) -> bool:
    target = members.get(posixpath.normpath(name))
    return target is not None and target.kind == "file" and not name.startswith("/")


def find_project(sources: Path, subdirectory: str | None) -> Path:
    """Find the project: archives hold one folder, repositories the project itself."""
    inside = list(sources.iterdir())
    if len(inside) == 1 and os.path.isdir(inside[0]) and not os.path.exists(sources / "pyproject.toml"):
        sources = inside[0]
    project = (sources / (subdirectory or "")).resolve()
    return project if project.is_relative_to(sources.resolve()) else sources
