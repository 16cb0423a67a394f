"""The measuring itself: seconds of a command, memory of everything it starts, and what machine this is."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


class CommandFailedError(Exception):
    """A measured command failed, so its time means nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One finished command."""

    seconds: float
    stdout: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Highest resident memory, in MB (10**6): of the command's processes, and what the engine's grew by meanwhile."""

    own: float
    engine: float


def run(command: Sequence[str], *, cwd: Path, environ: Mapping[str, str]) -> Run:
    """Run a command to its end and time it; what was written before it is on disk when the clock starts."""
    os.sync()
    start = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise CommandFailedError(describe_failure(command, done.returncode, (done.stdout + done.stderr).decode()))
    return Run(seconds=seconds, stdout=done.stdout.decode())


def describe_failure(command: Sequence[str], code: int, output: str) -> str:
    last = "\n".join(output.strip().splitlines()[-25:])
    return f"exit code {code} from: {' '.join(command)}\n{last}"


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    session: int
    resident: int


def read_processes() -> list[Process]:
    """Read every process of this machine from /proc (proc(5), stat: fields 4, 6 and 24)."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            with open(f"/proc/{entry.name}/stat", "rb") as file:  # noqa: PTH123 - a hundred times per sample
                fields = file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append(Process(int(entry.name), int(fields[1]), int(fields[3]), int(fields[21]) * PAGE))
    return found


def sum_resident(processes: Sequence[Process], root: int) -> int:
    """Sum up the resident bytes of a process, its descendants, and its session's orphans."""
    inside = {root} | {process.pid for process in processes if process.session == root}
    while more := {process.pid for process in processes if process.parent in inside} - inside:
        inside |= more
    return sum(process.resident for process in processes if process.pid in inside)


def measure_memory(
    command: Sequence[str], *, cwd: Path, environ: Mapping[str, str], engine: int | None, log: Path
) -> Memory:
    """Run a command and sample its memory every few milliseconds; ``engine`` is the engine's process, if it is here.

    Pages that processes share are counted for each of them, so the sums are upper bounds.
    """
    before = sum_resident(read_processes(), engine) if engine else 0
    own = grown = 0
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        while process.poll() is None:
            processes = read_processes()
            own = max(own, sum_resident(processes, process.pid))
            if engine:
                grown = max(grown, sum_resident(processes, engine) - before)
            time.sleep(0.005)
    if process.returncode:
        raise CommandFailedError(describe_failure(command, process.returncode, log.read_text()))
    return Memory(own=own / 1e6, engine=grown / 1e6)


def read_engine_pid() -> int | None:
    """Return the process of the engine on this machine, if it left its number in the usual place."""
    try:
        return int(Path("/run/docker.pid").read_text())
    except (OSError, ValueError):
        return None


def describe_machine() -> dict[str, str | int | float]:
    """Describe what the numbers depend on besides the programs."""
    cpu = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in cpu.splitlines() if line.startswith("model name")]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": models[0] if models else platform.machine(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * PAGE / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }
