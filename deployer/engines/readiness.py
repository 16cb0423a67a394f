"""Polls web processes in containers until each answers, and finds out why one does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from buildpack.dataclass import dataclass
from deployer.engines.client import Engine
from deployer.engines.listening import container_listeners
from deployer.health import Answer, Cause, Outcome, ask, compare_listeners, wait_until_ready

__all__ = ["Poll", "Verdict", "begin_polling"]

_LOOK_AFTER = 5.0
"""Seconds without an answer after which somebody is told what the process listens on instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """A port to poll: the process's own, and where the engine publishes it; `host` is the Host header."""

    process: str
    inside: int
    address: str
    outside: int
    seconds: float
    host: str
    container: Callable[[], str]
    alive: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of it; `outcome` is None for news on the way: it listens, and elsewhere."""

    process: str
    outcome: Outcome | None
    cause: Cause = "unknown"
    heard: str = ""


def begin_polling(engine: Engine, poll: Poll, tell: Callable[[Verdict], None]) -> None:
    """Poll in a thread, which tells the verdict."""
    threading.Thread(target=_poll, args=(engine, poll, tell), name=f"poll {poll.process}", daemon=True).start()


def _poll(engine: Engine, poll: Poll, tell: Callable[[Verdict], None]) -> None:
    look_at = time.monotonic() + min(_LOOK_AFTER, poll.seconds / 2)

    def probe() -> Answer:
        nonlocal look_at
        answer = ask(poll.outside, host=poll.address, name=poll.host or f"localhost:{poll.outside}")
        if answer.status is None and time.monotonic() >= look_at:
            cause, heard = _compare(engine, poll)
            # Said once, and only of what is wrong for good: what listens nowhere may still be loading.
            if cause in {"port", "address"}:
                look_at = float("inf")
                tell(Verdict(process=poll.process, outcome=None, cause=cause, heard=heard))
            else:
                look_at = time.monotonic() + _LOOK_AFTER
        return answer

    outcome = wait_until_ready(probe, alive=poll.alive, seconds=poll.seconds)
    if outcome.ready or outcome.died:
        tell(Verdict(process=poll.process, outcome=outcome))
        return
    cause, heard = _compare(engine, poll)
    tell(Verdict(process=poll.process, outcome=outcome, cause=cause, heard=heard))


def _compare(engine: Engine, poll: Poll) -> tuple[Cause, str]:
    return compare_listeners(container_listeners(engine, poll.container()), poll.inside, contained=True)
