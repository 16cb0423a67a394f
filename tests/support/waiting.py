"""Wait for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["settles"]


def settles(condition: Callable[[], object], seconds: float = 60) -> bool:
    """Return True as soon as the condition holds, or False after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
