"""Shows the progress of long work: a live line on a terminal, plain lines in a pipeline; short work shows nothing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self, TextIO

from buildpack.errors import show
from buildpack.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

SILENT_SECONDS = 0.5
"""Work that ends sooner shows nothing, because a line that flashes is worse than none."""

TITLES = {
    "stack": "Fetching the stack",
    "wheels": "Fetching packages",
    "layers": "Building layers",
    "load": "Loading",
    "push": "Pushing",
}
"""Titles of stages that are counted; hooks are shown line by line."""


class Reporter:
    """An observer that prints; use it as a context manager, so that it cleans the terminal at the end.

    Events may come from several threads. On a terminal rich draws a bar for each stage, and is imported only after
    `SILENT_SECONDS` of work; elsewhere each stage is one plain line.
    """

    def __init__(
        self, *, quiet: bool = False, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._clock = clock
        self._begin = clock()
        self._live = self._stream.isatty()
        self._lock = threading.Lock()
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: set[str] = set()
        self._showed_output = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        """End the bars; raises a program's error without its output, if that was shown."""
        with self._lock:
            self._quiet = True
            if self._bars is not None:
                self._bars.stop()
                self._bars = None
        if self._showed_output and error is not None:
            from buildpack.errors.hooks import ProgramError

            if isinstance(error, ProgramError):
                raise error.without_lines() from None

    def __call__(self, progress: Progress) -> None:
        """Show this, if the work has taken `SILENT_SECONDS`."""
        if progress.stage == "hooks":
            self._print(f"Running {progress.item} ..." if progress.line is None else f"  | {show(progress.line)}")
            self._showed_output |= progress.line is not None and not self._quiet
            return
        if self._clock() - self._begin < SILENT_SECONDS:
            return
        with self._lock:
            if self._quiet:
                return
            if self._live:
                self._draw(progress)
            elif progress.stage not in self._said:
                self._said.add(progress.stage)
                print(f"{TITLES[progress.stage]} ...", file=self._stream, flush=True)

    def _print(self, line: str) -> None:
        """Print a line of its own, above the bars if there are any."""
        with self._lock:
            if self._quiet:
                return
            if self._bars is not None:
                self._bars.console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
            else:
                print(line, file=self._stream, flush=True)

    def _draw(self, progress: Progress) -> None:
        bars = self._bars or self._start()
        task = self._tasks.get(progress.stage)
        if task is None:
            task = self._tasks[progress.stage] = bars.add_task(TITLES[progress.stage], total=None, amount="")
        amount = f"{progress.done}/{progress.total}" if progress.total else str(progress.done)
        if progress.unit == "bytes":
            amount = f"{progress.done / 1e6:.1f} MB"
        bars.update(task, completed=progress.done, total=progress.total or None, amount=amount)

    def _start(self) -> Bars:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            console=Console(file=self._stream),
            transient=True,
        )
        self._bars.start()
        return self._bars
