"""Find out what processes listen on, in Linux's /proc; elsewhere it finds nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from buildpack.dataclass import dataclass

_LISTEN = "0A"
_DOCKER_DNS = "127.0.0.11"

Cause = Literal["unknown", "nothing", "port", "address", "apart", "silent"]
"""Why a web process does not answer: it listens on nothing, on another port, on an address that only its own container
reaches, on an address that localhost does not reach, or on the right one and sends nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """An address and port that a process listens on; `address` is as the kernel shows it to people."""

    address: str
    port: int

    @property
    def loopback(self) -> bool:
        """True if only the same network namespace can reach it."""
        return self.address.startswith("127.") or self.address == "::1"

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def parse_listeners(table: str) -> Sequence[tuple[Listener, str]]:
    """Read the listening sockets, with their inode, from the text of ``/proc/PID/net/tcp`` or ``tcp6`` (proc(5))."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            found.append((Listener(address=_address(address), port=int(port, 16)), fields[9]))
    return found


def _address(text: str) -> str:
    import ipaddress

    # The kernel prints each 32-bit word of the address in host order.
    words = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    address = ipaddress.ip_address(words)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def compare_listeners(listeners: Sequence[Listener] | None, port: int, *, contained: bool) -> tuple[Cause, str]:
    """Compare what a process listens on with what it should; return the cause, and the listeners that show it as text.

    `contained` is true if it is asked from outside its network namespace, which has a loopback of its own.
    """
    if listeners is None:
        return "unknown", ""
    heard = [listener for listener in listeners if listener.address != _DOCKER_DNS]
    on_port = [listener for listener in heard if listener.port == port]
    shown = ", ".join(sorted({str(listener) for listener in on_port or heard}))
    if not heard:
        return "nothing", ""
    if not on_port:
        return "port", shown
    if contained and all(listener.loopback for listener in on_port):
        return "address", shown
    return "silent", shown


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
