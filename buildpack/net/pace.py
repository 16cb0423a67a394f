"""Limits the time of an exchange with a server (docs/decisions/0026), and decides when to ask the server again.

`sockets` makes the sockets that keep to the limits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from buildpack.bounded import parse_seconds

ATTEMPTS = 5
LOOKS = 2
"""Attempts of a request that only saves work, and so must not cost minutes."""
LONGEST_WAIT = 60.0
"""Seconds."""
_NEVER = 1e9
"""Seconds; every longer wait counts as this one."""
Slow = Callable[[str], Exception]
"""Makes the error for a transfer that takes too long or does not end, from the reason."""

SILENCE = 60.0
"""Seconds without a byte after which a server counts as gone."""
RATE = 1 << 10
"""Bytes a second: less than that for a minute ends a transfer."""
_WHOLE_RATE = 16 << 10
"""Bytes a second that a whole body needs after `_BASE`."""
_BASE, _UNKNOWN, _LONGEST = 600.0, 3600.0, 6 * 3600.0
"""Seconds for any transfer, for one of unknown size, and for the largest."""
_HEAD_LIMIT = 1 << 20
"""Bytes before a body: a server may send interim answers (100 Continue) without end."""


def allowance(size: int | None) -> float:
    """Return the seconds that a whole transfer of `size` bytes may take; `size` is None if unknown."""
    return _UNKNOWN if size is None else min(_LONGEST, _BASE + size / _WHOLE_RATE)


class Pace:
    """Limits the time of one request and its answer; a socket asks it before and after each read and write.

    Each byte earns time, up to `patience` seconds: a server that sends a byte now and then fails as soon as a silent
    one. `steady` is False for a server that may be silent for long, such as an engine. Time between two reads or writes
    does not count, because we spend it: a layer is still being built, or a laptop slept.
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
        """Start the clock; `size` is the number of bytes to send, `patience` the longest silence in seconds."""
        self.slow = slow
        self.patience = patience
        self._clock = clock
        self._steady = steady
        self._began = self._last = clock()
        self._empty = self._began + patience
        self._end = self._began + (allowance(size) if steady else _LONGEST)
        self._head: int | None = 0

    def answered(self, size: int | None) -> None:
        """Start the time of the answer's body; `size` is in bytes, None if the answer does not say."""
        self._head = None
        if self._steady:
            self._end = self._last + allowance(size)

    def left(self) -> float:
        """Start a read or write; return how many seconds it may wait."""
        now = self._clock()
        ours, self._last = now - self._last, now
        self._empty += ours
        self._end += ours
        return max(min(self.patience, self._end - now), 0.001)

    def took(self, size: int, *, received: bool) -> None:
        """Count bytes received or sent; raises the error of `slow` if the server is too slow."""
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


def is_busy(status: int) -> bool:
    """Return True if the same request may get another answer later."""
    return status in {408, 425, 429} or (status >= 500 and status not in {501, 505})


def pause(attempt: int) -> float:
    """Return how long to wait after this many failures in a row: 0.5, 1, 2, 4 seconds and so on."""
    return float(min(0.25 * 2**attempt, LONGEST_WAIT))


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Return the seconds that Retry-After (RFC 9110, 10.2.3) asks for; None if it is missing or unreadable."""
    value = headers.get("Retry-After", "")
    if not value.strip():
        return None
    if (seconds := parse_seconds(value, most=_NEVER)) is not None:
        return seconds
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except (TypeError, ValueError, OverflowError):
        return None
