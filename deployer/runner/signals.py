"""Turn signals into bytes on a pipe, so that a loop in the main thread handles them in its own time."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
FORWARDED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


class Wakeup:
    """A pipe that wakes the loop: each byte is the number of a signal, or 0 from another thread."""

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
        """Return the signals that have come, in their order."""
        try:
            return os.read(self.reader, 4096).replace(b"\0", b"")
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Close the pipe."""
        with self._lock:
            self._closed = True
            os.close(self.reader)
            os.close(self.writer)


def leave_to_the_loop(_number: int, _frame: FrameType | None) -> None:
    """Let Python write the number of the signal to the pipe."""


@contextlib.contextmanager
def catching(
    numbers: Iterable[int], stopping: Callable[[int, FrameType | None], object] = leave_to_the_loop
) -> Iterator[Wakeup]:
    """Catch these signals until the block ends, HUP only if nohup does not ignore it; `stopping` handles STOPPING."""
    wakeup = Wakeup()
    caught = [n for n in numbers if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
    before = signal.set_wakeup_fd(wakeup.writer, warn_on_full_buffer=False)
    handlers = {n: signal.signal(n, stopping if n in STOPPING else leave_to_the_loop) for n in caught}
    try:
        yield wakeup
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        wakeup.close()
