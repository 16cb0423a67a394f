"""Find a Python of this machine that wheels for a stack can be built with.

Bases are made for running: their Python lacks headers, and a compiler here links against this machine's libraries
anyway. The result depends on the series (3.11) and not on the patch level.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from buildpack.stacks.find_python import find_candidates, probe
from buildpack.stacks.stack import Interpreter, Stack
from buildpack.system.processes import library_path


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
    chosen = min(found, key=lambda python: python.version != stack.python.version, default=None)
    if chosen is None:
        return None
    return Interpreter(argv=(str(chosen.executable),), version=chosen.version, env=library_path(environ), own=False)
