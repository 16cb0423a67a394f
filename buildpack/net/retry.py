"""Decides when a server is asked again: after which answers, how often, and how much later."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from buildpack.bounded import parse_seconds

ATTEMPTS = 5
LOOKS = 2
"""Attempts of a request that only saves work: what it saves must not cost minutes."""
LONGEST_WAIT = 60.0
"""Seconds."""
_NEVER = 1e9
"""Seconds; every longer wait counts as this one."""


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
