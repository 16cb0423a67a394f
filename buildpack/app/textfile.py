"""Read files of an app's folder: no link that leaves it, no pipe or device, bounded, with errors that name the file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.app.links import OutsideError, find_inside
from buildpack.bounded import open_regular
from buildpack.errors import app as errors

if TYPE_CHECKING:
    from io import BufferedReader

LIMIT = 16 * 1024 * 1024
"""Bytes. The largest Pipfile.lock seen in the wild has 2 MB; what is beyond this is no text that someone wrote."""


def read_text(folder: Path, name: str) -> str | None:
    """Read `name` in `folder` as UTF-8, without a byte-order mark; None if there is no such file.

    Raises AppError if it leads out of the folder, is not a regular file, is larger than `LIMIT` or is not UTF-8, and
    MachineError if it cannot be read.
    """
    raw = read_bytes(folder, name)
    return None if raw is None else decode(raw, name)


def read_bytes(folder: Path, name: str) -> bytes | None:
    """Read `name` in `folder` as bytes; None if there is no such file. Raises as `read_text` does."""
    path = folder / name
    try:
        find_inside(folder, name)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise errors.not_a_file(name)
        if status.st_size > LIMIT:
            raise errors.too_large(name, status.st_size, LIMIT)
        with open_inside(folder, name) as file:
            return file.read(LIMIT)
    except OutsideError as error:
        raise errors.leads_out(name, error.filename) from None
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}:
            # A dangling link is not an absent file: the app's author thinks that it is there.
            if os.path.islink(path):
                raise errors.dangling(name, str(path.readlink())) from None
            return None
        raise errors.unreadable(name, error.strerror or str(error)) from error


def open_inside(folder: Path, name: str) -> BufferedReader:
    """Open a regular file of an app's folder; raises OSError, which is OutsideError if it leads out of the folder."""
    find_inside(folder, name)
    path = folder / name
    return open_regular(path, follow=path.is_symlink())


def decode(raw: bytes, name: str) -> str:
    """Decode UTF-8 and drop a byte-order mark. Raises AppError with the line of the first byte that is not UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise errors.not_utf8(name, line, raw[error.start]) from error
