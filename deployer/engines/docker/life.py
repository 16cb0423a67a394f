"""Run a container in threads of its own, which report each step, so that the loop never waits for the engine."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Literal

from buildpack.dataclass import dataclass
from deployer.engines.docker.container import Container, Exit
from deployer.engines.docker.streams import Stream, write_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step in the life of a container: it started, failed to, or exited. ``removed`` always comes last."""

    kind: Literal["started", "failed", "exited", "removed"]
    exit: Exit | None = None
    error: Exception | None = None
    kept: bool = False


class Life:
    """One container from creation to removal. `output` is the reading end of a pipe with all that it writes.

    `report` is called from threads, and so is `read`, after the end and before the removal. `stop` may come at any
    time, before the start too.
    """

    def __init__(
        self,
        container: Container,
        report: Callable[[Life, Step], None],
        *,
        read: Callable[[Container], object] = lambda _container: None,
    ) -> None:
        self.container = container
        self.over = threading.Event()
        self.output, self._writer = os.pipe()
        os.set_blocking(self.output, False)
        self._report, self._read = report, read
        self._started = threading.Event()
        self._cancelled = threading.Event()
        self._starting = False
        self._early: list[int] = []
        self._lock = threading.Lock()
        self._stream: Stream | None = None

    def begin(self) -> None:
        """Create and start the container, in a thread."""
        threading.Thread(target=self._run, name=self.container.name, daemon=True).start()

    def send(self, number: int) -> None:
        """Send a signal, without waiting; it is lost unless the engine was asked to start the container."""
        with self._lock:
            if self._starting and not self._started.is_set():
                # The process may run, and have said so, before the engine answers.
                self._early.append(number)
                return
        self._deliver(number)

    def stop(self, number: int) -> None:
        """Send a signal that ends it; if it has not started yet, it never will."""
        self._cancelled.set()
        self._deliver(number)

    def _deliver(self, number: int) -> None:
        if self._started.is_set():
            threading.Thread(target=self.container.signal, args=(number,), daemon=True).start()

    def cut(self) -> None:
        """Take no more of its output."""
        if self._stream is not None:
            self._stream.cut()

    def _run(self) -> None:
        pump: threading.Thread | None = None
        try:
            self.container.create()
            self._stream = self.container.attach()
            pump = threading.Thread(target=self._pump, args=(self._stream,), name="output", daemon=True)
            pump.start()
            self._start_and_wait()
        except Exception as error:  # noqa: BLE001  the loop raises it in the main thread
            self.cut()
            self._report(self, Step(kind="failed", error=error))
        self._finish(pump)

    def _start_and_wait(self) -> None:
        if self._cancelled.is_set():
            self.cut()
            return
        self._starting = True
        self.container.start()
        with self._lock:
            self._started.set()
        for number in self._early:
            self.container.signal(number)
        self._report(self, Step(kind="started"))
        if self._cancelled.is_set():  # asked for while it was being started
            self.container.signal(15)
        try:
            ended = self.container.wait()
        finally:
            self.over.set()
        self._read(self.container)
        self._report(self, Step(kind="exited", exit=ended))

    def _finish(self, pump: threading.Thread | None) -> None:
        kept = True
        try:
            if pump is None:
                os.close(self._writer)
            else:
                pump.join()
            if self._stream is not None:
                self._stream.close()
            kept = not self.container.remove()
        finally:
            self._report(self, Step(kind="removed", kept=kept))

    def _pump(self, stream: Stream) -> None:
        """Hand the output on; a full pipe holds this thread, the engine's connection and so the process."""
        with contextlib.suppress(OSError), os.fdopen(self._writer, "wb", buffering=0) as writer:
            for pieces in stream.pieces():
                write_all(writer.fileno(), b"".join(piece for _, piece in pieces))
