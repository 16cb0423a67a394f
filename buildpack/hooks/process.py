"""Run one program in a process group of its own, hear its output line by line, and leave nothing of it behind.

That holds where this process is killed, too: a shell waits beside it for its end, since what the kernel offers for that
(`PR_SET_PDEATHSIG`) reaches the program alone, and not what that started.
"""

from __future__ import annotations

import os
import re
import select
import signal
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.hooks.user import User

if TYPE_CHECKING:
    from subprocess import Popen

__all__ = ["Outcome", "ProcessGroup"]

_KEPT = 400
"""Lines of output that are kept; enough for a traceback through two frameworks."""
_LONGEST = 64 << 10
"""Bytes of a line; what is longer is broken, so that a hook that prints no line end does not fill the memory."""
_STYLE = re.compile(r"\x1b\[[0-9;:]*[A-Za-z]")
_TICK = 100
"""Milliseconds after which a silent process is looked at: its output may be held open by one that it left behind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a program ended: `code` is negative for a signal; `lines` are the last of its output, both streams."""

    code: int
    lines: tuple[str, ...]


class ProcessGroup:
    """Runs programs one after another; `stop`, from another thread, ends the one that runs, and lets none follow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leader: int | None = None
        self._stopped = False

    def run(
        self,
        argv: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        user: User | None,
        heard: Callable[[str], object],
    ) -> Outcome:
        """Run a program to its end, and end what it started and left in its group.

        Raises OSError where it cannot be started, InterruptedError once `stop` was called.
        """
        import subprocess

        with self._lock:
            self.check()
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
                umask=0o022,
                bufsize=0,
            )
            self._leader = process.pid
            guard = _guard(process.pid)
        try:
            lines = _listen(process, heard)
        finally:
            with self._lock:
                # Before the leader is reaped: until then nobody else can have its number.
                self._signal(signal.SIGKILL)
                self._leader = None
                _dismiss(guard)
                process.wait()
                assert process.stdout is not None
                process.stdout.close()
        self.check()
        return Outcome(code=process.returncode, lines=tuple(lines))

    def check(self) -> None:
        """Raise InterruptedError once `stop` was called."""
        if self._stopped:
            raise InterruptedError("stopped")

    def stop(self, number: signal.Signals) -> None:
        """Send a signal to whatever runs, and let nothing start any more."""
        with self._lock:
            self._stopped = True
            self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        if self._leader is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader, number)


def _guard(leader: int) -> Popen[bytes] | None:
    """Start what ends the group of `leader` where this process is killed: then, and only then, its input ends.

    It is in a group of its own, so that whatever ends this one leaves it. None where there is no shell.
    """
    import subprocess

    with suppress(OSError):
        return subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; kill -KILL "-$0"', str(leader)],
            cwd="/",
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    return None


def _dismiss(guard: Popen[bytes] | None) -> None:
    if guard is not None:
        guard.kill()
        guard.wait()
        assert guard.stdin is not None
        guard.stdin.close()


def _listen(process: Popen[bytes], heard: Callable[[str], object]) -> deque[str]:
    """Read until the program ended and what it printed is read; gives the last lines."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    os.set_blocking(descriptor, False)
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    lines: deque[str] = deque(maxlen=_KEPT)
    pending = b""

    def tell(raw: bytes) -> None:
        text = _plain(raw)
        lines.append(text)
        heard(text)

    while True:
        ended = _has_ended(process.pid)
        poller.poll(0 if ended else _TICK)
        try:
            piece = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            if ended:
                break
            continue
        if not piece:
            break
        *whole, pending = (pending + piece).split(b"\n")
        for line in whole:
            tell(line)
        if len(pending) > _LONGEST:
            tell(pending)
            pending = b""
    if pending:
        tell(pending)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return lines


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _plain(raw: bytes) -> str:
    """Return a line as a terminal without colours shows it."""
    shown = raw.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
    return _STYLE.sub("", shown).expandtabs().rstrip()
