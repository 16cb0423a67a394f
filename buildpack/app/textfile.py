"""Read the small text files that describe an app: bounded, decoded, with errors that name the file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from buildpack.errors import app as errors

__all__ = ["LIMIT", "decode", "open_regular", "read_text"]

LIMIT = 16 * 1024 * 1024
"""Bytes. The largest Pipfile.lock seen in the wild has 2 MB; what is beyond this is no text that someone wrote."""


def read_text(folder: Path, name: str) -> str | None:
    """Read `name` in `folder` as UTF-8, without a byte-order mark; None where there is no such file.

    Raises AppError where it is no regular file, is larger than `LIMIT` or is not UTF-8, and MachineError
    where it cannot be read.
    """
    raw = read_bytes(folder, name)
    return None if raw is None else decode(raw, name)


def read_bytes(folder: Path, name: str) -> bytes | None:
    """Read `name` in `folder` as bytes; None where there is no such file. Raises as `read_text` does."""
    path = folder / name
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise errors.not_a_file(name)
        if status.st_size > LIMIT:
            raise errors.too_large(name, status.st_size, LIMIT)
        with open_regular(path) as file:
            return file.read(LIMIT)
    except FileNotFoundError:
        # A dangling link is no absent file: the app's author thinks it is there.
        if path.is_symlink():
            raise errors.dangling(name, str(path.readlink())) from None
        return None
    except OSError as error:
        raise errors.unreadable(name, error.strerror or str(error)) from error


def open_regular(path: Path | str) -> BinaryIO:
    """Open a regular file for reading; raises OSError for what is none.

    Somebody may put a pipe in a file's place just after it was listed, and opening that would wait for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def decode(raw: bytes, name: str) -> str:
    """Decode UTF-8 and drop a byte-order mark. Raises AppError with the line of the first byte that is not UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise errors.not_utf8(name, line, raw[error.start]) from error
