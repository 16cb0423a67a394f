"""Pass output from the processes' pipes through the printer to the outlet, with back-pressure.

While the outlet is full, no pipe is read: the processes block as they would on a stalled terminal, nothing is dropped
and nothing grows.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from typing import BinaryIO, Protocol

from deployer.runner.outlet import FULL, Outlet, OutputError
from deployer.runner.printer import Printer

_CHUNK = 1 << 17


class Source(Protocol):
    """A process or a container whose output is read. `output` is a descriptor that does not block."""

    name: str
    quiet: bool
    output: int | None

    def close_output(self) -> None:
        """Close `output`."""


class Flow:
    """Reads what sources write and prints it.

    `on_output` sees each chunk as it comes, `on_end` the name of a source whose output has ended. `on_lost` is called
    once if nothing can be written any more. From then on output is read and dropped, so that the processes can end in
    order.
    """

    def __init__(
        self,
        out: BinaryIO,
        *,
        log_format: str,
        colour: bool,
        clock: Callable[[], float],
        on_lost: Callable[[OutputError], object],
        on_output: Callable[[str, bytes], object],
        on_end: Callable[[str], object],
    ) -> None:
        self.printer = Printer(self._emit, log_format=log_format, colour=colour)
        self._outlet = Outlet(out)
        self._selector = selectors.DefaultSelector()
        self._now, self._on_lost, self._on_output, self._on_end = clock, on_lost, on_output, on_end
        self._sources: set[Source] = set()
        self._lost = False
        self._awaiting: int | None = None
        self.paused = False

    def await_events(self, timeout: float | None) -> None:
        """Wait for output, for room to write, or for what `listen` watches, and handle it."""
        for key, _ in self._selector.select(timeout):
            key.data()

    def listen(self, fd: int, action: Callable[[], object]) -> None:
        """Call `action` whenever there is something to read from `fd`."""
        self._selector.register(fd, selectors.EVENT_READ, action)

    @property
    def waiting(self) -> int:
        """Bytes that nobody has read yet."""
        return self._outlet.waiting

    def discard(self) -> None:
        """Forget what nobody has read yet."""
        self._outlet.discard()

    def close(self) -> None:
        """Close everything that was opened here."""
        self._selector.close()
        self._outlet.close()

    def add(self, source: Source) -> None:
        """Read a source's output from now on."""
        self._sources.add(source)
        if not self.paused:
            self._watch(source)

    def end(self, source: Source) -> None:
        """Read no more of a source's output; a process that still writes to its pipe gets EPIPE."""
        if source in self._sources:
            self._sources.remove(source)
            if not self.paused:
                self._unwatch(source)
            source.close_output()
            self._on_end(source.name)

    def _watch(self, source: Source) -> None:
        assert source.output is not None
        self._selector.register(source.output, selectors.EVENT_READ, lambda: self._read(source))

    def _unwatch(self, source: Source) -> None:
        assert source.output is not None
        self._selector.unregister(source.output)

    def _read(self, source: Source) -> None:
        if source.output is None or self.paused:  # by an event just before this one
            return
        try:
            chunk = os.read(source.output, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self.end(source)
            return
        self._on_output(source.name, chunk)
        if not source.quiet:
            self.printer.feed(source.name, chunk, self._now())

    def _emit(self, rendered: bytes) -> None:
        if self._lost:
            return
        self._attempt(lambda: self._outlet.put(rendered))
        if self._outlet.waiting and self._awaiting is None and self._outlet.fd is not None:
            self._awaiting = self._outlet.fd
            self._selector.register(self._awaiting, selectors.EVENT_WRITE, self._flush)
        if self._outlet.waiting > FULL and not self.paused:
            for source in self._sources:
                self._unwatch(source)
            self.paused = True

    def _flush(self) -> None:
        self._attempt(self._outlet.flush)
        if not self._outlet.waiting and self._awaiting is not None:
            self._selector.unregister(self._awaiting)
            self._awaiting = None
        if self.paused and self._outlet.waiting <= FULL // 2:
            self.paused = False
            for source in self._sources:
                self._watch(source)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OutputError as error:
            self._lost = True
            self._on_lost(error)
