"""Run a formation in the foreground: start it, merge its output, pass signals on, and stop it within the deadline.

One thread and one selector carry out what `lifecycle` decides, on places that are processes (`processes`) or
containers (`deployer.engines.docker.ground`). Signals arrive as bytes on a pipe, so that the loop handles them.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from errno import EPIPE
from types import FrameType
from typing import BinaryIO, Protocol

from deployer.runner.command import CommandError
from deployer.runner.flow import Flow, Source
from deployer.runner.kernel import signal_each
from deployer.runner.lifecycle import Lifecycle
from deployer.runner.outlet import OutputError
from deployer.runner.signals import FORWARDED, STOPPING, Wakeup, catching, leave_to_the_loop
from deployer.runner.stage import Action, Pace

STOP_TIMEOUT = 25.0
"""Seconds between TERM and KILL: Heroku gives 30, and the documentation asks for `docker stop -t 30`."""

OUTPUT_LOST = 70
"""Exit code if standard output is full. If its reader went away it is 141, as with SIGPIPE."""

_POLL = 0.05
_OVERSLEPT = 0.02
"""Seconds after which this process was not let run, so that a partial line says nothing about its writer."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run: seconds between TERM and KILL, restart policy, log format.

    `colour` None means on a terminal, unless NO_COLOR is set. Without `narrate` the runner's own lines are left out.
    """

    stop_timeout: float = STOP_TIMEOUT
    restart: str = "no"
    log_format: str = "text"
    colour: bool | None = None
    narrate: bool = True


class Place(Source, Protocol):
    """The place of one process of the formation, over all the times it is started."""

    def start(self) -> str | None:
        """Start it; return what identifies it, as in ``pid=7``, or None if it reports later. Raises CommandError."""

    def signal(self, number: int) -> None:
        """Send TERM or KILL to all of it, any other signal to its main process."""

    def abandon(self) -> str:
        """Give it up; return the text that says so."""

    def end(self) -> None:
        """Forget what identifies it, since nothing of it is left."""


class Ground:
    """The part that places of one kind share. This base has nothing to look after: its places report by themselves."""

    pace: Pace
    places: Sequence[Place] = ()
    holds: bool = False
    """With it a process that fails waits for `Supervisor.restart`, and the others go on."""
    failure: Exception | None = None
    """The error that stopped everything, for the caller of `run`."""

    def open(self, supervisor: Supervisor) -> contextlib.AbstractContextManager[object]:
        """Prepare for a run; at its end nothing may be left."""
        return contextlib.nullcontext(supervisor)

    def look(self, now: float) -> None:
        """Report what has ended."""

    def next_look(self, now: float) -> float | None:
        """Return when to look without any event."""

    def strays(self) -> list[int]:
        """Return descendants that are in no place."""
        return []

    def is_queue_waiting(self) -> bool:
        """Tell whether requests wait until a process accepts them."""
        return False

    def suspend(self) -> None:
        """Stop with the terminal's Ctrl-Z, and go on later."""


