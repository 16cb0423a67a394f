"""Random formations that crash and are signalled, stopped and killed in any order: no zombie, no orphan.

A fiftieth of the 500 sequences by default; all of them:

    DEPLOY_TEST_SCALE=1 pytest tests/property/test_runner_sequences.py
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.runner.warden import NAME
from tests.support.waiting import settles

HOUSE = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="orphans are found by /proc"),
    pytest.mark.slow,
]

COMMANDS = {
    "sleeps": "sleep 100",
    "ends": "true",
    "fails": "exit 5",
    "fails soon": "sleep 0.1; exit 3",
    "is killed": "kill -9 $$",
    "is missing": "no-such-command",
    "ignores TERM": "trap '' TERM; while true; do sleep 0.1; done",
    "leaves a job": "sleep 100 & exit 0",
    "leaves a daemon": "setsid sh -c 'sleep 100' & exec sleep 100",
    "leaves a stubborn daemon": "(trap '' TERM; setsid sleep 100) & sleep 0.05",
    "makes orphans": "while true; do (sleep 0.01 &); sleep 0.02; done",
    "floods": "yes",
    "forks": "sleep 100 & sleep 100 & wait",
}

PROGRAM = """
import os, sys
from deployer.runner.formation import expand
from deployer.runner.processes import Processes
from deployer.runner.supervisor import Settings, Supervisor
commands = dict(enumerate(sys.argv[2:]))
processes = expand({f"p{n}": c for n, c in commands.items()}, port=6000, env=dict(os.environ))
settings = Settings(restart=sys.argv[1], stop_timeout=0.4)
sys.exit(Supervisor(Processes(processes), settings, out=sys.stdout.buffer).run())
"""

processes = st.lists(st.sampled_from(sorted(COMMANDS)), min_size=1, max_size=4)
policies = st.sampled_from(["no", "on-failure", "always"])
pauses = st.floats(0, 0.15)
steps = st.lists(
    st.tuples(st.sampled_from(["wait", "crash", "crash all", "USR1", "TTIN", "INT", "TERM", "HUP"]), pauses), max_size=6
)
stops = st.sampled_from([signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL])


def parents(state: str = "") -> dict[int, int]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if not state or fields[0] == state:
                    found[int(folder.name)] = int(fields[1])
    return found


def children(pid: int, state: str = "") -> list[int]:
    found = [child for child, parent in parents(state).items() if parent == pid]
    return [child for child in found if not is_runner_s(child, pid)]


def is_runner_s(child: int, runner: int) -> bool:
    """Tell the warden, also before it has its name, and what was forked and is not itself yet."""
    with contextlib.suppress(OSError):
        name, line = Path(f"/proc/{child}/comm").read_text(), Path(f"/proc/{child}/cmdline").read_bytes()
        return name == f"{NAME}\n" or (line != b"" and line == Path(f"/proc/{runner}/cmdline").read_bytes())
    return False


def marked(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if f"RUNNER_TEST={mark}\0".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
    return found


@given(names=processes, policy=policies, early=st.integers(0, 4), steps=steps, stop=stops)
def test_nothing_is_left(names, policy, early, steps, stop):
    mark = uuid.uuid4().hex
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), "RUNNER_TEST": mark}
    # A job that a shell started in the background ignores INT and QUIT, and so would what it starts.
    argv = ["env", "--default-signal", sys.executable, "-c", PROGRAM, policy, *(COMMANDS[name] for name in names)]
    runner = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if early:  # else the first signals come while Python is starting
            settles(lambda: children(runner.pid) or runner.poll() is not None, seconds=2)  # some never have one
        for action, pause in steps:
            time.sleep(pause)
            if runner.poll() is not None:
                break
            if action.startswith("crash"):
                for child in children(runner.pid)[: None if action == "crash all" else 1]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
            elif action != "wait":
                runner.send_signal(getattr(signal, f"SIG{action}"))
        if runner.poll() is None:
            assert settles(lambda: runner.poll() is not None or not children(runner.pid, "Z"))
            runner.send_signal(stop)
            # Before Python has set its handlers TTIN stops a process, and nothing but CONT or KILL then reaches it.
            runner.send_signal(signal.SIGCONT)
        assert runner.wait(timeout=60) is not None
        assert settles(lambda: not marked(mark))
    finally:
        for pid in marked(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        runner.kill()
        runner.wait()
