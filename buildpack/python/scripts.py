"""Commands of a distribution: generated from entry points, or shipped with a ``#!python`` line to fill in."""

from __future__ import annotations

import shlex

SHEBANG_LIMIT = 127
"""Bytes of a first line that every Linux kernel reads (BINPRM_BUF_SIZE was 128 before 5.1)."""


def shebang(interpreter: str) -> bytes:
    """Return the first line (or lines) that start this interpreter.

    Where the path is too long or holds a space, `sh` starts it: the lines are a shell command and at the
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
    name that is no plain file name.
    """
    from configparser import Error

    from installer.scripts import Script
    from installer.utils import parse_entrypoints

    try:
        points = list(parse_entrypoints(text))
    except (Error, AssertionError, AttributeError) as error:
        # installer asserts where a line names no `module:function`.
        raise ValueError("entry_points.txt does not parse") from error
    made: dict[str, bytes] = {}
    for name, module, attribute, section in points:
        script = Script(name, module, attribute, section)
        # Empty stands for the first line, which is ours.
        made[name] = shebang(interpreter) + script.generate("", "posix")[1].partition(b"\n")[2]
    return made
