"""The values of a formation's lifecycle: the state of a place, the actions on it, and how it ended."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass

from deployer.runner.restart import History


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How quickly places of one kind react, in seconds.

    A clean exit waits `settle` for a failing one, which then names the exit code. Output is read for `drain` after the
    end. `kills` are sent `kill_again` apart before the place is given up. TERM may be lost for `deaf` after the start,
    unless the place has written something. With `cuts` an output that nobody reads is closed before KILL is sent, and
    so is the output of a place that is given up.
    """

    settle: float
    drain: float
    kills: int
    kill_again: float
    deaf: float = 0.0
    cuts: bool = False


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something to do, or an event for observers.

    To do: ``start``, ``signal`` (with `number`), ``abandon``, ``close`` (the output of) or ``end`` a `place`; send
    ``strays`` the signal `number`; ``say`` a `text`. Events of a place, with its exit code as `number`: ``started``,
    ``failed`` (to start), ``exited`` (its main process), ``down`` (an unrequested end without a restart; `text` says
    how it ended), ``stopped`` (nothing is left), ``restarting``.
    """

    kind: str
    place: str = ""
    number: int = 0
    text: str = ""


class Stage:
    """The state of one place, over all the times its process is started.

    `active` is from the start until nothing is left. `leads` is until its main process has ended, `runs` until all of
    them have. `tag` follows its name in messages.
    """

    def __init__(self, name: str) -> None:
        self.name, self.tag, self.code = name, "", 0
        self.active = self.leads = self.runs = self.open = False
        self.started = self.heard = self.asked = self.vacant = self.held = False
        self.kills = 0
        self.history = History()
        self.started_at = 0.0
        self.start_at: float | None = None
        self.term_at: float | None = None
        self.kill_at: float | None = None
        self.drain_until: float | None = None
        self.delay: float | None = None

    def begin(self) -> None:
        """Start from the beginning."""
        self.code = self.kills = 0
        self.start_at = self.term_at = self.kill_at = self.drain_until = self.delay = None
        self.started = self.heard = self.asked = self.vacant = self.held = False
        self.active = self.leads = self.runs = self.open = True

    def rest(self) -> None:
        """Record that nothing of it runs any more."""
        self.leads = self.runs = False
        self.term_at = self.kill_at = None


def end_text(code: int) -> str:
    """Say how a process ended, from its exit code; 128 and a signal's number mean that signal."""
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(code - 128).name}"
    return f"exited with {code}"