class Supervisor:
    """Runs the places of a ground until the first one ends, a signal comes, or `stop` is called.

    `out` gets the merged output. `on_output` sees each chunk as it comes, and `on_event` each event. Both are called in
    the loop and must not block. `ask`, `stop`, `restart` and `say` may be called from any thread.
    """

    def __init__(
        self,
        ground: Ground,
        settings: Settings,
        *,
        out: BinaryIO,
        environ: Mapping[str, str] | None = None,
        on_event: Callable[[Action], object] = lambda _action: None,
        on_output: Callable[[str, bytes], object] = lambda _name, _chunk: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ground, self._settings, self.now = ground, settings, clock
        self._places = {place.name: place for place in ground.places}
        self._on_event, self._on_output = on_event, on_output
        colour = settings.colour
        if colour is None:
            colour = out.isatty() and not (environ if environ is not None else os.environ).get("NO_COLOR")
        self._flow = Flow(
            out,
            log_format=settings.log_format,
            colour=colour,
            clock=clock,
            on_lost=self._on_output_lost,
            on_output=self._take_output,
            on_end=lambda name: self.lifecycle.closed(name, self.now()),
        )
        self._printer = self._flow.printer
        self._printer.narrates = settings.narrate
        for name in self._places:
            self._printer.add_source(name)
        self.lifecycle = Lifecycle(
            self._places,
            pace=ground.pace,
            stop_timeout=settings.stop_timeout,
            restart=settings.restart,
            holds=ground.holds,
            jitter=random.random,
        )
        self._wishes: deque[Callable[[], object]] = deque()
        self._wakeup: Wakeup | None = None

    @property
    def stop_timeout(self) -> float:
        """Seconds between TERM and KILL."""
        return self._settings.stop_timeout

    # Requests, from any thread

    def ask(self, wish: Callable[[], object]) -> None:
        """Let the loop call `wish`."""
        self._wishes.append(wish)
        if self._wakeup is not None:
            self._wakeup.wake()

    def stop(self, code: int = 0) -> None:
        """Stop everything; `run` then returns `code`, unless a process had failed before."""
        self.ask(lambda: self.lifecycle.stop(code, self.now()))

    def restart(self, names: Collection[str]) -> None:
        """Stop these processes and start each again as soon as it is gone, without back-off."""
        self.ask(lambda: self.lifecycle.restart(names, self.now()))

    def say(self, text: str) -> None:
        """Print a line of the runner's own."""
        self.ask(lambda: self._printer.system(text))

    # The loop

    def run(self, stopping: Callable[[int, FrameType | None], object] = leave_to_the_loop) -> int:
        """Start everything, block until nothing is left, and return the exit code. Call it in the main thread.

        The code is the first unrequested failure's, or 128+N if signal N ended it or stopped the run. `stopping` is the
        handler of the signals that stop it.
        """
        caught = (*STOPPING, *FORWARDED, signal.SIGTSTP, signal.SIGCHLD)
        with contextlib.ExitStack() as exits:
            exits.callback(self._flow.close)
            self._wakeup = exits.enter_context(catching(caught, stopping))
            exits.enter_context(self._ground.open(self))
            exits.callback(lambda: self.lifecycle.stop(0, self.now()))  # also if a callback raised
            self._flow.listen(self._wakeup.reader, self._on_wake_up)
            self.lifecycle.begin(self.now())
            self._grant_wishes()
            self._tick(self.now())
            while not self.lifecycle.done or self._flow.waiting:
                self._turn()
        return self.lifecycle.code

    def _turn(self) -> None:
        now, paused = self.now(), self._flow.paused
        due = self._next_due(now)
        self._flow.await_events(None if due is None else max(0.0, due - now))
        now = self.now()
        if paused or self._flow.paused or (due is not None and now - due > _OVERSLEPT):
            # Our reader is slow, or this process (and maybe the whole container) was not let run.
            self._printer.postpone_partials(now)
        self._tick(now)

    def _next_due(self, now: float) -> float | None:
        lifecycle = self.lifecycle
        due = [lifecycle.next_due(), self._printer.next_partial(), self._ground.next_look(now)]
        if lifecycle.at_rest:
            due.append(lifecycle.deadline if lifecycle.swept else now + _POLL)
        if lifecycle.waits_for_queue:
            due.append(now + _POLL)
        return min((moment for moment in due if moment is not None), default=None)

    def _tick(self, now: float) -> None:
        lifecycle = self.lifecycle
        self._ground.look(now)
        if lifecycle.waits_for_queue and not self._ground.is_queue_waiting():
            lifecycle.queue_taken(now)
        self._carry_out()
        while lifecycle.start_next(now):
            self._carry_out()
        lifecycle.tick(now, stalled=self._flow.paused)
        self._carry_out()
        self._printer.show_partials(now)
        if lifecycle.at_rest and not lifecycle.swept:
            lifecycle.stray(len(self._ground.strays()), now)
            self._carry_out()
        if lifecycle.at_rest and lifecycle.swept and lifecycle.is_overdue(now):
            self._flow.discard()  # it has to stop, and nobody reads

    def _on_wake_up(self) -> None:
        assert self._wakeup is not None
        numbers = self._wakeup.drain()
        self._ground.look(self.now())  # first: a process that ended before the signal was not stopped by it
        for number in numbers:
            if number == signal.SIGTSTP:
                self._ground.suspend()
            queued = number == signal.SIGTERM and self._ground.is_queue_waiting()
            self.lifecycle.signalled(number, self.now(), queued=queued)
        self._grant_wishes()

    def _grant_wishes(self) -> None:
        while self._wishes:
            self._wishes.popleft()()

    # Decisions of the lifecycle

    def _carry_out(self) -> None:
        while self.lifecycle.actions:
            self._do(self.lifecycle.actions.popleft())

    def _do(self, action: Action) -> None:
        match action.kind:
            case "say":
                self._printer.system(action.text)
            case "strays":
                signal_each(self._ground.strays(), action.number)
            case "start":
                self._start(self._places[action.place])
            case "signal":
                self._places[action.place].signal(action.number)
            case "abandon":
                self._printer.system(self._places[action.place].abandon())
            case "close":
                self._flow.end(self._places[action.place])
            case "end":
                self._printer.end(action.place)
                self._places[action.place].end()
            case _:
                self._on_event(action)

    def _start(self, place: Place) -> None:
        try:
            label = place.start()
        except CommandError as error:
            self.lifecycle.not_started(place.name, error.code, str(error), self.now())
            return
        self._flow.add(place)
        if label is not None:
            self.lifecycle.started(place.name, self.now(), label=label, tag=f" ({label.replace('=', ' ')})")

    def _take_output(self, name: str, chunk: bytes) -> None:
        self.lifecycle.wrote(name)
        self._on_output(name, chunk)

    def _on_output_lost(self, error: OutputError) -> None:
        lost_reader = error.errno == EPIPE  # as with `| head`: no news to anyone who closed it
        if not lost_reader:
            with contextlib.suppress(OSError):
                os.write(2, f"error: standard output cannot be written to: {error}\n".encode())
        self.lifecycle.stop(128 + signal.SIGPIPE if lost_reader else OUTPUT_LOST, self.now())
