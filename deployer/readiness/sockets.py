"""Find the processes of this machine that listen on ports, in Linux's /proc; elsewhere it finds nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from deployer.readiness.health import Listener, parse_listeners


def session_listeners(session: int, *, proc: str = "/proc") -> Sequence[Listener] | None:
    """Return the addresses that the processes of a session listen on; None if that cannot be seen.

    Each process that the runner starts leads a session.
    """
    sockets = _listening(proc)
    if not sockets:
        return None
    found: set[Listener] = set()
    for pid in _pids(proc):
        if _session_of(pid, proc) == session:
            found.update(sockets[inode] for inode in _inodes(pid, proc) if inode in sockets)
    return sorted(found, key=str)


def listener_of_port(port: int, *, proc: str = "/proc") -> str:
    """Return who listens on a TCP port, as ``gunicorn (pid 42)``; empty if that cannot be seen."""
    wanted = {inode for inode, listener in _listening(proc).items() if listener.port == port}
    # A server's workers hold its socket too; the oldest process is the one to stop.
    for pid in sorted(_pids(proc)) if wanted else ():
        if not wanted.isdisjoint(_inodes(pid, proc)):
            return f"{_name_of(pid, proc)} (pid {pid})"
    return ""


def _listening(proc: str) -> dict[str, Listener]:
    found: dict[str, Listener] = {}
    for table in ("tcp", "tcp6"):
        try:
            text = Path(proc, "net", table).read_text(encoding="ascii")
        except OSError:
            continue
        found.update({inode: listener for listener, inode in parse_listeners(text)})
    return found


def _pids(proc: str) -> list[int]:
    try:
        return [int(name) for name in os.listdir(proc) if name.isdigit()]  # noqa: PTH208 - names are all it takes
    except OSError:
        return []


def _session_of(pid: int, proc: str) -> int:
    try:
        # The name in parentheses may hold anything, parentheses included: proc(5).
        return int(Path(proc, str(pid), "stat").read_bytes().rpartition(b")")[2].split()[3])
    except (OSError, ValueError, IndexError):
        return 0


def _inodes(pid: int, proc: str) -> Iterator[str]:
    try:
        with os.scandir(f"{proc}/{pid}/fd") as entries:
            for entry in entries:
                try:
                    target = os.readlink(entry.path)  # noqa: PTH115
                except OSError:
                    continue
                if target.startswith("socket:["):
                    yield target[len("socket:[") : -1]
    except OSError:
        return


def _name_of(pid: int, proc: str) -> str:
    try:
        return Path(proc, str(pid), "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a process"
