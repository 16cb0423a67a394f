"""Signals as bytes on a pipe, so that a loop in the main thread decides on them in its own time."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType

from deployer.interrupts import dismiss_helper, raise_dropped

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
FORWARDED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


class Wakeup:
    """A pipe that wakes the loop: each byte is a signal's number, or 0 from another thread."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)
        self._lock = threading.Lock()
        self._closed = False

    def wake(self) -> None:
        """Wake the loop, from any thread and even after its end."""
        with self._lock:
            if not self._closed:
                with contextlib.suppress(BlockingIOError):  # it is full, so the loop is awake
                    os.write(self.writer, b"\0")

    def drain(self) -> bytes:
        """Take the signals that have come, in their order."""
        try:
            return os.read(self.reader, 4096).replace(b"\0", b"")
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Let go of the pipe."""
        with self._lock:
            self._closed = True
            os.close(self.reader)
            os.close(self.writer)


@contextlib.contextmanager
def catching(numbers: Iterable[int]) -> Iterator[Wakeup]:
    """Catch these signals until the block ends; HUP only where nobody asked for it to be ignored (nohup)."""
    dismiss_helper()
    wakeup = Wakeup()
    caught = [n for n in numbers if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
    before = signal.set_wakeup_fd(wakeup.writer, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _leave_to_the_loop) for number in caught}
    try:
        raise_dropped()
        yield wakeup
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        wakeup.close()


@contextlib.contextmanager
def holding_back(numbers: Iterable[int]) -> Iterator[None]:
    """Hold these signals back until the block ends, then let them have their effect; ignored ones stay ignored."""
    dismiss_helper()
    came: list[int] = []
    before = signal.set_wakeup_fd(-1)
    caught = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in caught}
    try:
        raise_dropped()
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        for number in came:
            signal.raise_signal(number)


def _leave_to_the_loop(_number: int, _frame: FrameType | None) -> None:
    """Let Python write the signal's number to the pipe."""
