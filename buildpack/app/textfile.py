"""Read the files of an app's folder, and parse JSON and TOML; errors name the line.

No link may leave the folder, no pipe or device is read, and sizes are bounded.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.app.links import OutsideError, find_inside
from buildpack.bounded import has_unusable_text, open_regular, walk
from buildpack.errors import app as errors
from buildpack.errors import settings as document_errors
from buildpack.errors import show

if TYPE_CHECKING:
    from io import BufferedReader

LIMIT = 16 * 1024 * 1024
"""Bytes. The largest known Pipfile.lock has 2 MB; nobody wrote a text that is larger than this."""

_MOST_PARTS = 100
_PART = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]++|\\.)*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_\\-])(?:{_PART}[ \t]*+\.[ \t]*+){{{_MOST_PARTS - 1}}}")
_MOST_BITS = 4096
"""TOML's own integers have 64."""
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


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
            # A dangling link is not a missing file: the app's author thinks that the file exists.
            if os.path.islink(path):
                raise errors.dangling(name, str(path.readlink())) from None
            return None
        raise errors.unreadable(name, error.strerror or str(error)) from error


def open_inside(folder: Path, name: str) -> BufferedReader:
    """Open a regular file of an app's folder; raises OSError, and OutsideError if it leads out of the folder."""
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


def parse_json(text: str, name: str, *, hint: str) -> Any:
    """Parse `text`, the content of the file `name`.

    Raises AppError with line, column and a caret; also if an object has a key twice, since parsers differ in the value
    that they take.
    """
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            twice.extend(sorted(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))
        return made

    bad = partial(document_errors.bad_document, name, "JSON", hint=hint)
    try:
        value = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        line = text.split("\n")[error.lineno - 1]
        raise bad(_lower(error.msg), line=error.lineno, column=error.colno, text=line) from None
    except RecursionError:
        raise bad("it nests too deep") from None
    except ValueError:  # int() refuses more than 4300 digits
        raise bad("a number has thousands of digits") from None
    if has_unusable_text(text, value):
        raise bad(document_errors.UNUSABLE_TEXT)
    if twice:
        keys = ", ".join(f"`{show(key)}`" for key in twice[:10])
        raise bad(f"one object has a key twice: {keys}")
    return value


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """Parse `text`, the content of the file `name`; raises AppError with line, column and a caret."""
    import tomllib

    hint = f"fix {name}; the format is described at https://toml.io."
    bad = partial(document_errors.bad_document, name, "TOML", hint=hint)
    if found := _LONG_KEY.search(text):  # of which `tomllib` makes n tables with n tuples
        line = text.count("\n", 0, found.start()) + 1
        raise bad(f"a key has {_MOST_PARTS} parts or more", line=line, column=1, text=found[0][:60])
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        lines = text.split("\n")
        place = _PLACE.search(str(error))
        reason = _lower(_PLACE.sub("", str(error)))
        if place and place[1]:
            line, column = int(place[1]), int(place[2])
        else:
            lines = text.rstrip("\n").split("\n")
            line, column = len(lines), len(lines[-1]) + 1
        raise bad(reason, line=line, column=column, text=lines[line - 1]) from None
    except RecursionError:
        raise bad("it nests too deep") from None
    except ValueError:  # int() refuses more than 4300 digits
        raise bad("a number has thousands of digits") from None
    # `tomllib` reads a huge hexadecimal number, but Python refuses to show it.
    if any(isinstance(one, int) and one.bit_length() > _MOST_BITS for one in walk(document)):
        raise bad("a number has thousands of digits")
    if has_unusable_text(text, document):
        raise bad(document_errors.UNUSABLE_TEXT)
    return document
