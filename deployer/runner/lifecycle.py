"""Decide what a formation in the foreground does next, from what happened and what time it is. Pure: no I/O.

`supervisor` reports the events and carries out the actions, on processes or on containers. All times are monotonic
seconds.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Collection, Iterable

from deployer.runner.backlog import SHARE
from deployer.runner.restart import POLICIES, decide
from deployer.runner.signals import FORWARDED, STOPPING
from deployer.runner.stage import Action, Pace, Stage, end_text

_TERM_AGAIN = 0.5
_SAME_KEY_PRESS = 1.0
_HOPELESS_AFTER = 5.0


class Lifecycle:
    """The states of a formation's places, which turn events into `actions`, to be done in their order.

    `restart` is a policy of `restart.POLICIES`. With `holds` a process that fails waits until `restart` is called for
    it, and the others go on. `jitter` returns a number from 0 up to 1.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        pace: Pace,
        stop_timeout: float,
        restart: str,
        holds: bool,
        jitter: Callable[[], float],
    ) -> None:
        if restart not in POLICIES:
            raise ValueError(f"restart is one of {', '.join(POLICIES)}, not {restart!r}")
        self._stages = {name: Stage(name) for name in names}
        self._pace, self._timeout, self._policy, self._holds = pace, stop_timeout, restart, holds
        self._jitter = jitter
        self.actions: deque[Action] = deque()
        self.code = 0
        self.ended: Action | None = None
        """The ``down`` because of which the others are stopped, or would be."""
        self.deadline: float | None = None
        self.swept = True
        self._stop_after: float | None = None
        self._wait_until: float | None = None
        self._interrupted_at: float | None = None
        self._strays_kill_at: float | None = None
        self._strays_given_up_at = 0.0

    # Questions

    @property
    def stopping(self) -> bool:
        """True once everything is being stopped, also while requests in the queue are still waited for."""
        return self.deadline is not None or self.waits_for_queue

    @property
    def waits_for_queue(self) -> bool:
        """True while TERM waits until the requests in the queue are taken; `queue_taken` ends that."""
        return self._wait_until is not None

    @property
    def at_rest(self) -> bool:
        """True if nothing is left of any place, and nothing is planned."""
        return all(not stage.active and stage.start_at is None for stage in self._stages.values())

    @property
    def done(self) -> bool:
        """True once there is nothing left to do."""
        held = any(stage.held for stage in self._stages.values())
        return self.at_rest and self.swept and (self.deadline is not None or not held)

    def is_overdue(self, now: float) -> bool:
        """Return True if the time to stop in order is over."""
        return self.deadline is not None and self.deadline <= now

    def expects(self, name: str) -> bool:
        """Return True if this process is meant to run, or to run again."""
        stage = self._stages[name]
        return not self.stopping and not stage.held and (stage.active or stage.start_at is not None)

    def next_due(self) -> float | None:
        """Return when `tick` has something to do without any event."""
        due = [self._stop_after, self._wait_until]
        for stage in self._stages.values():
            due += [stage.term_at, stage.kill_at]
            due += [stage.start_at] * (self._stop_after is None) + [stage.drain_until] * stage.open
        return min((moment for moment in due if moment is not None), default=None)

    # Events

    def begin(self, now: float) -> None:
        """Start every place."""
        for stage in self._stages.values():
            stage.start_at = now

    def started(self, name: str, now: float, *, label: str, tag: str = "") -> None:
        """Record that a place has started; messages say `label` once, and `tag` after its name from now on."""
        stage = self._stages[name]
        stage.started, stage.started_at, stage.tag = True, now, tag
        self.say(f"{name} started ({label})")
        self._act("started", stage.name, stage.code)
        if stage.kills:  # while it was being started, so that nothing was there to be killed
            self._act("signal", name, signal.SIGKILL)
        elif stage.asked:
            stage.term_at = now + _TERM_AGAIN

    def not_started(self, name: str, code: int, why: str, now: float) -> None:
        """Record that a place's command cannot be started, which counts as an exit."""
        stage = self._stages[name]
        stage.rest()
        stage.active, stage.open, stage.code = False, False, code
        self.say(f"{name} could not be started: {why}")
        self._act("failed", stage.name, stage.code)
        self._judge(stage, now, f"it {end_text(code)}", uptime=0.0)
        self._plan_restart(stage, now)

    def refused(self, name: str, code: int, now: float) -> None:
        """Record that the engine refused to start a place, which stops everything."""
        stage = self._stages[name]
        stage.rest()
        stage.code, stage.drain_until = code, now + self._pace.drain
        self.stop(code, now)

    def wrote(self, name: str) -> None:
        """Record that a place has written something."""
        self._stages[name].heard = True

    def exited(self, name: str, code: int, now: float, *, left: bool = False, told: str = "") -> None:
        """Record that a place's main process has ended; `told` says how, and `left` is true if others still run."""
        stage = self._stages[name]
        stage.leads, stage.code = False, code
        self._act("exited", stage.name, stage.code)
        if not stage.asked:
            self._judge(stage, now, told or f"it {end_text(code)}", uptime=now - stage.started_at)
        if not left:
            stage.rest()
            stage.drain_until = now + self._pace.drain
        elif stage.kill_at is None:
            stage.asked, stage.kill_at = True, self.deadline or now + self._timeout
            self._act("signal", name, signal.SIGTERM)
            self.say(f"sending SIGTERM to what {name} left running")

    def vacated(self, name: str, now: float) -> None:
        """Record that nothing is left of a place but perhaps its output."""
        stage = self._stages[name]
        stage.rest()
        stage.vacant = True
        if stage.drain_until is None:
            stage.drain_until = now + self._pace.drain
        self._end_if_gone(stage, now)

    def closed(self, name: str, now: float) -> None:
        """Record that a place's output has ended."""
        stage = self._stages[name]
        stage.open = False
        self._end_if_gone(stage, now)

    def signalled(self, number: int, now: float, *, queued: bool = False) -> None:
        """Handle a signal; `queued` is true if requests wait until a process accepts them."""
        if number in STOPPING:
            self.say(f"{signal.Signals(number).name} received")
            if number == signal.SIGTERM and queued and not self.stopping:
                self._wait_until = now + self._timeout * SHARE
                self.say("waiting until the requests in the queue are taken")
            else:
                self.stop(128 + number, now)
        if number == signal.SIGINT:
            if self._interrupted_at is None:
                self._interrupted_at = now
            elif now - self._interrupted_at >= _SAME_KEY_PRESS:  # a key press may be sent twice
                self._kill_all(now)
        elif number in FORWARDED:
            for stage in self._stages.values():
                if stage.leads:
                    self._act("signal", stage.name, number)

    def queue_taken(self, now: float) -> None:
        """Record that all requests in the queue are taken."""
        if self.waits_for_queue:
            self.stop(128 + signal.SIGTERM, now)

    def stray(self, count: int, now: float) -> None:
        """Handle `count` descendants that belong to no place: they get TERM, and KILL at the deadline."""
        self.swept = not count
        if not count:
            self._strays_kill_at = None
        elif self._strays_kill_at is None:
            self._strays_kill_at = max(now + 1.0, self.deadline or now + self._timeout)
            self._strays_given_up_at = self._strays_kill_at + _HOPELESS_AFTER
            self.say(f"sending SIGTERM to {count} left running in sessions of their own")
            self._act("strays", number=signal.SIGTERM)
        elif now >= self._strays_given_up_at:
            self.swept = True
        elif now >= self._strays_kill_at:
            self._act("strays", number=signal.SIGKILL)

    def start_next(self, now: float) -> bool:
        """Start one place that is due; False if there is none. The next start may depend on how this one goes."""
        for stage in self._stages.values():
            if stage.start_at is not None and stage.start_at <= now and self._stop_after is None:
                stage.begin()
                self.swept = False
                self._act("start", stage.name)
                return True
        return False

    def tick(self, now: float, *, stalled: bool = False) -> None:
        """Do everything else that is due; `stalled` is true if nobody reads the output."""
        for stage in self._stages.values():
            self._look_after(stage, now, stalled=stalled)
        if self._stop_after is not None and self._stop_after <= now:
            self.stop(128 + signal.SIGTERM if self.waits_for_queue else 0, now)
        if self._wait_until is not None and self._wait_until <= now:
            self.queue_taken(now)

    # Requests

    def stop(self, code: int, now: float) -> None:
        """Stop everything; `code` becomes the exit code, unless a process had failed before."""
        if self.deadline is not None:
            return
        if self.ended is not None and self._stop_after is not None:
            ended = self.ended
            if any(stage.runs for stage in self._stages.values() if stage.name != ended.place):
                self.say(f"{ended.place} ended ({ended.text}), so the others are stopped")
        self.code = self.code or code
        self._stop_after = self._wait_until = None
        self.deadline = now + self._timeout
        for stage in self._stages.values():
            stage.start_at = stage.delay = None
            self._ask_to_stop(stage, self.deadline, now)

    def restart(self, names: Collection[str], now: float) -> None:
        """Stop these and those that are held, and start each again once it is gone, without back-off."""
        if self.deadline is not None:
            return
        for stage in self._stages.values():
            if stage.name in names or stage.held:
                stage.held, stage.delay = False, 0.0
                if stage.active:
                    self._ask_to_stop(stage, now + self._timeout, now)
                else:
                    self._plan_restart(stage, now)

    def say(self, text: str) -> None:
        """Print a line of the runner's own, after the actions that were decided before."""
        self._act("say", text=text)

    # Decisions

    def _judge(self, stage: Stage, now: float, told: str, *, uptime: float) -> None:
        """Decide what follows from an unrequested exit, for the process and for all."""
        code = stage.code
        if self._holds and code and self._policy == "no" and not self.stopping:
            stage.held = True
            self.say(f"{stage.name} {end_text(code)}; it starts again when a file changes")
            return
        verdict = decide(self._policy, stage.history, code, uptime, self._jitter)
        stage.history, stage.delay = verdict.history, verdict.delay
        if verdict.reason:
            self.say(f"{stage.name} is not started again: {verdict.reason}")
        if verdict.delay is not None:
            return
        self.code = self.code or code
        down = Action(kind="down", place=stage.name, number=code, text=told)
        self.actions.append(down)
        if self._policy == "no" or code:
            settle = self._pace.settle
            self._stop_after = min(self._stop_after or now + settle, now + settle * (code == 0))
            if self.ended is None or (code and not self.ended.number):
                self.ended = down

    def _look_after(self, stage: Stage, now: float, *, stalled: bool) -> None:
        if stage.term_at is not None and stage.term_at <= now:
            self._send_term(stage, now)
        if stage.kill_at is not None and stage.kill_at <= now:
            self._kill(stage, now, stalled=stalled)
        if stage.open and stage.drain_until is not None and stage.drain_until <= now:
            if stalled and not self.is_overdue(now):
                stage.drain_until = now + self._pace.settle  # the reader is slow, not the place
            else:
                stage.drain_until = None
                self._act("close", stage.name)

    def _end_if_gone(self, stage: Stage, now: float) -> None:
        if not stage.active or stage.open or not stage.vacant:
            return
        stage.active = False
        self._act("end", stage.name)
        self.say(f"{stage.name} {f'stopped (rc={stage.code})' if stage.started else 'did not start'}")
        self._act("stopped", stage.name, stage.code)
        self._plan_restart(stage, now)

    def _plan_restart(self, stage: Stage, now: float) -> None:
        if stage.delay is None or self.deadline is not None:
            return
        stage.start_at = now + stage.delay
        if stage.delay:
            self.say(f"{stage.name} starts again in {stage.delay:.0f} s")
        stage.delay = None
        self._act("restarting", stage.name, stage.code)

    def _ask_to_stop(self, stage: Stage, deadline: float, now: float) -> None:
        if stage.asked or not stage.runs:
            return
        stage.asked, stage.kill_at = True, deadline
        self._send_term(stage, now)
        if stage.started:
            self.say(f"sending SIGTERM to {stage.name}{stage.tag}")

    def _send_term(self, stage: Stage, now: float) -> None:
        # Again only while the first TERM may be lost: a second TERM ends a Python that is just shutting down with 143.
        deaf = stage.started and not stage.heard and now < stage.started_at + self._pace.deaf
        stage.term_at = now + _TERM_AGAIN if deaf else None
        self._act("signal", stage.name, signal.SIGTERM)

    def _kill(self, stage: Stage, now: float, *, stalled: bool) -> None:
        stage.kills += 1
        stage.term_at, stage.kill_at = None, now + self._pace.kill_again
        if stage.kills > self._pace.kills:
            stage.code = 128 + signal.SIGKILL
            self._act("abandon", stage.name)
            if self._pace.cuts:
                self._act("close", stage.name)
            self.vacated(stage.name, now)
            return
        if stage.kills == 1:
            self.say(f"sending SIGKILL to {stage.name}{stage.tag}")
        if stalled and self._pace.cuts:
            self._act("close", stage.name)
        self._act("signal", stage.name, signal.SIGKILL)

    def _kill_all(self, now: float) -> None:
        self.deadline = now
        self._strays_kill_at = self._strays_kill_at and now
        for stage in self._stages.values():
            if stage.runs and not stage.kills:
                stage.kill_at = now

    def _act(self, kind: str, place: str = "", number: int = 0, *, text: str = "") -> None:
        self.actions.append(Action(kind=kind, place=place, number=number, text=text))
