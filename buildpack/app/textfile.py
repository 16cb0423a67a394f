"""Read the files of an app's folder, and parse the JSON and TOML that people edit, with errors that name the place.

No link may leave the folder, no pipe or device is read, and sizes are bounded.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.app.links import OutsideError, find_inside
from buildpack.bounded import has_unusable_text, open_regular
from buildpack.errors import app as errors
from buildpack.errors import settings as document_errors
from buildpack.errors import show

if TYPE_CHECKING:
    from io import BufferedReader

LIMIT = 16 * 1024 * 1024
"""Bytes. The largest Pipfile.lock seen in the wild has 2 MB; a larger file is not a text that someone wrote."""

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


def parse_json(text: str, name: str, *, hint: str) -> Any:
    """Parse `text`, the content of the file `name`.

    Raises AppError with line, column and a caret; also if one object has a key twice, since parsers differ in which of
    the two they take.
    """
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            twice.extend(sorted(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))
        return made

    try:
        value = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        lines = text.split("\n")
        line = lines[error.lineno - 1] if error.lineno <= len(lines) else ""
        raise document_errors.bad_json(name, error.lineno, error.colno, line, _lower(error.msg), hint=hint) from None
    except RecursionError:
        raise document_errors.bad_json(name, 0, 0, "", f"{name} nests deeper than any real one", hint=hint) from None
    except ValueError:  # int() refuses more than 4300 digits
        raise document_errors.bad_json(name, 0, 0, "", f"{name}: a number has thousands of digits", hint=hint) from None
    if has_unusable_text(text, value):
        raise document_errors.bad_json(name, 0, 0, "", f"{name}: {document_errors.UNUSABLE_TEXT}", hint=hint)
    if twice:
        told = ", ".join(f"`{show(key)}`" for key in twice[:10])
        raise document_errors.bad_json(name, 0, 0, "", f"{name}: one object has a key twice: {told}", hint=hint)
    return value


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """Parse `text`, the content of the file `name`; raises AppError with line, column and a caret."""
    import tomllib

    if found := _LONG_KEY.search(text):  # of which `tomllib` makes n tables with n tuples
        line = text.count("\n", 0, found.start()) + 1
        raise document_errors.bad_toml(name, line, 1, found[0][:60], f"a key has {_MOST_PARTS} parts or more")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _PLACE.search(message)
        reason = _lower(_PLACE.sub("", message))
        if place and place[1]:
            number, column = int(place[1]), int(place[2])
            raise document_errors.bad_toml(name, number, column, text.split("\n")[number - 1], reason) from None
        lines = text.rstrip("\n").split("\n")
        raise document_errors.bad_toml(name, len(lines), len(lines[-1]) + 1, lines[-1], reason) from None
    except RecursionError:
        raise document_errors.bad_toml(name, 0, 0, "", f"{name} nests deeper than any real one") from None
    except ValueError:  # int() refuses more than 4300 digits
        raise document_errors.bad_toml(name, 0, 0, "", f"{name}: a number has thousands of digits") from None
    # Hexadecimal digits are read; the number is refused only when it is shown.
    if _holds_huge(document):
        raise document_errors.bad_toml(name, 0, 0, "", f"{name}: a number has thousands of digits")
    if has_unusable_text(text, document):
        raise document_errors.bad_toml(name, 0, 0, "", f"{name}: {document_errors.UNUSABLE_TEXT}")
    return document


def _holds_huge(document: dict[str, Any]) -> bool:
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, int):
            if value.bit_length() > _MOST_BITS:
                return True
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False
