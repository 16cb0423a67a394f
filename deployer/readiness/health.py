"""Readiness: poll the web process over HTTP until it answers, dies, or shows that it never will."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from buildpack.dataclass import dataclass
from deployer.readiness import question

BOOT_SECONDS = 60.0
"""How long a web process may take to answer, as on Heroku."""

_KEPT_BYTES = 1 << 17
"""Bytes of the end of a log that a tail keeps at least."""

_SHORTEST = 1.0
"""Seconds that the last question may take, even if less time is left."""
_STEADY = 1.0
"""Seconds for which a refusal stays the same until it counts."""
_PASSING = frozenset({408, 425, 429})
DISALLOWED_HOST = "DisallowedHost"
_DISALLOWED = (b"DisallowedHost", b"<h1>Bad Request (400)</h1>")
"""Django's page of errors with DEBUG, and without."""
_LISTEN = "0A"
_DOCKER_DNS = "127.0.0.11"

Cause = Literal["unknown", "nothing", "port", "address", "apart", "silent"]
"""Why a web process does not answer: it listens on nothing, on another port, on an address that only its own container
reaches, on an address that localhost does not reach, or on the right one and sends nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer: an HTTP status, or the `problem` if none came."""

    status: int | None = None
    problem: str = ""
    reason: str = ""
    """Why the app refused, if its answer says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """An address and port that a process listens on; `address` is as the kernel shows it to people."""

    address: str
    port: int

    @property
    def loopback(self) -> bool:
        """True if only the same network namespace can reach it."""
        return self.address.startswith("127.") or self.address == "::1"

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the wait ended. `status` is the last answer's; `problem` says why there was none."""

    ready: bool
    seconds: float
    status: int | None = None
    died: bool = False
    problem: str = ""
    reason: str = ""


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


def parse_listeners(table: str) -> Sequence[tuple[Listener, str]]:
    """Read the listening sockets, with their inode, from the text of ``/proc/PID/net/tcp`` or ``tcp6`` (proc(5))."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            found.append((Listener(address=_address(address), port=int(port, 16)), fields[9]))
    return found


def _address(text: str) -> str:
    import ipaddress

    # The kernel prints each 32-bit word of the address in host order.
    words = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    address = ipaddress.ip_address(words)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def compare_listeners(listeners: Sequence[Listener] | None, port: int, *, contained: bool) -> tuple[Cause, str]:
    """Compare what a process listens on with what it should; return the cause, and the listeners that show it as text.

    `contained` is true if it is asked from outside its network namespace, which has a loopback of its own.
    """
    if listeners is None:
        return "unknown", ""
    heard = [listener for listener in listeners if listener.address != _DOCKER_DNS]
    on_port = [listener for listener in heard if listener.port == port]
    shown = ", ".join(sorted({str(listener) for listener in on_port or heard}))
    if not heard:
        return "nothing", ""
    if not on_port:
        return "port", shown
    if contained and all(listener.loopback for listener in on_port):
        return "address", shown
    return "silent", shown


class Tail:
    """The last lines of a process's log, for the error that ends it; bounded in lines and in bytes.

    Adding costs next to nothing, since a process may write a million lines: lines are split when they are read.
    """

    def __init__(self, lines: int = 20, width: int = 2000) -> None:
        self._recent: deque[bytes] = deque()
        self._size = 0
        self._lines, self._width = lines, width

    def add(self, chunk: bytes) -> None:
        """Take what the process wrote."""
        self._recent.append(chunk[-_KEPT_BYTES:])
        self._size += len(self._recent[-1])
        while self._size - len(self._recent[0]) >= _KEPT_BYTES:
            self._size -= len(self._recent.popleft())

    def lines(self) -> list[str]:
        """Return the lines as text, the unfinished one too."""
        *ended, rest = b"".join(self._recent).split(b"\n")
        found = [line[: self._width] for line in [*ended[-self._lines :], *([rest] if rest else [])]]
        return [line.decode("utf-8", "backslashreplace").rstrip("\r") for line in found]


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
