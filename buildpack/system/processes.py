"""Run programs of others, read their output line by line, and leave none of their processes behind.

A guard does that even if this process is killed (guard.py). Before any of them starts, this process hides its
environment and memory, which the kernel otherwise shows to every process of the same user.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from errno import EBUSY, EPERM
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.dataclass import dataclass
from buildpack.system.guard import Guard

if TYPE_CHECKING:
    from subprocess import Popen

_KEPT = 400
"""Lines of output to keep; enough for a traceback through two frameworks."""
_LONGEST = 64 << 10
"""Bytes of a line. Longer ones are split, so that a hook that prints no line end does not fill the memory."""
_PIPE = 1 << 20
"""Bytes that a pipe holds at most, unless its writer is privileged (pipe(7), F_SETPIPE_SZ)."""
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_MOST_ROUNDS = 1000
"""Searches for remaining processes. A program that starts others faster cannot be ended."""
_SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159, "loongarch64": 159}
"""The system call's number, by machine."""
_starting = threading.Lock()
"""Held while a program of another user starts, and while `end_strays` searches, so that it never ends that program."""
_leaders: set[int] = set()
_STYLE = re.compile(r"\x1b\[[0-9;:]*[A-Za-z]")
_TICK = 100
"""Milliseconds between looks at a silent process: another one that it started may keep its output open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """A user and group to become."""

    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The end of a program: `code` is negative for a signal; `lines` are the last ones of both its streams."""

    code: int
    lines: tuple[str, ...]


class ProcessGroup:
    """Runs one program after another; `stop`, from another thread, ends the running one and lets no other start.

    Each has a session of its own, unless `in_session` is false: then it may ask the user at the terminal. `guard` ends
    it if this process is killed; by default each program has a guard of its own. `expired` is called several times a
    second; when it returns true, the running program is ended.
    """

    def __init__(
        self, *, in_session: bool = True, guard: Guard | None = None, expired: Callable[[], bool] | None = None
    ) -> None:
        self._expired = expired
        self._lock = threading.Lock()
        self._leader: int | None = None
        self._stopped = False
        self._in_session = in_session
        self._guard = guard

    def run(
        self,
        argv: Sequence[str],
        *,
        folder: str | Path,
        environment: Mapping[str, str],
        user: User | None = None,
        heard: Callable[[str], object] | None = None,
        kept: int = _KEPT,
    ) -> Outcome:
        """Run a program to its end, and then end the rest of its group; keeps the last `kept` lines of its output.

        If it ran as another user, its processes outside the group are ended too. Raises OSError if the program cannot
        start, or if one of its processes cannot be ended; InterruptedError after `stop`; TimeoutError if its time has
        `expired`.
        """
        import subprocess

        hide_process()
        adopt_orphans(user)
        with self._lock, _starting:
            self.check()
            guard = self._guard or Guard()
            try:
                with acting_as(user):  # Popen enters the folder before it becomes the user
                    process = subprocess.Popen(
                        argv,
                        cwd=folder,
                        env=dict(environment),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        start_new_session=self._in_session,
                        user=user.uid if user else None,
                        group=user.gid if user else None,
                        extra_groups=[] if user else None,
                        umask=0o022,
                        bufsize=0,
                    )
            except BaseException:
                self._release(guard)
                raise
            self._leader = process.pid
            _leaders.add(process.pid)
            guard.watch(process.pid, group=self._in_session)
        try:
            lines = _listen(process, heard, kept, self._expired)
        finally:
            with self._lock:
                # Before `wait`: until then no other process can have its number.
                self._signal(signal.SIGKILL)
                self._leader = None
                self._release(guard)
                process.wait()
                assert process.stdout is not None
                process.stdout.close()
                _leaders.discard(process.pid)
            end_strays(user)
        self.check()
        return Outcome(code=process.returncode, lines=tuple(lines))

    def check(self) -> None:
        """Raise InterruptedError after `stop`."""
        if self._stopped:
            raise InterruptedError("stopped")

    def stop(self, number: signal.Signals) -> None:
        """Send a signal to the running program, and let no other start."""
        with self._lock:
            self._stopped = True
            self._signal(number)

    def _release(self, guard: Guard) -> None:
        if guard is self._guard:
            guard.forget()
        else:
            guard.dismiss()

    def _signal(self, number: signal.Signals) -> None:
        if self._leader is None:
            return
        if not self._in_session:
            _signal_tree(self._leader, number)
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._leader, number)


