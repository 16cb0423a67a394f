"""Stamps of files and folders, which show, without reading them, that nothing changed, as in git's index.

A command compares them before it imports anything else, so this module needs only `os`.
"""

from __future__ import annotations

import os

Stamp = tuple[int, ...]
"""Mode, size, times of change of content and of inode in nanoseconds, inode, device."""


def stamp(path: str) -> Stamp | None:
    """Return the stamp of the file at this path, links followed; None if there is none."""
    try:
        return stamp_of(os.stat(path))  # noqa: PTH116  pathlib takes longer to import than a thousand of these
    except (OSError, ValueError):
        return None


def stamp_of(found: os.stat_result) -> Stamp:
    """Return the stamp of an earlier `stat`. Tools can set all times except `st_ctime`, the inode's own."""
    return (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
