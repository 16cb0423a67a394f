"""End `deploy` on INT, TERM and HUP: in order if that is quick, else at once, even while C code runs."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

GRACE = 2.0
"""Seconds for a build to end in order: finishing a layer is short work, waiting for a silent index is not.

A build that ends later leaves what a killed one leaves, and the next build removes it.
"""

_helpers: list[tuple[int, int]] = []
_said = threading.Lock()
_came: list[int] = []
"""Signals that `interrupt` or `keep_for_later` was called for."""
_LAST = 0.5
"""Further seconds for Python to end the process, which gives the better exit code."""
_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


@contextmanager
def watched(grace: float = GRACE + _LAST) -> Iterator[None]:
    """Let a helper process kill this one `grace` seconds after INT, TERM or HUP, if it is still there.

    Python runs its handlers and threads between two instructions of its own. While a regular expression or a
    compression runs in C there are none, so no handler and no timer of this process could end it. The kernel's signal
    does reach the C handler, which writes to the pipe of `signal.set_wakeup_fd`, and the helper reads that. Code that
    takes longer to stop on purpose ends the helper. Call this before any
    thread starts, since it forks.
    """
    try:
        writer = _start_helper(grace)
    except OSError:  # no more processes: go on without
        yield
        return
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        dismiss_helper()


def say_interrupted() -> None:
    """Print one line on standard error, below the ``^C`` of a terminal; nothing if it was printed before."""
    if not _said.acquire(blocking=False):
        return
    with suppress(OSError):
        os.write(2, b"\ninterrupted\n" if os.isatty(2) else b"interrupted\n")


def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    """Raise KeyboardInterrupt for INT, SystemExit for other signals; the handler of `deploy` while it may just end."""
    _came.append(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def keep_for_later(number: int, _frame: FrameType | None) -> None:
    """Have `raise_dropped` raise what `interrupt` would raise now; the handler while a loop stops in its own order."""
    _came.append(number)


def hear_signals() -> None:
    """Install `interrupt` as the handler of INT, TERM and HUP."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # `nohup` asks for HUP to be ignored, and a shell that starts a program in the background for INT.
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def raise_dropped() -> None:
    """Raise what `keep_for_later` kept, or what Python dropped: it ignores exceptions of destructors and the like.

    Call this before anything starts that would have to be stopped in order. While an exception is on its way, which
    is where such things are stopped, this does nothing.
    """
    if _came and sys.exc_info()[1] is None:
        interrupt(_came.pop(), None)


def _end_now(number: int) -> NoReturn:
    if number == signal.SIGINT:
        say_interrupted()
    os._exit(128 + number)


def dismiss_helper() -> None:
    """End the helper of `watched`: this process is about to become another program, or stops slowly on purpose."""
    while _helpers:
        helper, writer = _helpers.pop()
        signal.set_wakeup_fd(-1)
        os.close(writer)
        with suppress(ChildProcessError):
            os.waitpid(helper, 0)


def _start_helper(grace: float) -> int:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watched_pid = os.getpid()
    # The helper never unblocks them: a Ctrl-C is meant for us.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        helper = os.fork()
        if not helper:
            try:
                _watch(watched_pid, reader, writer, grace)
            finally:
                os._exit(0)
    except OSError:
        os.close(writer)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(reader)
    _helpers.append((helper, writer))
    return writer


def _watch(watched_pid: int, reader: int, writer: int, grace: float) -> None:
    """Read signals until the pipe ends; kill the process that has outlived the first one by `grace` seconds.

    This process has the whole environment of `deploy`, which strangers' code must not read here either.
    """
    from buildpack.system.processes import hide_process

    os.setsid()
    hide_process()
    os.close(writer)
    for stream in range(3):  # a reader of our output waits for every process that has it
        os.close(stream)
    deadline: float | None = None
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and (left <= 0 or not select.select([reader], [], [], left)[0]):
            break
        came = os.read(reader, 64)
        if not came:
            return
        if deadline is None and not _ENDING.isdisjoint(came):
            deadline = time.monotonic() + grace
    if os.getppid() == watched_pid:
        os.kill(watched_pid, signal.SIGKILL)


@contextmanager
def ending_promptly() -> Iterator[None]:
    """End the process at most `GRACE` seconds after INT, TERM or HUP, also if a thread waits for the network.

    A second signal ends it at once. Signals that are ignored stay so, and outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)
        last = threading.Timer(GRACE, _end_now, (number,))
        last.daemon = True
        last.start()
        interrupt(number, frame)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, end)
    try:
        yield
        raise_dropped()
    finally:
        for number in heard:
            if signal.getsignal(number) is end:
                signal.signal(number, before[number])
