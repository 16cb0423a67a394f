"""The entries of a layer before they become a tar: path, attributes and content."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from buildpack.dataclass import dataclass

EPOCH = 315532800
"""1980-01-01T00:00:00Z in seconds: the oldest time that zip files, and so `zipfile`, can hold."""


def image_time(epoch: int | None) -> int:
    """Return the time that an image and the app's files get, in seconds since 1970."""
    return EPOCH if epoch is None else max(epoch, EPOCH)


def render_time(seconds: int) -> str:
    """Return a time in the format of an image's config (RFC 3339)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@dataclass(frozen=True, slots=True)
class Inline:
    """Content held in memory; for small files only."""

    body: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.body)


@dataclass(frozen=True, slots=True)
class FileSlice:
    """`size` bytes of the file at `path`, from `offset`.

    The layer writer checks `crc32` if it is given: for files that another process may be writing.
    """

    path: Path
    size: int
    offset: int = 0
    crc32: int | None = None


@dataclass(frozen=True, slots=True)
class Deflated:
    """A raw DEFLATE stream inside a file (a zip), which is copied into the layer unchanged if that saves time.

    The stream begins at `offset` in `path` and has `compressed` bytes; `size` and `crc32` are those of the inflated
    bytes. The layer writer checks both while inflating and raises on a mismatch.
    """

    path: Path
    offset: int
    compressed: int
    size: int
    crc32: int


Content = Inline | FileSlice | Deflated


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file, directory or symbolic link of a layer.

    `path` is relative to the image's root: no leading slash, no ``.`` or ``..``, ``/`` between parts.
    `mtime` is in seconds since 1970.
    """

    path: str
    kind: Literal["file", "directory", "symlink"]
    mode: int
    content: Content | None = None
    target: str = ""
    uid: int = 0
    gid: int = 0
    mtime: int = EPOCH


def file(path: str, content: Content | bytes, *, executable: bool = False) -> Entry:
    """Make a regular file's entry, with mode 0755 or 0644."""
    body = Inline(content) if isinstance(content, bytes) else content
    return Entry(path=path, kind="file", mode=0o755 if executable else 0o644, content=body)


def directory(path: str, *, mode: int = 0o755) -> Entry:
    """Make a directory's entry."""
    return Entry(path=path, kind="directory", mode=mode)


def symlink(path: str, target: str) -> Entry:
    """Make a symbolic link's entry."""
    return Entry(path=path, kind="symlink", mode=0o777, target=target)
