"""The runner is killed with KILL, which it cannot see coming: what it had started ends all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployer.runner.warden import NAME
from tests.support.command import ROOT

PLAIN = "RUNNER_TEST=$RUNNER_TEST PATH=$PATH"


def wardens(pid: int) -> list[int]:
    """Return the living wardens of a runner, once there is one: it takes its name a moment after it was forked."""
    end = time.monotonic() + 60
    while True:
        asked = subprocess.run(["pgrep", "-x", NAME, "-P", str(pid)], capture_output=True, text=True, check=False)
        if asked.stdout:
            return [int(line) for line in asked.stdout.split()]
        assert time.monotonic() < end


@pytest.mark.parametrize(
    "command",
    [
        "sleep 100 & echo up; sleep 100",
        "sh -c 'sleep 100 & echo up; sleep 100; true'",
        "setsid sh -c 'sleep 100; true' & echo up; sleep 100",
        "(setsid sleep 100 &); echo up; sleep 100",
        f"env -i {PLAIN} sleep 100 & echo up; exec env -i {PLAIN} sleep 100",
        "trap '' TERM; setsid sleep 100 & echo up; while true; do sleep 0.1; done",
    ],
    ids=["a job", "a shell in a shell", "a session", "a daemon", "no environment", "deaf"],
)
def test_nothing_outlives_it(supervise, command):
    running = supervise({"web": command}, options={"stop_timeout": 1})
    running.wait_for("up")
    warden = wardens(running.pid)
    running.send(signal.SIGKILL)
    running.wait()
    running.leaves_nothing()
    is_gone(warden)


def test_a_request_in_flight_is_finished(supervise, web, port, answers, in_flight):
    running = supervise({"web": f"true; {web}; true"}, port=port)
    answers()
    request = in_flight("/1")
    running.send(signal.SIGKILL)
    running.wait()
    request.join()
    assert (request.status, request.error) == (200, "")
    running.leaves_nothing()


def test_a_shell_that_kills_its_whole_job_does_not_reach_the_warden(supervise, python):
    running = supervise({"web": "sleep 100 & echo up; sleep 100"}, python=python, start_new_session=True)
    running.wait_for("up")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    running.leaves_nothing()


def test_the_warden_is_out_of_the_runner_s_session_before_anything_starts():
    program = (
        "import os\nfrom deployer.runner.warden import hired\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"  # so that it does not run beside this one
        "for _ in range(20):\n with hired('x', seconds=1) as warden:\n"
        "  assert os.getsid(warden._pid) == warden._pid\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_warden_shows_and_holds_nothing_of_the_runner_and_goes_with_it(supervise):
    running = supervise({"web": "sleep 100"})
    running.wait_for("started")
    (warden,) = wardens(running.pid)
    shown = Path(f"/proc/{warden}")
    await_(lambda: (shown / "cmdline").read_bytes().rstrip(b"\0") == NAME.encode())
    assert (shown / "environ").read_bytes().strip(b"\0") == b""
    streams = {str(fd.readlink()) for fd in (shown / "fd").iterdir()}
    assert sorted(name.partition(":")[0] for name in streams) == ["/dev/null", "pipe"]
    assert running.stop() == 143
    is_gone([warden])


def test_without_its_warden_the_runner_goes_on(supervise):
    running = supervise({"web": "trap 'echo usr1' USR1; echo up; while true; do sleep 0.1; done"})
    running.wait_for("up")
    (warden,) = wardens(running.pid)
    os.kill(warden, signal.SIGKILL)
    running.send(signal.SIGUSR1)
    running.wait_for("usr1")
    assert running.stop() == 143
    running.leaves_nothing()


def test_a_runner_below_a_runner_ends_in_order(supervise, carried):
    inner = (
        f"import sys, os; sys.path.insert(0, {str(carried)!r})\n"
        "from deployer.runner.formation import Process\nfrom deployer.runner.processes import Processes\n"
        "from deployer.runner.supervisor import Settings, Supervisor\n"
        "below = Process(name='below.1', command='sleep 100 & echo up; sleep 100', env=dict(os.environ))\n"
        "sys.exit(Supervisor(Processes([below]), Settings(), out=sys.stdout.buffer).run())\n"
    )
    (carried.parent / "inner.py").write_text(inner)
    running = supervise({"web": f"{sys.executable} {carried.parent}/inner.py"})
    running.wait_for("up")
    running.send(signal.SIGKILL)
    running.wait()
    running.leaves_nothing()


def is_gone(pids: list[int]) -> None:
    def zombies_only() -> bool:
        return all(state(pid) in {"", "Z", "X"} for pid in pids)

    assert pids
    await_(zombies_only)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def await_(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
