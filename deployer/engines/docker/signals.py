"""Signals while `deploy` talks to an engine: caught for a loop, or held back until something is whole."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator

from deployer.interrupts import dismiss_helper, raise_dropped
from deployer.runner.signals import Wakeup
from deployer.runner.signals import catching as _catching


@contextlib.contextmanager
def catching(numbers: Iterable[int]) -> Iterator[Wakeup]:
    """Catch these signals until the block ends; from here on nothing ends this process early."""
    dismiss_helper()
    with _catching(numbers) as wakeup:
        raise_dropped()
        yield wakeup


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
