"""Limits the time of an exchange with a server (docs/decisions/0026); `sockets` makes the sockets that keep to it."""

from __future__ import annotations

import time
from collections.abc import Callable

Slow = Callable[[str], Exception]
"""Makes the error for a transfer that takes too long or has no end, from the reason."""

SILENCE = 60.0
"""Seconds without a byte after which a server counts as gone."""
RATE = 1 << 10
"""Bytes a second: less than that for a minute ends a transfer."""
_WHOLE_RATE = 16 << 10
"""Bytes a second that a whole body needs, on top of `_BASE`."""
_BASE, _UNKNOWN, _LONGEST = 600.0, 3600.0, 6 * 3600.0
"""Seconds for any transfer, for one that does not say its size, and for the largest."""
_HEAD_LIMIT = 1 << 20
"""Bytes before a body: a server may send interim answers (100 Continue) without end."""


def allowance(size: int | None) -> float:
    """Return the seconds that a whole transfer of `size` bytes may take; None if it does not say its size."""
    return _UNKNOWN if size is None else min(_LONGEST, _BASE + size / _WHOLE_RATE)


class Pace:
    """The time that one request and its answer may take; a socket asks before and after each read and write.

    Bytes earn time, of which at most `patience` seconds are kept: a server that sends a byte now and then ends as soon
    as one that is silent. `steady` is False for a server that may have nothing to say for long, such as an engine.
    Time between two reads or writes does not count: it is ours (a layer is still being built, a laptop slept).
    """

    def __init__(
        self,
        slow: Slow,
        *,
        patience: float = SILENCE,
        size: int = 0,
        steady: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin; `size` is the number of bytes to send, `patience` the longest silence in seconds."""
        self.slow = slow
        self.patience = patience
        self._clock = clock
        self._steady = steady
        self._began = self._last = clock()
        self._empty = self._began + patience
        self._end = self._began + (allowance(size) if steady else _LONGEST)
        self._head: int | None = 0

    def answered(self, size: int | None) -> None:
        """Begin the answer's body, of `size` bytes; None if the answer does not say its size."""
        self._head = None
        if self._steady:
            self._end = self._last + allowance(size)

    def left(self) -> float:
        """Begin a read or write; return how long it may wait, in seconds."""
        now = self._clock()
        ours, self._last = now - self._last, now
        self._empty += ours
        self._end += ours
        return max(min(self.patience, self._end - now), 0.001)

    def took(self, size: int, *, received: bool) -> None:
        """Count bytes that came or went. Raises the error that `slow` makes."""
        now = self._last = self._clock()
        self._empty = min(self._empty + size / RATE, now + self.patience)
        if received and self._head is not None:
            self._head += size
            if self._head > _HEAD_LIMIT:
                raise self.slow(f"it sent {_HEAD_LIMIT >> 20} MB before its answer began")
        if now > self._end:
            raise self.slow(f"the transfer was not done after {(now - self._began) / 60:.0f} minutes")
        if self._steady and now > self._empty:
            raise self.slow(f"less than {RATE} bytes a second went over the connection for {self.patience:.0f} seconds")
