"""Processes as the places of a formation. Each leads a session and a group, which ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from deployer.runner.backlog import is_waited_for
from deployer.runner.bounded import parse_port
from deployer.runner.formation import Process
from deployer.runner.kernel import adopt_orphans, children, leftovers
from deployer.runner.signals import FORWARDED
from deployer.runner.spawn import fill_standard_fds, spawn
from deployer.runner.stage import Pace
from deployer.runner.supervisor import Ground, Supervisor
from deployer.runner.warden import MARK, Warden, hired

PACE = Pace(settle=0.1, drain=1.0, kills=5, kill_again=1.0)
"""Processes of one formation often end together, and a daemon may hold the output open."""

_POLL = 0.05


class ProcessPlace:
    """One process of this machine: its leader, its group, and the pipe of its output.

    `leads` and `runs` differ if the leader is a shell: the server may finish requests after the shell has ended.
    """

    quiet = False

    def __init__(self, process: Process, ground: Processes) -> None:
        self.process, self.name, self._ground = process, process.name, ground
        self.pid = 0
        self.output: int | None = None
        self.leads = self.runs = False

    def start(self) -> str:
        """Start the process; raises CommandError."""
        self.pid, self.output = spawn(self.process)
        self.leads = self.runs = True
        self._ground.warden.watch(self.pid)
        return f"pid={self.pid}"

    @property
    def has_group(self) -> bool:
        """True if anyone is left in the process group."""
        return self._send(-self.pid, 0)

    def signal(self, number: int) -> None:
        """Send a signal to the whole group, but one for the app to its leader alone."""
        if number not in FORWARDED:
            self._send(-self.pid, number)
        elif self.leads:
            self._send(self.pid, number)

    @staticmethod
    def _send(pid: int, number: int) -> bool:
        try:
            os.kill(pid, number)
        except OSError:
            return False
        return True

    def abandon(self) -> str:
        """Give up another user's process, or one that hangs in the kernel."""
        self.leads = self.runs = False
        return f"{self.name} (pid {self.pid}) cannot be killed; it is left running"

    def close_output(self) -> None:
        """Close the pipe; a process that still writes to it gets EPIPE."""
        if self.output is not None:
            os.close(self.output)
            self.output = None

    def end(self) -> None:
        """Have the warden forget the pid, which the system may give to another process."""
        self._ground.warden.forget(self.pid)


class Processes(Ground):
    """Processes of this machine. During a run this process's children are theirs: it reaps them all."""

    pace = PACE
    places: Sequence[ProcessPlace]

    def __init__(self, processes: Iterable[Process]) -> None:
        fill_standard_fds()
        self._mark = f"{os.getpid()}-{os.urandom(8).hex()}"
        marked = [replace(process, env={**process.env, MARK: self._mark}) for process in processes]
        self.places = [ProcessPlace(process, self) for process in marked]
        self.warden = Warden()
        self._foreign: frozenset[int] = frozenset()

    @contextlib.contextmanager
    def open(self, supervisor: Supervisor) -> Iterator[None]:
        """Adopt orphans, and hire a warden; nothing runs any more at the end, even if a callback raised."""
        self._lifecycle = supervisor.lifecycle
        with hired(self._mark, seconds=supervisor.stop_timeout) as self.warden:
            self._foreign = frozenset(children(os.getpid()))
            adopt_orphans()
            try:
                yield
            finally:
                for place in self.places:
                    if place.runs:
                        place.signal(signal.SIGKILL)
                adopt_orphans(on=False)

    def look(self, now: float) -> None:
        """Reap every child that ended, adopted orphans too, and report groups of which nobody is left.

        The number of a group that is gone is never used again: the system may give it to another one.
        """
        for pid, code in self._reap():
            place = next((place for place in self.places if place.leads and place.pid == pid), None)
            if place is not None:
                place.leads = False
                self._lifecycle.exited(place.name, code, now, left=place.has_group)
        for place in self.places:
            if place.runs and not place.leads and not place.has_group:
                place.runs = False
                self._lifecycle.vacated(place.name, now)

    @staticmethod
    def _reap() -> Iterator[tuple[int, int]]:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                code = os.waitstatus_to_exitcode(status)
                yield pid, code if code >= 0 else 128 - code

    def next_look(self, now: float) -> float | None:
        """Return when to look again for a group whose leader has ended: no signal reports the end of the others."""
        return now + _POLL if any(place.runs and not place.leads for place in self.places) else None

    def strays(self) -> list[int]:
        """Return descendants that left the group of their process."""
        return leftovers(self._foreign)

    def is_queue_waiting(self) -> bool:
        """Return True if a connection to one of the ports is not accepted yet."""
        ports = {parse_port(place.process.env.get("PORT", "")) for place in self.places if place.runs}
        return is_waited_for({port for port in ports if port is not None})

    def suspend(self) -> None:
        """Stop with the terminal's Ctrl-Z. The processes have sessions of their own, where TSTP is ignored: STOP."""
        running = [place for place in self.places if place.runs]
        for place in running:
            place.signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        for place in running:
            place.signal(signal.SIGCONT)
