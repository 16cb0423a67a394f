"""Fill a folder with a package's sources: unpack an archive, or copy a local project.

Names, links, sizes and compression of an archive are not trusted. A compressed tar is first unpacked as a whole, into a
file without a name, so that its real size is known.
"""

from __future__ import annotations

import os
import posixpath
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from buildpack.app.links import find_inside
from buildpack.app.textfile import open_inside
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
MOST_BYTES = 1 << 30
"""Bytes of a project's files together. The sources of tensorflow have 0.4 GB."""
_MOST_FILES = 100_000

_LEFT_OUT = frozenset({".git", ".hg", ".svn", "__pycache__", ".venv", ".tox", ".nox", "node_modules",
                       ".mypy_cache", ".pytest_cache", ".ruff_cache", ".env"})  # fmt: skip
_BUILT = frozenset({"build", "dist"})
"""Folders that builds leave at the top; further down they are ordinary packages."""
_WRITTEN = ("directory", "file", "hardlink", "symlink")
"""The order in which the members of a tar are written, by their kind."""
_CHUNK = 1 << 20
_DAMAGED = "it is damaged, or reaches outside its folder"
_BOMB = "its {packed:,} bytes unpack to {size:,} or more, as only a bomb does"


def unpack(archive: Path, folder: Path, name: str) -> None:
    """Unpack the archive of the sources of `name` into a new folder.

    Raises DependencyError if it is damaged, reaches outside the folder or exceeds the limits of this module,
    MachineError if a file cannot be written.
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
        # `zipfile` raises these for contents that it does not expect.
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
        for name, member in {_checked(each.filename): each for each in listed}.items():
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
        # All folders come first and symbolic links last, so that nothing is written through a link.
        for name, member in members.items():
            make_folder(folder / name if member.kind == "directory" else (folder / name).parent)
        for name, member in sorted(members.items(), key=lambda pair: _WRITTEN.index(pair[1].kind)):
            place = folder / name
            if member.kind == "file":
                with open_part(plain, offsets[name], member.size) as source:
                    _write(place, source, executable=bool(member.mode & 0o100))
            elif member.kind == "hardlink":
                source_path = folder / _checked(member.target)
                if not source_path.is_file():
                    raise ValueError(f"its link {member.path!r} leads to none of its files")
                place.hardlink_to(source_path)
            elif member.kind == "symlink":
                place.symlink_to(member.target)
    root = os.path.realpath(folder)
    for name, member in members.items():
        if member.kind == "symlink" and not f"{os.path.realpath(folder / name)}/".startswith(f"{root}/"):
            raise ValueError(f"it reaches outside its folder with {member.path!r}")


def _write(place: Path, source: IO[bytes], *, executable: bool) -> None:
    import shutil

    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        shutil.copyfileobj(source, out, _CHUNK)
        os.fchmod(out.fileno(), 0o755 if executable else 0o644)


# Limits and names


def _check_count(count: int) -> None:
    if count > MAX_MEMBERS:
        raise ValueError(f"it holds more than {MAX_MEMBERS:,} files")


def _check_size(size: int, packed: int) -> None:
    if size > LARGEST:
        raise ValueError(f"its content is larger than {LARGEST >> 30} GB")
    if size > RATIO_FROM and size > packed * MAX_RATIO:
        raise ValueError(_BOMB.format(packed=packed, size=size))


def _checked(name: str) -> str:
    """Return a path without ``.``, ``..`` and empty parts; raises ValueError if it is absolute or leads out."""
    path = posixpath.normpath(name)
    if name.startswith("/") or path == ".." or path.startswith("../"):
        raise ValueError(f"it reaches outside its folder with {name!r}")
    if path.count("/") > MAX_DEPTH:
        raise ValueError(f"its folders nest more than {MAX_DEPTH} deep")
    return path


def find_project(sources: Path, subdirectory: str | None) -> Path:
    """Return the folder of the project: an archive holds it in one folder, a repository is the project itself."""
    inside = list(sources.iterdir())
    if len(inside) == 1 and os.path.isdir(inside[0]) and not os.path.exists(sources / "pyproject.toml"):
        sources = inside[0]
    project = (sources / (subdirectory or "")).resolve()
    return project if project.is_relative_to(sources.resolve()) else sources


def copy_sources(source: Path, folder: Path) -> None:
    """Copy a local project without version control, environments, secrets and the results of earlier builds.

    Raises OSError for a file that cannot be read, its subclass OutsideError for a link that leads out of the project
    and its work tree, and DependencyError for a project that is too large.
    """
    import shutil

    for path, relative in _walk(source):
        copy = folder / relative
        make_folder(copy.parent)
        with open_inside(source, relative) as content, copy.open("xb") as out:
            shutil.copyfileobj(content, out)
        copy.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def digest_sources(source: Path) -> str:
    """Return a digest of the names, x bits and contents that `copy_sources` copies. Raises as it does."""
    import hashlib

    digest = hashlib.sha256()
    for path, relative in _walk(source):
        status = path.stat()
        head = f"{relative}\0{bool(status.st_mode & 0o100)}\0{status.st_size}\0"
        digest.update(head.encode("utf-8", "surrogateescape"))
        with open_inside(source, relative) as content:
            # Piece by piece: an app that is a package itself may hold gigabytes.
            while piece := content.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def _walk(source: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files in the order of their names; a link counts as the file to which it leads."""
    pending = [source]
    found: list[tuple[Path, str]] = []
    size = 0
    while pending:
        folder = pending.pop()
        for path in folder.iterdir():
            if path.name in _LEFT_OUT or path.name.endswith((".pyc", ".egg-info")):
                continue
            if path.is_dir():
                passed_over = (folder == source and path.name in _BUILT) or (path / "pyvenv.cfg").exists()
                if not path.is_symlink() and not passed_over:
                    pending.append(path)
            elif path.is_file():
                relative = path.relative_to(source).as_posix()
                find_inside(source, relative)
                found.append((path, relative))
                size += path.stat().st_size
                if size > MOST_BYTES or len(found) > _MOST_FILES:
                    raise errors.project_too_large(str(source), MOST_BYTES, _MOST_FILES)
    yield from sorted(found, key=lambda each: each[1])
