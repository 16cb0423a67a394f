"""The output's way from the processes' pipes through the printer to the outlet, with back-pressure.

While the outlet has more than it may keep, no pipe is read: the processes block as they would on a
stalled terminal, nothing is dropped and nothing grows.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from typing import BinaryIO

from deployer.runner.child import Child
from deployer.runner.outlet import FULL, Outlet, OutputError
from deployer.runner.printer import Printer

__all__ = ["Flow"]

_CHUNK = 1 << 17


class Flow:
    """Reads what children write and prints it.

    `on_output` sees each chunk as it comes. `on_lost` is told once that nothing can be written any
    more; from then on what comes is read and dropped, so that the processes can end in order.
    """

    def __init__(
        self,
        out: BinaryIO,
        *,
        log_format: str,
        colour: bool,
        clock: Callable[[], float],
        on_lost: Callable[[OutputError], object],
        on_output: Callable[[str, bytes], object] | None,
    ) -> None:
        self.printer = Printer(self._emit, log_format=log_format, colour=colour)
        self._outlet = Outlet(out)
        self._selector = selectors.DefaultSelector()
        self._now, self._on_lost, self._on_output = clock, on_lost, on_output
        self._children: set[Child] = set()
        self._lost = False
        self._awaiting: int | None = None
        self.paused = False

    def await_events(self, timeout: float | None) -> None:
        """Wait for output, for room to write, or for what `listen` was asked for, and deal with it."""
        for key, _ in self._selector.select(timeout):
            key.data()

    def listen(self, fd: int, action: Callable[[], object]) -> None:
        """Call `action` whenever there is something to read from `fd`."""
        self._selector.register(fd, selectors.EVENT_READ, action)

    @property
    def waiting(self) -> int:
        """Bytes that nobody has taken yet."""
        return self._outlet.waiting

    def discard(self) -> None:
        """Forget what nobody has taken yet."""
        self._outlet.discard()

    def close(self) -> None:
        """Let go of everything that was opened here."""
        self._selector.close()
        self._outlet.close()

    def add(self, child: Child) -> None:
        """Read a child's output from now on."""
        self._children.add(child)
        if not self.paused:
            self._watch(child)

    def end(self, child: Child) -> None:
        """Read no more of a child's output; who still writes to its pipe gets EPIPE."""
        if child in self._children:
            self._children.remove(child)
            if not self.paused:
                self._unwatch(child)
            child.close_output()

    def _watch(self, child: Child) -> None:
        assert child.output is not None
        self._selector.register(child.output, selectors.EVENT_READ, lambda: self._read(child))

    def _unwatch(self, child: Child) -> None:
        assert child.output is not None
        self._selector.unregister(child.output)

    def _read(self, child: Child) -> None:
        if child.output is None or self.paused:  # by an event just before this one
            return
        try:
            chunk = os.read(child.output, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self.end(child)
            return
        if self._on_output is not None:
            self._on_output(child.name, chunk)
        if not child.quiet:
            self.printer.feed(child.name, chunk, self._now())

    def _emit(self, rendered: bytes) -> None:
        if self._lost:
            return
        self._attempt(lambda: self._outlet.put(rendered))
        if self._outlet.waiting and self._awaiting is None and self._outlet.fd is not None:
            self._awaiting = self._outlet.fd
            self._selector.register(self._awaiting, selectors.EVENT_WRITE, self._flush)
        if self._outlet.waiting > FULL and not self.paused:
            for child in self._children:
                self._unwatch(child)
            self.paused = True

    def _flush(self) -> None:
        self._attempt(self._outlet.flush)
        if not self._outlet.waiting and self._awaiting is not None:
            self._selector.unregister(self._awaiting)
            self._awaiting = None
        if self.paused and self._outlet.waiting <= FULL // 2:
            self.paused = False
            for child in self._children:
                self._watch(child)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OutputError as error:
            self._lost = True
            self._on_lost(error)
