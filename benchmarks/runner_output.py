"""A million lines of 80 bytes from two processes, through our runner, honcho and foreman, in one run.

    python benchmarks/runner_output.py [--lines 1000000] [--rounds 3]

The clock runs from the runner's start until its last line has been read. Every line must be there
once and whole. Memory is the peak of the runner and its relay processes together, sampled; the
processes that write are not counted. foreman is Debian's `ruby-foreman`; without it that row is
left out, and said to be.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HOUSE = Path(__file__).parents[1]

OURS = """
import json, os, sys
from deployer.runner.formation import expand
from deployer.runner.processes import Processes
from deployer.runner.supervisor import Settings, Supervisor
processes = expand(json.loads(sys.argv[1]), port=5006, env=dict(os.environ))
sys.exit(Supervisor(Processes(processes), Settings(log_format=sys.argv[2]), out=sys.stdout.buffer).run())
"""

WIDTH = 80


def main() -> int:
    """Run the benchmark; returns 0 if our runner reaches 20 times honcho's lines per second, and all are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts (for each of them)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return compare(Path(folder), options.lines, options.rounds)


def compare(folder: Path, lines: int, rounds: int) -> int:
    """Run every runner in turn, `rounds` times over, and print the table."""
    commands = write_procfile(folder, lines)
    runners = {
        "ours": [sys.executable, "-c", OURS, json.dumps(commands), "text"],
        "ours, JSON": [sys.executable, "-c", OURS, json.dumps(commands), "json"],
        "honcho": [sys.executable, "-m", "honcho", "-d", str(folder), "start"],
        "foreman": [shutil.which("foreman") or "", "start", "-d", str(folder)],
    }
    if not runners["foreman"][0]:
        print("foreman is not installed (Debian: ruby-foreman), so it is left out")
        del runners["foreman"]
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, argv in runners.items():
            seconds, peak = measure(argv, folder, lines)
            before = best.get(name, (seconds, peak))
            best[name] = (min(seconds, before[0]), max(peak, before[1]))
    honcho = best["honcho"][0]
    print(f"{lines:,} lines of {WIDTH} bytes from two processes, best of {rounds}; all there, once and whole\n")
    print(f"{'':12}{'seconds':>9}{'lines/s':>12}{'x honcho':>10}{'peak MB':>9}")
    for name, (seconds, peak) in best.items():
        print(f"{name:12}{seconds:9.2f}{lines / seconds:12,.0f}{honcho / seconds:10.1f}{peak:9.0f}")
    return 0 if honcho / best["ours"][0] >= 20 else 1


def write_procfile(folder: Path, lines: int) -> dict[str, str]:
    """Write the lines to print, and a Procfile of two processes that print them and stay."""
    commands = {}
    for name in ("a", "b"):
        text = "".join(f"{name}{number:09d}".ljust(WIDTH - 1, ".") + "\n" for number in range(lines // 2))
        (folder / name).write_text(text)
        commands[name] = f"cat {folder}/{name}; sleep 1000"
    (folder / "Procfile").write_text("".join(f"{name}: {command}\n" for name, command in commands.items()))
    return commands


def measure(argv: list[str], folder: Path, lines: int) -> tuple[float, float]:
    """Run one runner until the last line; returns seconds and megabytes.

    Raises RuntimeError if a line is lost, torn or doubled.
    """
    env = {**os.environ, "PYTHONPATH": str(HOUSE), "NO_COLOR": "1"}
    began = time.perf_counter()
    runner = subprocess.Popen(argv, stdout=subprocess.PIPE, env=env, cwd=folder, start_new_session=True)
    peak = Peak(runner.pid)
    assert runner.stdout is not None
    chunks, seen, last = [], 0, b""
    while seen < lines:
        chunk = os.read(runner.stdout.fileno(), 1 << 20)
        if not chunk:
            raise RuntimeError(f"{argv[0]} ended after {seen} lines")
        # The runners' own lines have none of these: each of ours ends in a dot (or, in JSON, a dot and `"}`).
        seen += (last[-1:] + chunk).count(b".\n") + (last[-3:] + chunk).count(b'."}\n')
        chunks.append(last := chunk)
    seconds = time.perf_counter() - began
    megabytes = peak.stop()
    runner.send_signal(signal.SIGTERM)
    runner.stdout.read()
    runner.stdout.close()
    runner.wait()
    verify(b"".join(chunks), lines)
    return seconds, megabytes


def verify(text: bytes, lines: int) -> None:
    """Raise unless each process's lines are all there, in order, once and whole."""
    printed = re.findall(rb"(?:\| |\":\")([ab])(\d{9})\.{69}(?:\"\})?$", text, re.MULTILINE)
    for name in (b"a", b"b"):
        numbers = [int(number) for process, number in printed if process == name]
        if numbers != list(range(lines // 2)):
            raise RuntimeError(f"process {name.decode()}: {len(numbers)} whole lines of {lines // 2}")


class Peak(threading.Thread):
    """Samples the resident memory of a runner and its relay processes, 20 times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._peak, self._stopped = pid, 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stopped.wait(0.05):
            self._peak = max(self._peak, sum(map(resident, [self._pid, *relays(self._pid)])))

    def stop(self) -> float:
        """Return the peak in megabytes."""
        self._stopped.set()
        self.join()
        return self._peak / 1e6


def relays(pid: int) -> list[int]:
    """Return the runner's own processes: those with its command line, below it, and the one that watches over it."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        names = {command.rstrip(b"\0"), b"procfile-warden"}
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        own = [child for child in children if Path(f"/proc/{child}/cmdline").read_bytes().rstrip(b"\0") in names]
    except OSError:
        return []
    return own + [below for child in own for below in relays(child)]


def resident(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
