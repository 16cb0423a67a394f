"""Write the files that an installer adds to a wheel's own: RECORD, and commands.

RECORD lists a distribution's files (recording installed projects, "The RECORD file"). Commands come from entry points,
or with a ``#!python`` line to fill in.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import shlex
from collections.abc import Iterable

SHEBANG_LIMIT = 127
"""Bytes of a first line that every Linux kernel reads (BINPRM_BUF_SIZE was 128 before 5.1)."""

Row = tuple[str, str, str]
"""Path, hash (``sha256=...``) and size; the last two may be empty."""


def parse_record(text: str) -> dict[str, Row]:
    """Read the rows of a RECORD, by path; raises ValueError if a line does not have three fields."""
    from installer.records import InvalidRecordEntry, parse_record_file

    try:
        return {row[0]: row for row in parse_record_file(text.splitlines())}
    except (InvalidRecordEntry, csv.Error) as error:
        raise ValueError(str(error)) from error


def record_row(path: str, body: bytes) -> Row:
    """Make the row of a file that was not in the wheel, or not with these bytes."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")
    return path, f"sha256={digest}", str(len(body))


def render_record(rows: Iterable[Row]) -> bytes:
    """Write the rows sorted by path, so that equal contents have equal bytes."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    return text.getvalue().encode()


def shebang(interpreter: str) -> bytes:
    """Return the first line (or lines) that start this interpreter.

    If the path is too long or holds a space, `sh` starts it: the lines are a shell command and at the
    same time a Python string, as distlib, pip and installer write them.
    """
    line = f"#!{interpreter}\n".encode()
    if len(line) <= SHEBANG_LIMIT and b" " not in line:
        return line
    return f"#!/bin/sh\n'''exec' {shlex.quote(interpreter)} \"$0\" \"$@\"\n' '''\n".encode()


def rewrite_shebang(body: bytes, interpreter: str) -> bytes:
    """Return a shipped script with the interpreter's path in place of ``#!python`` or ``#!pythonw``.

    Anything else is returned as it is (binary distribution format, "Recommended installer features").
    """
    if not body.startswith(b"#!python"):
        return body
    return shebang(interpreter) + body.partition(b"\n")[2]


def entry_point_scripts(text: str, interpreter: str) -> dict[str, bytes]:
    """Return the scripts that an ``entry_points.txt`` asks for, by name.

    The template is installer's, which is pip's. Raises ValueError for a file that does not parse or a
    name that is not a plain file name.
    """
    from configparser import Error

    from installer.scripts import Script
    from installer.utils import parse_entrypoints

    try:
        points = list(parse_entrypoints(text))
    except (Error, AssertionError, AttributeError) as error:
        # installer asserts if a line names no `module:function`.
        raise ValueError("entry_points.txt does not parse") from error
    made: dict[str, bytes] = {}
    for name, module, attribute, section in points:
        script = Script(name, module, attribute, section)
        # Empty stands for the first line, which is ours.
        made[name] = shebang(interpreter) + script.generate("", "posix")[1].partition(b"\n")[2]
    return made
