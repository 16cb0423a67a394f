"""Run a formation: start it, merge its output, pass signals on, stop it within the deadline, leave nothing behind.

One thread, one selector, no process but the app's own. Signals arrive as bytes on a pipe, so that
every decision is taken in the loop.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from errno import EPIPE
from typing import Any, BinaryIO

from honcho.colour import get_colours
from honcho.manager import Manager

from deployer.runner.backlog import SHARE, is_waited_for
from deployer.runner.bounded import parse_port
from deployer.runner.child import Child
from deployer.runner.command import CommandError
from deployer.runner.ends import end_text, others_stop
from deployer.runner.flow import Flow
from deployer.runner.formation import Process
from deployer.runner.kernel import adopt_orphans, children, leftovers, signal_each
from deployer.runner.outlet import OutputError
from deployer.runner.printer import Printer
from deployer.runner.restart import POLICIES, decide
from deployer.runner.signals import FORWARDED, STOPPING, signals_as_bytes
from deployer.runner.spawn import fill_standard_fds
from deployer.runner.warden import MARK, Warden, hired

__all__ = ["STOP_TIMEOUT", "Event", "Supervisor"]

STOP_TIMEOUT = 25.0
"""Seconds between TERM and KILL: Heroku gives 30, and Docker is told to."""

OUTPUT_LOST = 70
"""Exit code where standard output is full; where its reader went away it is 141, as with SIGPIPE."""

# Processes of one formation often end together, a failing one a moment after one that ends well:
# this long a clean exit waits for the one that names the exit code.
_SETTLE = 0.1
_POLL = 0.05
OVERSLEPT = 0.02
"""Seconds after which this process was not let run, so that a partial line says nothing about its writer."""
_HOPELESS_AFTER = 5.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened to a process: `kind` is started, failed (to start), exited, stopped or restarting.

    ``exited`` comes when the leader ends, ``stopped`` when nothing of the process is left.
    """

    kind: str
    process: str
    pid: int = 0
    code: int = 0


