"""Identify the owner of a container: the `deploy` that started it, by host, boot, PID namespace, pid and start.

A container outlives a `deploy` that was killed with KILL. The next `deploy` finds it by its labels, and removes it only
if its owner has certainly ended: a process of another machine, or of another container, cannot be looked up here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from buildpack.bounded import parse_integer
from buildpack.dataclass import dataclass

LABEL = "dev.deploy.owner."


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process, identified among all that ever ran.

    `host` is the machine's name and ID, `boot` changes when it restarts, `namespace` is the PID namespace in which
    `pid` counts, `started` is when the process began, in the system's unit.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str


def this_owner() -> Owner:
    """Describe this process."""
    pid = os.getpid()
    return Owner(host=_host(), boot=_boot(), namespace=_namespace(), pid=pid, started=_started(pid))


def owner_labels(owner: Owner) -> dict[str, str]:
    """Write an owner as labels."""
    return {
        f"{LABEL}host": owner.host,
        f"{LABEL}boot": owner.boot,
        f"{LABEL}namespace": owner.namespace,
        f"{LABEL}pid": str(owner.pid),
        f"{LABEL}started": owner.started,
    }


def parse_owner(labels: Mapping[str, str]) -> Owner | None:
    """Read an owner from labels; None if they name none."""
    host, pid = labels.get(f"{LABEL}host", ""), labels.get(f"{LABEL}pid", "")
    number = parse_integer(pid, least=1, most=(1 << 31) - 1)
    if not host or number is None:
        return None
    return Owner(
        host=host,
        boot=labels.get(f"{LABEL}boot", ""),
        namespace=labels.get(f"{LABEL}namespace", ""),
        pid=number,
        started=labels.get(f"{LABEL}started", ""),
    )


def is_gone(owner: Owner, here: Owner) -> bool:
    """Return True if an owner has certainly ended; `here` is this process."""
    if owner.host != here.host:
        return False
    if owner.boot != here.boot:
        return True
    return owner.namespace == here.namespace and _started(owner.pid) != owner.started


def _host() -> str:
    # Cloned machines share a name, containers have no machine-id: both together tell them apart.
    return f"{os.uname().nodename}/{_read('/etc/machine-id')}"


def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id") or _ask("sysctl", "-n", "kern.bootsessionuuid")


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115  not a path: pid:[4026531836]
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return when a process began; empty if it does not run, or is a zombie."""
    if sys.platform != "linux":
        return _ask("ps", "-o", "lstart=", "-p", str(pid))
    # The name, in parentheses, may hold anything; fields 3 (state) and 22 (start time) follow it, see proc(5).
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in {"Z", "X"} else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _ask(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, env={"LC_ALL": "C"}).stdout.strip()
    except OSError:
        return ""
