"""What an interrupt does to a build: it ends in order, and where that takes too long, at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["GRACE", "ending_promptly"]

GRACE = 2.0
"""Seconds for a build to end in order: layers being written are short work, an index that is silent is not.

What is left behind then is what a killed build leaves, and the next one sweeps it up.
"""


@contextmanager
def ending_promptly(grace: float = GRACE) -> Iterator[None]:
    """End the process at most `grace` seconds after INT, TERM or HUP, also where a thread waits for the network.

    A second signal ends it at once. Signals that are ignored stay so, and outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)
        last = threading.Timer(grace, os._exit, (128 + number,))
        last.daemon = True
        last.start()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in heard:
            if signal.getsignal(number) is end:
                signal.signal(number, before[number])
