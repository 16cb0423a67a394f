"""One process of a formation, over all the containers it goes through; and how a formation is to be run."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError
from deployer.engines.docker.container import Blueprint, Exit, Limits
from deployer.engines.docker.life import Life
from deployer.errors.readiness import boot_failed
from deployer.readiness.boot_log import KEPT
from deployer.readiness.health import Tail
from deployer.runner.restart import History


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """How readiness is found out: the address at which published ports answer, None where they cannot be reached.

    `host` is the Host header; empty for ``localhost`` and the port.
    """

    address: str | None
    shown: str
    seconds: float
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run: seconds between TERM and KILL, restart policy, log format; `colour` None is up to the stream.

    `quiet` leaves out what the group itself has to say.
    """

    stop_timeout: float = 25.0
    restart: str = "no"
    log_format: str = "text"
    colour: bool | None = None
    quiet: bool = False


class Instance:
    """A place in the formation, over all the containers it goes through. Times are monotonic seconds."""

    quiet = False

    def __init__(self, blueprint: Blueprint) -> None:
        self.blueprint = blueprint
        self.name = blueprint.process
        self.life: Life | None = None
        self.output: int | None = None
        self.running = self.asked_to_stop = self.was_started = False
        self.history = History()
        self.code: int | None = None
        self.started_at = 0.0
        self.start_at: float | None = 0.0
        self.kill_at: float | None = None
        self.term_at: float | None = None
        self.drain_until: float | None = None
        self.delay: float | None = None
        self.killed = self.heard = False
        self.tail = Tail(KEPT)

    @property
    def gone(self) -> bool:
        """Whether nothing is left of the last container."""
        return self.life is None and self.output is None

    @property
    def settled(self) -> bool:
        """Whether nothing is left and nothing planned."""
        return self.gone and self.start_at is None

    @property
    def next_due(self) -> float | None:
        """When there is something to do for it without any event.

        An output that has ended is not awaited, however long the engine takes to remove the container.
        """
        drain = None if self.output is None else self.drain_until
        due = [self.start_at, self.kill_at, self.term_at, drain]
        return min((moment for moment in due if moment is not None), default=None)

    def close_output(self) -> None:
        """Let go of the pipe."""
        if self.output is not None:
            os.close(self.output)
            self.output = None


class PendingBootFailure(Exception):
    """A web process ended before it answered; its last lines are still on their way."""

    def __init__(self, process: str, code: int, told: str) -> None:
        super().__init__(process)
        self.process, self.code, self.told = process, code, told

    def worded(self, log: Sequence[str]) -> BuildpackError:
        """Return the error with the lines that have come."""
        return boot_failed(self.process, self.code, told=self.told, log=log)


def tell_code(code: int) -> str:
    """Say how a process ended."""
    if code > 128:
        try:
            return f"{signal.Signals(code - 128).name} ended it"
        except ValueError:
            pass
    return f"it exited with {code}"


def tell_end(ended: Exit) -> str:
    """Say how a container ended."""
    return "it ran out of memory" if ended.out_of_memory else tell_code(ended.code)


def tell_memory(ended: Exit, limits: Limits) -> str:
    """Say that a container ran out of memory; empty where it did not."""
    limit = f" of {limits.memory / (1 << 20):.0f} MB (--memory)" if limits.memory else ""
    if ended.out_of_memory:
        return f"ran out of memory: its limit{limit} was reached"
    if limit and ended.code == 128 + signal.SIGKILL:  # Podman on cgroup v1 does not tell who was killed for what
        return f"was killed, most likely because its memory limit{limit} was reached"
    return ""
