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
class Web:
    """How to ask a web process whether it answers.

    `port` is the one that PORT names, `url` the address for people. `ask` gets the seconds that it may take.
    `contained` is true if the process runs in a network namespace of its own, whose loopback nobody else reaches.
    """

    process: str
    port: int
    url: str
    ask: Callable[[float], Answer]
    listeners: Callable[[], Sequence[Listener] | None]
    contained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """When web counts as ready: it answers a GET of `path` within `seconds`; with `strict` only with 2xx or 3xx.

    `host` is the Host header; empty for ``localhost`` and the port.
    """

    seconds: float = 60.0
    path: str = "/"
    host: str = ""
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the wait ended. If the process runs and gave no answer, `cause` and `heard` say where it listens."""

    outcome: Outcome
    cause: Cause = "unknown"
    heard: str = ""


def poll_until_ready(web: Web, boot: Boot, *, alive: Callable[[], bool], say: Callable[[str], None]) -> Verdict:
    """Ask until the process answers, ends, or its time is over.

    A process that listens on the wrong port or address is reported with `say`, once and before the time is over.
    """
    look_at = time.monotonic() + min(_LOOK_AFTER, boot.seconds / 2)

    def ask(seconds: float) -> Answer:
        nonlocal look_at
        answer = web.ask(seconds)
        if answer.status is None and time.monotonic() >= look_at:
            cause, heard = _compare(web)
            # A process that listens on nothing may still be loading.
            wrong = cause in {"port", "address"}
            look_at = float("inf") if wrong else time.monotonic() + _LOOK_AFTER
            if wrong:
                say(listens_elsewhere(web.process, heard=heard, port=web.port))
        return answer

    outcome = wait_until_ready(ask, alive=alive, strict=boot.strict, seconds=boot.seconds)
    if outcome.ready or outcome.died or outcome.status is not None:
        return Verdict(outcome=outcome)
    cause, heard = _compare(web)
    if cause == "silent" and outcome.problem == NOBODY and not web.contained:
        cause = "apart"
    return Verdict(outcome=outcome, cause=cause, heard=heard)


def _compare(web: Web) -> tuple[Cause, str]:
    return compare_listeners(web.listeners(), web.port, contained=web.contained)


def boot_error(web: Web, boot: Boot, verdict: Verdict, *, log: Sequence[str]) -> BootError:
    """Return the error of a process that runs and is not ready."""
    outcome = verdict.outcome
    if outcome.status is not None:
        host = boot.host or f"localhost:{web.port}"
        return boot_refused(web.process, outcome.status, path=boot.path, host=host, reason=outcome.reason, log=log)
    return boot_timed_out(
        web.process,
        port=web.port,
        cause=verdict.cause,
        heard=verdict.heard,
        problem=outcome.problem,
        seconds=boot.seconds,
        log=log,
    )
