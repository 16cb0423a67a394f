"""The `deploy` command: parse, call one use case, render. One file per command, loaded when it is called."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from deployer.building.record import Asked


def main() -> None:
    """Run the command line and exit with its exit code."""
    _open_streams()
    try:
        code = _build_again() if sys.argv[1:2] == ["build"] else _run(None)
    except KeyboardInterrupt:
        code = 130
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # The reader ended, or the disk is full. Python would print a traceback when it closes the streams at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _build_again() -> int:
    """Answer from the record of an equal build, without importing what a build needs; without a record, build."""
    begin = time.perf_counter()
    from deployer.building.record import ask, is_loaded, recall

    asked = ask(sys.argv[1:], os.environ, now=time.time())
    answer = recall(asked) if asked else None
    if asked is None or answer is None:
        return _run(asked)
    if asked.loaded is not None and not is_loaded(*asked.loaded, os.environ):
        return _run(asked)
    from deployer.cli.summary import show_answer

    answer["report"]["seconds"] = round(time.perf_counter() - begin, 3)
    try:
        show_answer(answer)
        sys.stdout.flush()
    except BrokenPipeError:
        return 128 + 13
    except OSError as error:
        from deployer.cli.command import machine_failed

        return machine_failed(error)
    return 0


def _run(asked: Asked | None) -> int:
    import gc

    # Searching the modules for garbage takes a twentieth of a small build's time, and finds none.
    gc.set_threshold(10_000)
    from deployer.cli.command import run
    from deployer.interrupts import hear_signals

    hear_signals()
    return run(sys.argv[1:], asked)


def _open_streams() -> None:
    """Open the null device for each closed standard stream; otherwise the first opened file would get its number."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
