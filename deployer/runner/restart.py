"""Decide if and when a process that ended is started again. Pure: times are numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

POLICIES = ("no", "on-failure", "always")

LONGEST_DELAY = 30.0
SETTLED_AFTER = 60.0
QUICK_FAILURES = 5

# gunicorn's "worker failed to boot" and "app failed to load": the same app would fail the same way.
_HOPELESS = frozenset({3, 4})


@dataclass(frozen=True, kw_only=True)
class History:
    """The exits of a process since it last ran for a minute: `exits` of any code, `failures` among them."""

    exits: int = 0
    failures: int = 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`delay` is in seconds, None if the process stays down; `reason` then says why, if that is not obvious."""

    delay: float | None
    history: History
    reason: str = ""


def decide(policy: str, history: History, code: int, uptime: float, jitter: Callable[[], float]) -> Verdict:
    """Decide what follows an unrequested exit: a restart after 1, 2, 4 ... 30 s, or the end.

    `uptime` is in seconds. `jitter` returns a number from 0 up to 1; up to a tenth of the delay is added,
    so that processes that failed together do not restart together.
    """
    if uptime >= SETTLED_AFTER:
        history = History()
    history = History(exits=history.exits + 1, failures=history.failures + (code != 0))
    if policy == "no" or (policy == "on-failure" and code == 0):
        return Verdict(delay=None, history=history)
    if code in _HOPELESS:
        return Verdict(delay=None, history=history, reason=f"exit code {code} says the app does not load")
    if history.failures >= QUICK_FAILURES:
        return Verdict(delay=None, history=history, reason=f"it failed {history.failures} times in a row")
    delay = min(LONGEST_DELAY, 2.0 ** min(history.exits - 1, 10))
    return Verdict(delay=delay * (1 + jitter() / 10), history=history)
