"""Asks a web process over HTTP until it answers, wherever it runs, and finds out why it does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from buildpack.dataclass import dataclass
from deployer.errors.readiness import BootError, boot_refused, boot_timed_out, listens_elsewhere
from deployer.readiness.health import Answer, Cause, Listener, Outcome, compare_listeners, wait_until_ready
from deployer.readiness.question import NOBODY

_LOOK_AFTER = 5.0
"""Seconds without an answer after which the user reads what the process listens on instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """How to ask one web process; `port` is the one that PORT names.

    `ask` gets the seconds that it may take. `contained` is true if the process runs in a network namespace of its own,
    whose loopback nobody else reaches. With `strict` only 2xx and 3xx are an answer.
    """

    process: str
    port: int
    seconds: float
    ask: Callable[[float], Answer]
    alive: Callable[[], bool]
    listeners: Callable[[], Sequence[Listener] | None]
    contained: bool
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the poll ended. If the process lives and gave no answer, `cause` and `heard` say what it listens on."""

    outcome: Outcome
    cause: Cause = "unknown"
    heard: str = ""


def poll_until_ready(poll: Poll, *, say: Callable[[str], None]) -> Verdict:
    """Ask until the process answers, ends, or its time is over.

    A process that listens on the wrong port or address is reported with `say`, once and before the time is over.
    """
    look_at = time.monotonic() + min(_LOOK_AFTER, poll.seconds / 2)

    def ask(seconds: float) -> Answer:
        nonlocal look_at
        answer = poll.ask(seconds)
        if answer.status is None and time.monotonic() >= look_at:
            cause, heard = _compare(poll)
            # A process that listens on nothing may still be loading.
            wrong = cause in {"port", "address"}
            look_at = float("inf") if wrong else time.monotonic() + _LOOK_AFTER
            if wrong:
                say(listens_elsewhere(poll.process, heard=heard, port=poll.port))
        return answer

    outcome = wait_until_ready(ask, alive=poll.alive, strict=poll.strict, seconds=poll.seconds)
    if outcome.ready or outcome.died or outcome.status is not None:
        return Verdict(outcome=outcome)
    cause, heard = _compare(poll)
    if cause == "silent" and outcome.problem == NOBODY and not poll.contained:
        cause = "apart"
    return Verdict(outcome=outcome, cause=cause, heard=heard)


def _compare(poll: Poll) -> tuple[Cause, str]:
    return compare_listeners(poll.listeners(), poll.port, contained=poll.contained)


def boot_error(poll: Poll, verdict: Verdict, *, path: str, host: str, log: Sequence[str]) -> BootError:
    """Return the error of a process that lives and is not ready; `host` is the Host header, empty for localhost."""
    outcome = verdict.outcome
    if outcome.status is not None:
        host = host or f"localhost:{poll.port}"
        return boot_refused(poll.process, outcome.status, path=path, host=host, reason=outcome.reason, log=log)
    return boot_timed_out(
        poll.process,
        port=poll.port,
        cause=verdict.cause,
        heard=verdict.heard,
        problem=outcome.problem,
        seconds=poll.seconds,
        log=log,
    )
