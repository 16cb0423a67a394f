"""What tells, without reading it, that a file or folder is still as it was: as `make`, ninja and git's index have it.

Whoever asks whether anything changed since the last build asks here first, before anything else is imported: this
module needs nothing but `os`.
"""

from __future__ import annotations

import os

Stamp = tuple[int, ...]
"""Mode, size, times of change of content and of inode in nanoseconds, inode, device."""


def stamp(path: str) -> Stamp | None:
    """Return the stamp of what this path leads to, through links; None where it leads nowhere."""
    try:
        return stamp_of(os.stat(path))  # noqa: PTH116  pathlib takes longer to import than a thousand of these
    except (OSError, ValueError):
        return None


def stamp_of(found: os.stat_result) -> Stamp:
    """Return the stamp of what was looked at already. Tools can set all times but `st_ctime`, the inode's own."""
    return (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
