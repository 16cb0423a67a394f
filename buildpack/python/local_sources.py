"""A local project that a lock names by its path: copied for its build, and identified by its content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from buildpack.app.links import find_inside
from buildpack.app.textfile import open_inside
from buildpack.errors import wheels as errors
from buildpack.system.temporary import make_folder

MOST_BYTES = 1 << 30
"""Bytes of a project's files together. The sources of tensorflow have 0.4 GB."""
_MOST_FILES = 100_000

_LEFT_OUT = frozenset({".git", ".hg", ".svn", "__pycache__", ".venv", ".tox", ".nox", "node_modules",
                       ".mypy_cache", ".pytest_cache", ".ruff_cache", ".env"})  # fmt: skip
_BUILT = frozenset({"build", "dist"})
"""What builds leave at the top; further down these are packages like any other."""


def copy_sources(source: Path, folder: Path) -> None:
    """Copy a local project without version control, environments, secrets and what an earlier build left.

    Raises OSError for what cannot be read, OutsideError among them for a link that leads out of the project and its
    work tree, and DependencyError for a project that is too large.
    """
    import shutil

    for path, relative in _walk(source):
        copy = folder / relative
        make_folder(copy.parent)
        with open_inside(source, relative) as content, copy.open("xb") as out:
            shutil.copyfileobj(content, out)
        copy.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def digest_sources(source: Path) -> str:
    """Return a digest of what `copy_sources` copies: names, x bits and contents. Raises as it does."""
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
    """Yield files in the order of their names; a link counts as the file it leads to."""
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