class Supervisor(Manager):
    """Runs processes until the first one ends, a signal comes, or `stop` is called.

    `run` must be called in the main thread. While it runs, this process's children are its own: it
    reaps them all, and at the end stops what its processes left behind. `out` gets the merged
    output; `colour` None means on a terminal, unless NO_COLOR is set in `environ`. `stop_timeout` is
    in seconds. `narrate` off leaves out what the runner itself has to say. `on_output` sees each
    chunk a process writes, as it comes; `on_event` what happens. Both are called in the loop and
    must not block. `stop` and `restart_processes` may be called from any thread.
    """

    _printer: Printer
    _process_ctor: type[Child]

    def __init__(
        self,
        processes: Iterable[Process],
        *,
        out: BinaryIO,
        log_format: str = "text",
        colour: bool | None = None,
        environ: Mapping[str, str] | None = None,
        stop_timeout: float = STOP_TIMEOUT,
        restart: str = "no",
        narrate: bool = True,
        on_event: Callable[[Event], object] | None = None,
        on_output: Callable[[str, bytes], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        # Not Manager.__init__: it makes a multiprocessing.Queue for relay processes, which needs /dev/shm.
        if restart not in POLICIES:
            raise ValueError(f"restart is one of {', '.join(POLICIES)}, not {restart!r}")
        fill_standard_fds()
        self._processes: dict[str, dict[str, Any]] = {}
        self._process_ctor = Child
        self._colours = get_colours()  # type: ignore[no-untyped-call]
        if colour is None:
            colour = out.isatty() and not (environ if environ is not None else os.environ).get("NO_COLOR")
        self._flow = Flow(
            out, log_format=log_format, colour=colour, clock=clock, on_lost=self._on_output_lost, on_output=on_output
        )
        self._printer = self._flow.printer
        self._printer.narrates = narrate
        self._timeout, self._policy = stop_timeout, restart
        self._on_event = on_event
        self._now, self._jitter = clock, jitter
        self._wishes: deque[Callable[[], None]] = deque()
        self._wake_lock = threading.Lock()
        self._wake: int | None = None
        self.returncode: int | None = None
        self._ended: tuple[str, int] | None = None
        self._stop_after: float | None = None
        self._deadline: float | None = None
        self._wait_until: float | None = None
        self._interrupted_at: float | None = None
        self._swept = False
        self._sweep_kill_at: float | None = None
        self._mark = f"{os.getpid()}-{os.urandom(8).hex()}"
        self._warden = Warden()
        for process in processes:
            add: Callable[..., Child] = self.add_process  # which Honcho does not type
            child = add(process.name, process.command, env={**process.env, MARK: self._mark}, cwd=process.cwd)
            self._printer.add_source(child.name, child.colour)

    # What other threads may ask for

    def stop(self, code: int = 0) -> None:
        """Stop everything; `run` then returns `code`, unless a process had failed before."""
        self._ask(lambda: self._begin_stop(code))

    def restart_processes(self, names: Sequence[str]) -> None:
        """Stop these processes and start each again as soon as it is gone, without back-off."""
        self._ask(lambda: self._restart(names))

    def _ask(self, wish: Callable[[], None]) -> None:
        self._wishes.append(wish)
        with self._wake_lock:
            if self._wake is not None:
                self._wake_up(self._wake)

    @staticmethod
    def _wake_up(fd: int) -> None:
        with contextlib.suppress(BlockingIOError):  # it is full, so the loop is awake
            os.write(fd, b"\0")

    # The loop

    def run(self) -> int:
        """Start everything, block until nothing is left, and return the exit code.

        It is the first unrequested failure's, 128+N where that was a signal's or where signal N
        stopped the runner.
        """
        self.loop()
        return self.returncode or 0

    def loop(self) -> None:
        """Do as `run` does; Honcho's name for it. The exit code is in `returncode`."""
        with hired(self._mark, seconds=self._timeout) as self._warden:
            self._loop()

    def _loop(self) -> None:
        self._foreign = frozenset(children(os.getpid()))
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._flow.listen(reader, lambda: self._on_wake_up(reader))
        adopt_orphans()
        with self._wake_lock:
            self._wake = writer
        try:
            with signals_as_bytes(writer):
                self._start()
                self._turn_until_done()
        finally:
            self._kill_the_rest()
            with self._wake_lock:
                self._wake = None
            adopt_orphans(on=False)
            self._flow.close()
            os.close(reader)
            os.close(writer)

    def _kill_the_rest(self) -> None:
        """Leave nothing running where a callback raised; otherwise there is nothing left."""
        for child in self._children:
            if child.group_alive:
                child.signal_group(signal.SIGKILL)

    def _turn_until_done(self) -> None:
        self._grant_wishes()
        self._tick(self._now())
        while not self._done():
            now = self._now()
            due = self._next_due(now)
            paused = self._flow.paused
            self._flow.await_events(None if due is None else max(0.0, due - now))
            now = self._now()
            if paused or self._flow.paused or (due is not None and now - due > OVERSLEPT):
                # Our reader is slow, or this process (and maybe the whole container) was not let run.
                self._printer.postpone_partials(now)
            self._tick(now)

    def _done(self) -> bool:
        return self._at_rest() and self._swept and not self._flow.waiting

    def _at_rest(self) -> bool:
        return all(child.at_rest for child in self._children)

    @property
    def _children(self) -> list[Child]:
        return [entry["obj"] for entry in self._processes.values()]

    def _next_due(self, now: float) -> float | None:
        due = [child.next_due(now) for child in self._children]
        due += [self._printer.next_partial(), self._stop_after]
        if self._at_rest():
            due.append(self._deadline if self._swept else now + _POLL)
        if self._wait_until is not None:
            due.append(now + _POLL)
        return min((moment for moment in due if moment is not None), default=None)

    def _tick(self, now: float) -> None:
        for child in self._children:
            if child.start_at is not None and child.start_at <= now and self._stop_after is None:
                self._start_child(child, now)
            elif child.active:
                self._look_after(child, now)
        if self._stop_after is not None and self._stop_after <= now:
            self._begin_stop(0 if self._wait_until is None else 128 + signal.SIGTERM)
        if self._wait_until is not None and (self._wait_until <= now or not self._is_waited_for()):
            self._begin_stop(128 + signal.SIGTERM)
        self._printer.show_partials(now)
        if self._at_rest():
            self._sweep(now)
            if self._swept and self._deadline is not None and self._deadline <= now:
                self._flow.discard()  # it was told to stop, and nobody reads

    def _on_wake_up(self, reader: int) -> None:
        signals = os.read(reader, 4096)
        self._reap(self._now())  # first: who ended before the signal was not stopped by it
        for number in signals:
            self._on_signal(number, self._now())
        self._grant_wishes()

    def _grant_wishes(self) -> None:
        while self._wishes:
            self._wishes.popleft()()

    # Signals

    def _on_signal(self, number: int, now: float) -> None:
        if number in STOPPING:
            self._printer.system(f"{signal.Signals(number).name} received")
            if number == signal.SIGTERM and self._wait_until is None and self._is_waited_for():
                self._wait_until = now + self._timeout * SHARE
                self._printer.system("waiting until the requests in the queue are taken")
            else:
                self._begin_stop(128 + number)
        if number == signal.SIGINT:
            if self._interrupted_at is None:
                self._interrupted_at = now
            elif now - self._interrupted_at >= 1.0:  # sooner it may be the same key press, sent twice
                self.kill()
        elif number in FORWARDED:
            for child in self._children:
                child.signal_leader(number)
        elif number == signal.SIGTSTP:
            self._suspend()

    def _is_waited_for(self) -> bool:
        ports = {parse_port(child.process.env.get("PORT", "")) for child in self._children if child.group_alive}
        return is_waited_for({port for port in ports if port is not None})

    def _suspend(self) -> None:
        """Stop with the terminal's Ctrl-Z. The processes have sessions of their own, where TSTP is ignored: STOP."""
        running = [child for child in self._children if child.group_alive]
        for child in running:
            child.signal_group(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        for child in running:
            child.signal_group(signal.SIGCONT)

    # Starting and ending

    def _start(self) -> None:
        for child in self._children:
            child.start_at = self._now()

    def _start_child(self, child: Child, now: float) -> None:
        self._swept = False
        try:
            child.start(now)
        except CommandError as error:
            self._printer.system(f"{child.name} could not be started: {error}")
            self._tell("failed", child, error.code)
            child.start_at = None
            self._judge(child, error.code, now)
            self._plan_restart(child, now)
            return
        self._warden.watch(child.pid)
        self._printer.system(f"{child.name} started (pid={child.pid})")
        self._tell("started", child)
        self._flow.add(child)

    def _reap(self, now: float) -> None:
        """Collect every child that ended, orphans that came to us included."""
        by_pid = {child.pid: child for child in self._children if child.leader_alive}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in by_pid:
                code = os.waitstatus_to_exitcode(status)
                self._on_exit(by_pid[pid], code if code >= 0 else 128 - code, now)

    def _on_exit(self, child: Child, code: int, now: float) -> None:
        child.leader_exited(code)
        self._tell("exited", child, code)
        if not child.asked_to_stop:
            self._judge(child, code, now)
        child.look_at_group(now)
        if child.ask_to_stop(self._deadline or now + self._timeout):
            self._printer.system(f"sending SIGTERM to what {child.name} left running")

    def _judge(self, child: Child, code: int, now: float) -> None:
        """Decide what an exit that nobody asked for means for the process and for all."""
        uptime = now - child.started_at if child.active else 0.0
        verdict = decide(self._policy, child.history, code, uptime, self._jitter)
        child.history, child.delay = verdict.history, verdict.delay
        if verdict.reason:
            self._printer.system(f"{child.name} is not started again: {verdict.reason}")
        if verdict.delay is not None:
            return
        self.returncode = self.returncode or code
        if self._policy == "no" or code:
            self._stop_after = min(self._stop_after or now + _SETTLE, now + _SETTLE * (code == 0))
            if self._ended is None or (code and not self._ended[1]):
                self._ended = child.name, code

    def _look_after(self, child: Child, now: float) -> None:
        child.look_at_group(now)
        if child.kill_at is not None and child.kill_at <= now:
            self._kill(child, now)
        if child.drain_until is not None and child.drain_until <= now and child.output is not None:
            if self._flow.paused and not self._overdue(now):
                child.drain_until = now + _SETTLE  # it is our reader who is slow
            else:
                self._flow.end(child)
        if child.gone:
            self._on_end(child, now)

    def _on_end(self, child: Child, now: float) -> None:
        child.active = False
        self._warden.forget(child.pid)
        self._processes[child.name]["returncode"] = child.code
        self._printer.end(child.name)
        self._printer.system(f"{child.name} stopped (rc={child.code})")
        self._tell("stopped", child, child.code)
        self._plan_restart(child, now)

    def _plan_restart(self, child: Child, now: float) -> None:
        if child.delay is None or self._deadline is not None:
            return
        child.start_at, child.delay = now + child.delay, None
        if child.start_at > now:
            self._printer.system(f"{child.name} starts again in {child.start_at - now:.0f} s")
        self._tell("restarting", child, child.code)

    def _restart(self, names: Sequence[str]) -> None:
        for child in self._children:
            if child.name in names and self._deadline is None:
                child.delay = 0.0
                if child.active:
                    self._ask_to_stop(child, self._now() + self._timeout)
                else:
                    self._plan_restart(child, self._now())

    def _begin_stop(self, code: int) -> None:
        if self._deadline is not None:
            return
        if self._ended is not None and self._stop_after is not None:
            name, ended = self._ended
            if any(child.active for child in self._children if child.name != name):
                self._printer.system(others_stop(name, f"it {end_text(ended)}"))
        now = self._now()
        self._reap(now)
        self.returncode = self.returncode or code
        self._stop_after = self._wait_until = None
        self._deadline = now + self._timeout
        for child in self._children:
            child.start_at = child.delay = None
            if child.active:
                self._ask_to_stop(child, self._deadline)

    def _ask_to_stop(self, child: Child, deadline: float) -> None:
        if child.ask_to_stop(deadline):
            self._printer.system(f"sending SIGTERM to {child.name} (pid {child.pid})")

    def kill(self) -> None:
        """Stop everything at once, with KILL."""
        self._begin_stop(0)
        now = self._deadline = self._now()
        self._sweep_kill_at = self._sweep_kill_at and now
        for child in self._children:
            child.kill_at = now if child.group_alive else None

    def _kill(self, child: Child, now: float) -> None:
        if child.kills == 0:
            self._printer.system(f"sending SIGKILL to {child.name} (pid {child.pid})")
        if not child.kill(now):
            self._printer.system(f"{child.name} (pid {child.pid}) cannot be killed; it is left running")

    def _overdue(self, now: float) -> bool:
        return self._deadline is not None and self._deadline <= now

    def _sweep(self, now: float) -> None:
        """Stop descendants that left their process's group: TERM, and KILL at the deadline."""
        left = leftovers(self._foreign)
        self._swept = not left
        if self._swept:
            return
        if self._sweep_kill_at is None:
            self._sweep_kill_at = max(now + 1.0, self._deadline or now + self._timeout)
            self._printer.system(f"sending SIGTERM to {len(left)} left running in sessions of their own")
            signal_each(left, signal.SIGTERM)
        elif now >= self._sweep_kill_at + _HOPELESS_AFTER:
            self._swept = True
        elif now >= self._sweep_kill_at:
            signal_each(left, signal.SIGKILL)

    def _tell(self, kind: str, child: Child, code: int = 0) -> None:
        if self._on_event is not None:
            self._on_event(Event(kind=kind, process=child.name, pid=child.pid, code=code))

    def _on_output_lost(self, error: OutputError) -> None:
        if error.errno == EPIPE:  # as with `| head`: no news to whoever closed it
            self._begin_stop(128 + signal.SIGPIPE)
            return
        with contextlib.suppress(OSError):
            os.write(2, f"error: standard output cannot be written to: {error}\n".encode())
        self._begin_stop(OUTPUT_LOST)
