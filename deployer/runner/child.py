"""One process under the supervisor: its leader, its group, its output's pipe, and what is due when."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from honcho import process as honcho_process

from deployer.runner.formation import Process
from deployer.runner.restart import History
from deployer.runner.spawn import spawn

__all__ = ["DRAIN", "Child"]

DRAIN = 1.0
"""Seconds that the output's pipe is read on after the whole group is gone: a daemon may hold it open."""

_KILLS = 5


class Child(honcho_process.Process):
    """A place in the formation, over all the times its process is started: Honcho's Process without its relay.

    Times are monotonic seconds. `active` is from its start until the supervisor is done with it.
    `leader_alive` and `group_alive` are two things where a shell stands in front: requests may still
    be finished after the leader has gone.
    """

    def __init__(
        self,
        command: str | Sequence[str],
        name: str,
        *,
        env: Mapping[str, str],
        cwd: str | None,
        colour: str,
        quiet: bool = False,
    ) -> None:
        super().__init__(command, name=name, colour=colour, quiet=quiet, env=env, cwd=cwd)  # type: ignore[no-untyped-call]
        self.name, self.colour = name, colour
        self.process = Process(name=name, command=command, env=env, cwd=cwd)
        self.pid = 0
        self.output: int | None = None
        self.active = False
        self.leader_alive = self.group_alive = False
        self.asked_to_stop = False
        self.code = 0
        self.history = History()
        self.started_at = 0.0
        self.start_at: float | None = None
        self.kill_at: float | None = None
        self.drain_until: float | None = None
        self.delay: float | None = None
        self.kills = 0

    @property
    def gone(self) -> bool:
        """Whether nothing of the last start is left: no process of its group, no output to read."""
        return not (self.leader_alive or self.group_alive or self.output is not None)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is left of it and nothing planned."""
        return not self.active and self.start_at is None

    def start(self, now: float) -> None:
        """Start the process; raises CommandError."""
        self.start_at = self.kill_at = self.drain_until = self.delay = None
        self.asked_to_stop, self.kills, self.started_at = False, 0, now
        self.pid, self.output = spawn(self.process)
        self.active = self.leader_alive = self.group_alive = True

    def leader_exited(self, code: int) -> None:
        """Note the leader's exit code."""
        self.leader_alive, self.code = False, code

    def look_at_group(self, now: float) -> None:
        """Find out whether the last of the group has gone.

        Once it has, its number is never used again: it may be another's.
        """
        if self.group_alive and not self.leader_alive and not self.signal_group(0):
            self._group_gone(now)

    def _group_gone(self, now: float) -> None:
        self.leader_alive = self.group_alive = False
        self.kill_at, self.drain_until = None, now + DRAIN

    def ask_to_stop(self, deadline: float) -> bool:
        """Send TERM to the group, once; says whether it did."""
        self.asked_to_stop = True
        if self.kill_at is not None or not self.group_alive:
            return False
        self.kill_at = deadline
        return self.signal_group(signal.SIGTERM)

    def kill(self, now: float) -> bool:
        """Send KILL to the group, again every second; says whether there is still hope that it helps."""
        self.kill_at = now + 1.0
        self.kills += 1
        if self.kills > _KILLS:  # another user's process, or one that hangs in the kernel
            self._group_gone(now)
            self.code = 128 + signal.SIGKILL
            return False
        self.signal_group(signal.SIGKILL)
        return True

    def signal_group(self, signum: int) -> bool:
        """Send a signal to the process group; says whether anyone is left in it."""
        try:
            os.killpg(self.pid, signum)
        except OSError:
            return False
        return True

    def signal_leader(self, signum: int) -> None:
        """Send a signal to the leader alone."""
        if self.leader_alive:
            os.kill(self.pid, signum)

    def close_output(self) -> None:
        """Let go of the pipe; who still writes to it gets EPIPE."""
        if self.output is not None:
            os.close(self.output)
            self.output = None

    def next_due(self, now: float) -> float | None:
        """Return when there is something to do for it without any event."""
        lingering = now + 0.05 if self.group_alive and not self.leader_alive else None
        due = [self.start_at, self.kill_at, self.drain_until if self.active else None, lingering]
        return min((time for time in due if time is not None), default=None)
