"""Readiness: ask a web process over HTTP until it answers, dies, or shows that it never will, wherever it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from buildpack.dataclass import dataclass, replace
from deployer.errors.readiness import BootError, boot_refused, boot_timed_out, listens_elsewhere
from deployer.readiness import question
from deployer.readiness.sockets import Cause, Listener, compare_listeners

BOOT_SECONDS = 60.0
"""How long a web process may take to answer, as on Heroku."""

_LOOK_AFTER = 5.0
"""Seconds without an answer after which the user reads what the process listens on instead."""
_SHORTEST = 1.0
"""Seconds that the last question may take, even if less time is left."""
_STEADY = 1.0
"""Seconds for which a refusal stays the same until it counts."""
_PASSING = frozenset({408, 425, 429})
DISALLOWED_HOST = "DisallowedHost"
_DISALLOWED = (b"DisallowedHost", b"<h1>Bad Request (400)</h1>")
"""Django's page of errors with DEBUG, and without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer: an HTTP status, or the `problem` if none came."""

    status: int | None = None
    problem: str = ""
    reason: str = ""
    """Why the app refused, if its answer says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the wait ended. `status` is the last answer's; `problem` says why there was none.

    If the process runs and gave no answer, `cause` and `heard` say where it listens.
    """

    ready: bool
    seconds: float
    status: int | None = None
    died: bool = False
    problem: str = ""
    reason: str = ""
    cause: Cause = "unknown"
    heard: str = ""


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

    seconds: float = BOOT_SECONDS
    path: str = "/"
    host: str = ""
    strict: bool = False


def ask(port: int, *, host: str, name: str, path: str = "/", seconds: float = question.LONGEST) -> Answer:
    """Send one GET to `host`:`port` under the app's own host name; redirects are answers and not followed.

    `name` is the Host header, because frameworks refuse names they do not know (ALLOWED_HOSTS). An answer that is not
    complete after `seconds` counts as none.
    """
    status, body, problem = question.ask(port, host=host, name=name, path=path, seconds=seconds)
    return Answer(status=status, reason=refusal_of(status, body)) if status else Answer(problem=problem)


def refusal_of(status: int, body: bytes) -> str:
    """Return the name of Django's reason for a 400; empty for any other."""
    return DISALLOWED_HOST if status == 400 and any(sign in body for sign in _DISALLOWED) else ""


def wait_until_ready(
    probe: Callable[[float], Answer],
    *,
    alive: Callable[[], bool],
    strict: bool = False,
    seconds: float = BOOT_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Probe until an answer comes, the process dies or `seconds` have passed; `probe` gets the seconds it may take.

    Any status counts, since a healthy app may well answer 404 at ``/``; with `strict`, for a health path that
    someone configured, only 2xx and 3xx do. A 4xx that stays the same ends the wait early, since more time would not
    change it. The outcome has the status of the last answer in any case.
    """
    begin = clock()
    refused: int | None = None
    refused_at = 0.0
    pause = 0.02
    while True:
        left = seconds - (clock() - begin)
        answer = probe(min(question.LONGEST, max(left, _SHORTEST)))
        elapsed = clock() - begin
        status = answer.status
        ready = status is not None and (not strict or 200 <= status < 400)
        if status != refused:
            refused, refused_at = status, elapsed
        lasting = status is not None and 400 <= status < 500 and status not in _PASSING
        answered = ready or (lasting and elapsed - refused_at >= _STEADY)
        died = not answered and not alive()
        if answered or died or elapsed >= seconds:
            return Outcome(
                ready=ready,
                seconds=elapsed,
                status=status,
                died=died,
                problem=answer.problem,
                reason=answer.reason,
            )
        sleep(pause)
        pause = min(pause * 1.5, 0.25)


def poll_until_ready(web: Web, boot: Boot, *, alive: Callable[[], bool], say: Callable[[str], None]) -> Outcome:
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
        return outcome
    cause, heard = _compare(web)
    if cause == "silent" and outcome.problem == question.NOBODY and not web.contained:
        cause = "apart"
    return replace(outcome, cause=cause, heard=heard)


def _compare(web: Web) -> tuple[Cause, str]:
    return compare_listeners(web.listeners(), web.port, contained=web.contained)


def boot_error(web: Web, boot: Boot, outcome: Outcome, *, log: Sequence[str]) -> BootError:
    """Return the error of a process that runs and is not ready."""
    if outcome.status is not None:
        host = boot.host or f"localhost:{web.port}"
        return boot_refused(web.process, outcome.status, path=boot.path, host=host, reason=outcome.reason, log=log)
    return boot_timed_out(
        web.process,
        port=web.port,
        cause=outcome.cause,
        heard=outcome.heard,
        problem=outcome.problem,
        seconds=boot.seconds,
        log=log,
    )


def ready_text(answers: Sequence[tuple[str, Outcome | None]], *, host: str = "") -> str:
    """Say that web processes answer, each with its address, and a status that is neither 2xx nor 3xx, with its reason.

    `host` is the Host header if it is not that of the addresses, which may answer otherwise then.
    """
    as_host = f" to the host {host}" if host else ""
    shown = []
    for address, outcome in answers:
        status = outcome.status if outcome else None
        if outcome is None or status is None or 200 <= status < 400:
            shown.append(f"{address} (it answers{as_host})" if host else address)
        else:
            reason = f": {outcome.reason}" if outcome.reason else ""
            reason += "; --health-host names another host" * (outcome.reason == DISALLOWED_HOST)
            shown.append(f"{address} (it answers {status}{as_host}{reason})")
    return f"ready: {' '.join(shown)}"
