"""Record the steps of a pipeline: how long each took, how much it moved, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError
from deployer.ci.console import Console
from deployer.errors.commands import machine_failed
from deployer.interrupts import raise_dropped

Status = Literal["passed", "failed", "skipped"]


class Counts(NamedTuple):
    """The traffic with registries so far; sizes in bytes."""

    requests: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step that is over. `exit_code` is None for one that was skipped; `reason` describes the result."""

    name: str
    status: Status
    seconds: float = 0.0
    exit_code: int | None = None
    reason: str = ""
    counts: Counts = Counts()


class Entry:
    """A step that is under way, and its `reason` so far."""

    def __init__(self) -> None:
        self.reason = ""


class Ledger:
    """Records the steps of one pipeline; `count` reads the counters of its connections."""

    def __init__(self, console: Console, *, count: Callable[[], Counts] = Counts) -> None:
        self.steps: list[Step] = []
        self._console = console
        self._count = count

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[Entry]:
        """Time a step and record its result; exceptions pass through. A step that is interrupted has not passed."""
        raise_dropped()
        entry = Entry()
        begin, before = time.perf_counter(), self._count()
        with self._console.group(name, title):
            try:
                yield entry
            except BuildpackError as error:
                self._end(name, entry, begin, before, failed=error)
                raise
            except (OSError, MemoryError) as error:
                known = machine_failed(error)
                if known is not None:
                    self._end(name, entry, begin, before, failed=known)
                    raise known from error
                raise
        raise_dropped()
        self._end(name, entry, begin, before)

    def skip(self, name: str, reason: str) -> None:
        """Record that a step is left out."""
        self.steps.append(Step(name=name, status="skipped", reason=reason))

    def _end(
        self, name: str, entry: Entry, begin: float, before: Counts, *, failed: BuildpackError | None = None
    ) -> None:
        self.steps.append(
            Step(
                name=name,
                status="failed" if failed else "passed",
                seconds=time.perf_counter() - begin,
                exit_code=failed.exit_code if failed else 0,
                reason=failed.what if failed else entry.reason,
                counts=Counts(*(now - then for now, then in zip(self._count(), before, strict=True))),
            )
        )
