"""Run one command in a container with the terminal, as `docker run -it --rm` does, and pass its exit code on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import select
import signal
import struct
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterable, Iterator

from deployer.engines.docker.client import Client
from deployer.engines.docker.container import Blueprint, Container, Exit, container_name
from deployer.engines.docker.streams import STDOUT, Stream, write_all
from deployer.errors.engines import engine_warned
from deployer.interrupts import dismiss_helper, raise_dropped
from deployer.runner import signals
from deployer.runner.signals import FORWARDED, STOPPING, Wakeup

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_ENOUGH = 3
"""Interrupts after which a command that takes none of them is killed, as with `docker run`."""


@contextlib.contextmanager
def catching(numbers: Iterable[int]) -> Iterator[Wakeup]:
    """Catch these signals until the block ends; from here on nothing ends this process early."""
    dismiss_helper()
    with signals.catching(numbers) as wakeup:
        raise_dropped()
        yield wakeup


def run_command(blueprint: Blueprint, *, client: Client, warn: Callable[[str], object]) -> int:
    """Run a command in a container until it ends; returns its exit code.

    With `blueprint.terminal` this process's terminal is the command's own, else standard output and error stay
    apart. Raises EngineError, and NotStartedError if there is no such command.
    """
    name = container_name(blueprint.app, blueprint.process, secrets.token_hex(3))
    container = Container(client, blueprint, name=name)
    winch = (signal.SIGWINCH,) if blueprint.terminal else ()
    with catching((*STOPPING, *FORWARDED, *winch)) as wakeup:
        try:
            container.create()
            for text in container.warnings:
                warn(engine_warned(client.name, text))
            stream = container.attach()
            try:
                with _raw(blueprint.terminal):
                    return _Session(container, stream, wakeup).run()
            finally:
                stream.cut()
                stream.close()
        finally:
            container.remove()


class _Session:
    """One command between its start and its end."""

    def __init__(self, container: Container, stream: Stream, wakeup: Wakeup) -> None:
        self._container, self._stream, self._wakeup = container, stream, wakeup
        self._terminal = container.blueprint.terminal
        self._exit: Exit | None = None
        self._error: Exception | None = None
        self._output_ended = threading.Event()
        self._reader_left = threading.Event()
        self._kill_at: float | None = None
        self._interrupts = 0

    def run(self) -> int:
        """Start the command and wait for its end."""
        self._begin(self._pass_output)
        self._container.start()
        self._begin(self._await_exit)
        self._begin(self._pass_input)
        while not (self._exit and self._output_ended.is_set()):
            self._await_event()
            if self._error is not None:
                raise self._error
        if self._reader_left.is_set():
            return 128 + signal.SIGPIPE
        return self._exit.code

    @staticmethod
    def _begin(target: object) -> None:
        assert callable(target)
        threading.Thread(target=target, daemon=True).start()

    def _await_event(self) -> None:
        now = time.monotonic()
        if self._kill_at is not None and self._kill_at <= now:
            self._kill_at = None
            self._container.signal(signal.SIGKILL)
        timeout = None if self._kill_at is None else self._kill_at - now
        select.select([self._wakeup.reader], [], [], timeout)
        for number in self._wakeup.drain():
            self._on_signal(number)
        if self._reader_left.is_set() and self._kill_at is None and self._exit is None:
            self._stop(signal.SIGTERM)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._begin(self._fit_terminal)
        elif self._exit is not None:
            self._stream.cut()  # the command has ended, and nobody reads its output
        elif number in {signal.SIGTERM, signal.SIGHUP}:
            self._stop(number)
        else:
            self._interrupts += number == signal.SIGINT
            self._container.signal(signal.SIGKILL if self._interrupts >= _ENOUGH else number)

    def _stop(self, number: int) -> None:
        """Ask the command to end, and kill it later: an interactive shell ignores TERM."""
        self._kill_at = time.monotonic() + self._container.blueprint.stop_timeout
        self._container.signal(number)

    # In threads

    def _await_exit(self) -> None:
        try:
            self._exit = self._container.wait()
        except Exception as error:  # noqa: BLE001  raised again in the main thread
            self._error = error
        self._wakeup.wake()

    def _pass_input(self) -> None:
        if self._terminal:
            self._fit_terminal()  # first: what is typed may ask for the size
        while True:
            try:
                typed = os.read(_STDIN, 1 << 16)
            except OSError:
                typed = b""
            if not typed:
                break
            if not self._stream.write(typed):
                return
        self._stream.end_input()

    def _pass_output(self) -> None:
        for pieces in self._stream.pieces():
            if self._reader_left.is_set():
                continue  # output that nobody reads is dropped, so that the command can end in order
            try:
                for number, piece in pieces:
                    write_all(_STDOUT if number == STDOUT else _STDERR, piece)
            except OSError:
                self._reader_left.set()
                self._wakeup.wake()
        self._output_ended.set()
        self._wakeup.wake()

    def _fit_terminal(self) -> None:
        with contextlib.suppress(OSError):
            packed = fcntl.ioctl(_STDOUT, termios.TIOCGWINSZ, bytes(8))
            rows, columns, _, _ = struct.unpack("HHHH", packed)
            for _ in range(20):  # an engine that has just started the container may not know of its terminal yet
                if not rows or self._container.resize(rows, columns) or self._exit is not None:
                    return
                time.sleep(0.05)


@contextlib.contextmanager
def _raw(terminal: bool) -> Iterator[None]:  # noqa: FBT001
    """Hand every key to the command, Ctrl-C too; the terminal is as before once the block ends."""
    if not terminal:
        yield
        return
    before = termios.tcgetattr(_STDIN)
    tty.setraw(_STDIN)
    try:
        yield
    finally:
        termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)
