"""Signals as bytes on a pipe, so that every decision is taken in the supervisor's loop."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

__all__ = ["FORWARDED", "STOPPING", "signals_as_bytes"]

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
FORWARDED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)

_HANDLED = (*STOPPING, *FORWARDED, signal.SIGTSTP, signal.SIGCHLD)


@contextlib.contextmanager
def signals_as_bytes(fd: int) -> Iterator[None]:
    """Have every signal that the loop handles written to `fd` as its number, and nothing else done."""
    # nohup asks for HUP to be ignored.
    handled = [s for s in _HANDLED if s != signal.SIGHUP or signal.getsignal(s) is not signal.SIG_IGN]
    before = signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _leave_to_the_loop) for number in handled}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)


def _leave_to_the_loop(_signum: int, _frame: FrameType | None) -> None:
    """Let Python write the signal's number to the wake-up pipe."""
