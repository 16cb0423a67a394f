"""Honcho's measured defects, one by one, with real processes: none of them is ours."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_term_lets_a_request_of_more_than_five_seconds_finish(supervise, web, port, answers, in_flight):
    running = supervise({"web": web, "worker": "sleep 100"}, port=port)
    answers()
    request = in_flight("/6")
    assert running.stop() == 143
    request.join()
    assert (request.status, request.body, request.error) == (200, b"slept 6\n", "")
    assert running.lines[-1] == "system | web.1 stopped (rc=0)"
    running.leaves_nothing()


def test_a_child_that_ignores_term_is_killed_at_the_deadline_with_its_group_and_descendants(supervise):
    stubborn = "trap '' TERM; (trap '' TERM; setsid sleep 100) & sleep 100 & echo up; while true; do wait; done"
    running = supervise({"web": stubborn}, options={"stop_timeout": 1})
    running.wait_for("up")
    assert running.stop() == 143
    assert [re.sub(r"\d+\)", "N)", line) for line in running.said("system")] == [
        "web.1 started (pid=N)",
        "SIGTERM received",
        "sending SIGTERM to web.1 (pid N)",
        "sending SIGKILL to web.1 (pid N)",
        "web.1 stopped (rc=N)",
        "sending SIGTERM to 1 left running in sessions of their own",
    ]
    running.leaves_nothing()


def test_a_daemonised_grandchild_with_the_pipe_is_waited_for_one_second(supervise):
    running = supervise({"web": "setsid sh -c 'sleep 100' & echo bye"})
    assert running.wait() == 0  # and not after the 100 s that the pipe would be open
    assert running.said("web.1") == ["bye"]
    running.leaves_nothing()


def test_a_background_job_that_its_leader_leaves_is_ended(supervise):
    running = supervise({"web": "sleep 100 & exit 0"})
    assert running.wait() == 0
    assert "sending SIGTERM to what web.1 left running" in running.said("system")
    running.leaves_nothing()


@pytest.mark.parametrize("milliseconds", range(0, 100, 10))
def test_term_while_starting(supervise, milliseconds):
    running = supervise({"web": "sleep 100", "worker": "sleep 100", "clock": "sleep 100"})
    if milliseconds:
        running.wait_for("web.1 started")
    time.sleep(milliseconds / 1000)
    # Before Python has come to the runner's first line, TERM does what it does to every program.
    assert running.stop() in ((143,) if milliseconds else (143, -signal.SIGTERM))
    running.leaves_nothing()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGQUIT, 131), (signal.SIGTERM, 143)]
)
def test_these_signals_stop_in_order(supervise, web, port, answers, in_flight, number, code):
    running = supervise({"web": web}, port=port)
    answers()
    request = in_flight("/1")
    assert running.stop(number) == code
    request.join()
    assert (request.status, request.error) == (200, "")
    assert f"{number.name} received" in running.said("system")
    running.leaves_nothing()


def test_gunicorn_gets_the_signals_that_are_meant_for_it(supervise, web, port, answers):
    running = supervise({"web": web}, port=port)
    answers()
    for number, said in [(signal.SIGTTIN, "ttin"), (signal.SIGTTOU, "ttou"), (signal.SIGUSR1, "usr1")]:
        running.send(number)
        running.wait_for(f"Handling signal: {said}")
    running.send(signal.SIGUSR2)
    running.wait_for("Handling signal: usr2")
    assert running.stop() == 143
    running.leaves_nothing()


@pytest.mark.parametrize("name", ["USR1", "USR2", "TTIN", "TTOU"])
def test_the_leader_alone_gets_them(supervise, tmp_path, name):
    script = tmp_path / "leader.py"
    script.write_text(
        "import os, signal, sys, time\n"
        f"signal.signal(signal.SIG{name}, lambda *_: os.write(1, b'%d\\n' % (os.getpid() == os.getpgrp())))\n"
        "os.fork()\nos.write(1, b'up\\n')\nwhile True: time.sleep(1)\n"
    )
    running = supervise({"web": f"{sys.executable} {script}"})
    running.wait_for("up", count=2)
    running.send(getattr(signal, f"SIG{name}"))
    running.wait_for("| 1\n")
    assert running.stop() == 143
    assert sorted(running.said("web.1")) == ["1", "up", "up"]


def test_a_reader_that_goes_away_stops_everything_in_order(supervise, web, port, answers, in_flight):
    reader, writer = os.pipe()
    running = supervise({"web": web, "worker": "while true; do echo tick; sleep 0.05; done"}, port=port, stdout=writer)
    os.close(writer)
    answers()
    request = in_flight("/1")
    os.close(reader)
    assert running.wait() == 141
    request.join()
    assert (request.status, request.error) == (200, "")
    running.leaves_nothing()


def test_a_full_disk_stops_everything_in_order(supervise, tmp_path):
    with Path("/dev/full").open("wb") as full, (tmp_path / "stderr").open("wb") as stderr:
        running = supervise({"web": "sleep 100"}, stdout=full, stderr=stderr)
    assert running.wait() == 70
    assert (tmp_path / "stderr").read_text() == "error: standard output cannot be written to: No space left on device\n"
    running.leaves_nothing()


def memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_reader_that_stalls_costs_no_memory_and_no_line(supervise, tmp_path, log_format):
    reader, writer = os.pipe()
    flood = f"{sys.executable} -c 'for i in range(600_000): print(\"%%079d\" %% i)'".replace("%%", "%")
    running = supervise({"web": flood}, stdout=writer, options={"log_format": log_format})
    os.close(writer)
    time.sleep(2)  # in which it could read it all, 48 MB
    assert memory(running.pid) < 40_000
    with os.fdopen(reader, "rb") as stream:
        numbers = re.findall(rb"(?:\| |\"message\":\")(\d{79})", stream.read())
    assert running.wait() == 0
    assert list(map(int, numbers)) == list(range(600_000))


def test_a_stalled_reader_does_not_keep_it_from_stopping(supervise):
    reader, writer = os.pipe()
    running = supervise({"web": "yes"}, stdout=writer, options={"stop_timeout": 2})
    os.close(writer)
    time.sleep(1)
    assert running.stop() == 143  # with nobody reading, before which it does not return
    os.close(reader)
    running.leaves_nothing()


def test_killed_by_signal_nine_is_137(supervise):
    running = supervise({"web": "kill -9 $$", "worker": "sleep 100"})
    assert running.wait() == 137
    running.leaves_nothing()


@pytest.mark.parametrize("order", [("exit 0", "exit 5"), ("exit 5", "exit 0"), ("sleep 0.02", "exit 5")])
def test_the_first_failure_names_the_exit_code(supervise, order):
    assert supervise({"a": order[0], "b": order[1]}).wait() == 5


def test_every_line_is_there_once_and_whole(supervise):
    count = 100_000
    write = f'{sys.executable} -c \'import os; t = os.environ["PS"]; [print(t, "%079d" % i) for i in range({count})]\''
    running = supervise({"a": write, "b": write}, options={"restart": "on-failure"})
    assert running.wait(60) == 0
    for name in ("a.1", "b.1"):
        assert running.said(name) == [f"{name} {i:079d}" for i in range(count)]


def test_twenty_processes_are_twenty_processes(supervise):
    running = supervise({"web": "sleep 100"}, formation={"web": 20})
    running.wait_for("web.20 started")
    assert len(running.below()) == 20
    assert memory(running.pid) < 40_000
    running.stop()
    running.leaves_nothing()


def test_a_prompt_is_shown_after_a_tenth_of_a_second(supervise, tmp_path):
    script = tmp_path / "debugged.py"
    script.write_text("import pdb\npdb.set_trace()\nprint('went on')\n")
    answer, question = os.pipe()
    running = supervise({"web": f"{sys.executable} {script}"}, stdin=answer)
    os.close(answer)
    running.wait_for("web.1  | (Pdb) ")
    os.write(question, b"c\n")
    assert running.wait() == 0
    os.close(question)
    assert running.said("web.1")[-1] == "(Pdb) went on"


def test_lines_end_at_newlines_alone(supervise, tmp_path):
    line = b"a\rb\x0bc\x0cd\xe2\x80\xa8e\x85f\x1cg\xff\x00h"
    (tmp_path / "bytes").write_bytes(line + b"\n\n\r\nend")
    running = supervise({"web": f"cat {tmp_path}/bytes"})
    assert running.wait() == 0
    printed = [part.partition(b"| ")[2] for part in running.text.split(b"\n") if b" web.1  | " in part]
    assert printed == [line, b"", b"\r", b"end"]
