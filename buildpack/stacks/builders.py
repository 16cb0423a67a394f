"""Find a Python of this machine that wheels for a stack can be built with.

Bases are made for running: their Python lacks ``ensurepip`` and headers, and a compiler here links against this
machine's libraries anyway. What is built depends on the series (3.11) and not on the patch level.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from buildpack.processes import library_path
from buildpack.stacks.interpreters import HostPython, find_candidates, probe
from buildpack.stacks.stack import Interpreter, Stack

__all__ = ["find_builder"]

_SECONDS = 60


def find_builder(stack: Stack, environ: Mapping[str, str], *, own: str | None = None) -> Interpreter | None:
    """Return how to start such a Python, of the stack's own patch level if there is one; None where there is none.

    `own` is the interpreter that runs this.
    """
    if stack.machine != os.uname().machine:
        return None
    running = own if own is not None else str(getattr(sys, "_base_executable", None) or sys.executable)
    found = [
        python
        for path in find_candidates(stack.python.series, environ=environ, own=running)
        if (python := probe(path, environ)) is not None and python.series == stack.python.series
    ]
    ranked = sorted(found, key=lambda python: python.version != stack.python.version)
    chosen = next((python for python in ranked if _makes_environments(python, environ)), None)
    if chosen is None:
        return None
    return Interpreter(argv=(str(chosen.executable),), version=chosen.version, env=library_path(environ), own=False)


def _makes_environments(python: HostPython, environ: Mapping[str, str]) -> bool:
    """Tell whether it has what Debian packs apart, in python3-venv."""
    try:
        ran = subprocess.run(
            [str(python.executable), "-I", "-B", "-c", "import venv"],
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env=library_path(environ),
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return ran.returncode == 0
