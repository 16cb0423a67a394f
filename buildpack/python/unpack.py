"""Sources on disk: unpacked from an archive, or copied from a local folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from buildpack.errors import sdist as errors

if TYPE_CHECKING:
    import tarfile

__all__ = ["copy_sources", "digest_sources", "unpack"]

LARGEST = 4 << 30
"""Bytes of an archive's content."""
_LEFT_OUT = frozenset({".git", ".hg", ".svn", "__pycache__", ".venv", ".tox", ".nox", "node_modules",
                       ".mypy_cache", ".pytest_cache", ".ruff_cache", ".env"})  # fmt: skip
_BUILT = frozenset({"build", "dist"})
"""What builds leave at the top; further down these are packages like any other."""


def unpack(archive: Path, folder: Path, name: str) -> None:
    """Unpack an archive of sources; raises DependencyError for one that is damaged or reaches outside."""
    import tarfile
    import zipfile
    import zlib

    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as opened:
                _check_size(sum(each.file_size for each in opened.infolist()))
                opened.extractall(folder)  # noqa: S202  zipfile drops ".." and leading slashes itself
        else:
            with tarfile.open(archive) as opened:
                members = opened.getmembers()
                _check_size(sum(each.size for each in members))
                _check_members(members)
                # Debian's 3.11.2 has no filters yet; what they refuse has been refused already.
                if hasattr(tarfile, "data_filter"):
                    opened.extraction_filter = tarfile.data_filter
                opened.extractall(folder, members)  # noqa: S202
    except ValueError as error:
        raise errors.unusable_archive(name, archive.name, str(error)) from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError):
        raise errors.unusable_archive(name, archive.name, "it is damaged, or reaches outside its folder") from None


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise ValueError(f"its content is larger than {LARGEST >> 30} GB")


def _check_members(members: list[tarfile.TarInfo]) -> None:
    for member in members:
        path = PurePosixPath(member.name)
        # A symbolic link leads from its own folder, a hard link from the archive's root.
        target = PurePosixPath(path.parent if member.issym() else "", member.linkname)
        if _escapes(path) or _escapes(target):
            raise ValueError(f"it reaches outside its folder with {member.name!r}")
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            raise ValueError(f"it holds {member.name!r}, which is neither file nor folder")


def _escapes(path: PurePosixPath) -> bool:
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return path.is_absolute()


def copy_sources(source: Path, folder: Path) -> None:
    """Copy a local project without version control, environments, secrets and what an earlier build left."""
    import shutil

    for path, relative in _walk(source):
        copy = folder / relative
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def digest_sources(source: Path) -> str:
    """Return a digest of what `copy_sources` copies: names, x bits and contents."""
    import hashlib

    digest = hashlib.sha256()
    for path, relative in _walk(source):
        status = path.stat()
        head = f"{relative}\0{bool(status.st_mode & 0o100)}\0{status.st_size}\0"
        digest.update(head.encode("utf-8", "surrogateescape"))
        with path.open("rb") as content:
            # Piece by piece: an app that is a package itself may hold gigabytes.
            while piece := content.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def _walk(source: Path) -> Iterator[tuple[Path, str]]:
    """Yield files in the order of their names; a link counts as the file it leads to."""
    pending = [source]
    found = []
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
                found.append((path, path.relative_to(source).as_posix()))
    yield from sorted(found, key=lambda each: each[1])