def _signal_tree(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and its descendants, which share the group of this process.

    Before SIGKILL a process is stopped, so that it starts no other one in between.
    """
    with suppress(ProcessLookupError, PermissionError):
        if number == signal.SIGKILL:
            os.kill(pid, signal.SIGSTOP)
        children = _children(pid)
        os.kill(pid, number)
        for child in children:
            _signal_tree(child, number)


def _children(pid: int) -> list[int]:
    """Return the children of a process; none if the kernel does not list them (proc(5), CONFIG_PROC_CHILDREN)."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, listed.read_text().split())
    return found


def library_path(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the only variable that an interpreter may need to start."""
    return {name: environ[name] for name in ("LD_LIBRARY_PATH",) if name in environ}


def hide_process() -> None:
    """Close the environment, memory and descriptors of this process to other processes of the same user, for good.

    They are in `/proc/PID/`, which then belongs to root (prctl(2), PR_SET_DUMPABLE; proc(5)). A forked process stays
    hidden. A program that it starts is open again, so give it no secret while strangers' code may run.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


@contextmanager
def acting_as(user: User | None) -> Iterator[None]:
    """Let this thread, and no other, reach files as `user` does (setfsuid(2)).

    Strangers' code may have replaced a folder that root reads, or starts its next program in, by a link.
    """
    if user is None:
        yield
        return
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    number, groups = _SETGROUPS.get(os.uname().machine), os.getgroups()

    def become(uid: int, gid: int, others: list[int]) -> None:
        if number is not None:  # the C library's function changes all threads
            library.syscall(number, len(others), (ctypes.c_uint32 * len(others))(*others))
        library.setfsgid(gid)
        library.setfsuid(uid)
        if library.setfsuid(-1) != uid:
            raise PermissionError(EPERM, "this process may not reach files as another user")

    try:
        become(user.uid, user.gid, [])
        yield
    finally:
        become(os.geteuid(), os.getegid(), groups)


def adopt_orphans(user: User | None) -> None:
    """Make this process the parent of processes that programs of `user` leave behind, so that `end_strays` finds them.

    Otherwise a process in a session of its own could wait for the next build, whose code runs as the same user.
    """
    if user is not None and sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_strays(user: User | None) -> None:
    """End the processes of `user` whose parent is now this process. Raises OSError if some remain."""
    if user is None:
        return
    with _starting:
        for _ in range(_MOST_ROUNDS):
            strays = [pid for pid in _children_of(user) if pid not in _leaders]
            if not strays:
                return
            for pid in strays:
                with suppress(OSError):
                    group = os.getpgid(pid)
                    if group != os.getpgid(0) and group not in _leaders:
                        os.killpg(group, signal.SIGKILL)  # no fork in the group escapes this
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            for pid in strays:
                with suppress(OSError):
                    os.waitpid(pid, 0)
    raise OSError(EBUSY, "it left processes that start others, which cannot be ended")


def _children_of(user: User) -> list[int]:
    """Return the children of this process that run as `user`."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208
        with suppress(OSError):
            status = Path("/proc", name, "status").read_bytes()
            rows = dict(line.split(b":\t", 1) for line in status.splitlines() if b":\t" in line)
            if int(rows[b"PPid"]) == os.getpid() and b"%d" % user.uid in rows[b"Uid"].split():
                found.append(int(name))
    return found


def _listen(
    process: Popen[bytes], heard: Callable[[str], object] | None, kept: int, expired: Callable[[], bool] | None
) -> deque[str]:
    """Read the program's output until its end; return the last lines.

    After the end this reads only what the pipe holds: a process that it left behind may print for ever.
    Raises TimeoutError.
    """
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    os.set_blocking(descriptor, False)
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    lines: deque[str] = deque(maxlen=kept)
    pending = b""
    left = _PIPE

    def tell(raw: bytes) -> None:
        text = _plain(raw)
        lines.append(text)
        if heard is not None:
            heard(text)

    while left > 0:
        ended = _has_ended(process.pid)
        if expired is not None and not ended and expired():
            raise TimeoutError
        poller.poll(0 if ended else _TICK)
        try:
            piece = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            if ended:
                break
            continue
        if not piece:
            break
        left -= len(piece) if ended else 0
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
    """Return a line as a terminal shows it, without colours."""
    shown = raw.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
    return _STYLE.sub("", shown).expandtabs().rstrip()
