"""End the processes that the runner started, if the runner was killed with KILL and could not end them.

The kernel's parent-death signal reaches leaders alone, and a shell that leads passes nothing on. So
a second process waits at the end of a pipe that closes with the runner, however that ends. It needs
Linux's /proc. Under PID 1 there is no need for it: all other processes end with that.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator

from deployer.runner.kernel import rename_this_process, signal_each
from deployer.runner.spawn import fork

TYPE_CHECKING = False  # of `typing`, which takes 2 ms to import
if TYPE_CHECKING:
    from typing import NoReturn

MARK = "DEPLOY_RUNNER"
"""The variable that marks every process that the runner started, in any session."""

NAME = "procfile-warden"
"""Its name in lists of processes: not the command's, so that a ``pkill -f`` for the command does not end both."""

_LOOK_EVERY = 0.1
_HOPELESS_AFTER = 5.0
_MISSES = 2
"""Looks without a find after which nobody is left: a process that is forked during a look may be missed."""


class Warden:
    """The runner's end of the pipe; without a `writer` there is no warden.

    The mark is in the environment that a process began with. A program may write its title over that
    (gunicorn with setproctitle does), so it is also known by its session.
    """

    def __init__(self, pid: int = 0, writer: int | None = None) -> None:
        self._pid, self._writer = pid, writer

    def watch(self, session: int) -> None:
        """Have this session's processes ended with the runner."""
        self._tell(b"+%d\n" % session)

    def forget(self, session: int) -> None:
        """Watch a session no more: it has ended, and its number may be given to another."""
        self._tell(b"-%d\n" % session)

    def _tell(self, message: bytes) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):  # somebody killed it
                os.write(self._writer, message)

    def dismiss(self) -> None:
        """End it: nothing is left that it could end."""
        if self._writer is None:
            return
        with contextlib.suppress(ChildProcessError):  # collected already, so its number may be another's
            if os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
        os.close(self._writer)


@contextlib.contextmanager
def hired(mark: str, *, seconds: float) -> Iterator[Warden]:
    """Have a warden until the block ends; `mark` is MARK's value, `seconds` are from its TERM to its KILL."""
    warden = _hire(mark, seconds) if sys.platform.startswith("linux") and os.getpid() != 1 else Warden()
    try:
        yield warden
    finally:
        warden.dismiss()


def _hire(mark: str, seconds: float) -> Warden:
    reader, writer = os.pipe()
    withdrawn, withdrawing = os.pipe()
    # Signals are blocked before it is there: none of what a terminal or a service manager sends is meant for it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = fork()
        if pid == 0:
            _serve(reader, f"{MARK}={mark}".encode(), seconds)
    except OSError:  # there can be no more processes; starting the app's own reports that
        os.close(writer)
        return Warden()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(reader)
        os.close(withdrawing)
        os.read(withdrawn, 1)  # ends once nobody has the other end: what kills our group then does not reach the warden
        os.close(withdrawn)
    return Warden(pid, writer)


# From here on in the forked process, which must let nothing out


def _serve(reader: int, mark: bytes, seconds: float) -> NoReturn:
    try:
        gc.disable()  # what it would finalise is the runner's
        _withdraw(reader)
        _end(mark, _await_end(reader), seconds)
    finally:
        os._exit(0)


def _withdraw(reader: int) -> None:
    """Keep nothing of the runner's: no terminal, no pipe that somebody reads to its end, no lock, no folder."""
    os.setsid()
    os.chdir("/")
    for fd in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        if fd != reader:
            with contextlib.suppress(OSError):
                os.close(fd)
    while os.open(os.devnull, os.O_RDWR) < 2:
        continue
    rename_this_process(NAME)


def _await_end(reader: int) -> set[int]:
    """Wait until the runner has gone; returns the sessions it left."""
    sessions: set[int] = set()
    rest = b""
    while chunk := os.read(reader, 4096):
        *messages, rest = (rest + chunk).split(b"\n")
        for message in messages:
            change = sessions.add if message.startswith(b"+") else sessions.discard
            change(int(message[1:]))
    return sessions


def _end(mark: bytes, sessions: Collection[int], seconds: float) -> None:
    """Send TERM to each process once, whenever it shows, and KILL to all at the deadline."""
    asked: set[int] = set()
    deadline, missed = time.monotonic() + seconds, 0
    while missed < _MISSES:
        left = set(_find(mark, sessions))
        now = time.monotonic()
        if now >= deadline + _HOPELESS_AFTER:
            return
        if now >= deadline:
            signal_each(left, signal.SIGKILL)
        else:
            signal_each(left - asked, signal.SIGTERM)
        asked |= left
        missed = 0 if left else missed + 1
        time.sleep(_LOOK_EVERY)


def _find(mark: bytes, sessions: Collection[int]) -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123
                # The name in parentheses may hold anything: proc(5).
                state, _, _, session = stat.read().rpartition(b")")[2].split()[:4]
            if state in {b"Z", b"X"}:
                continue
            if int(session) in sessions or _is_marked(name, mark):
                yield int(name)


def _is_marked(pid: str, mark: bytes) -> bool:
    with open(f"/proc/{pid}/environ", "rb") as environ:  # noqa: PTH123
        return mark in environ.read().split(b"\0")
