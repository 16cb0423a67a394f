"""The supervisor's behaviour, point by point, with real processes; much of it on every Python a stack may have."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.waiting import settles

HERE = Path(__file__).parent


def test_a_formation_serves_and_stops(supervise, web, port, answers, in_flight, python):
    running = supervise({"web": web, "worker": "sleep 100; true"}, port=port, python=python)
    answers()
    request = in_flight("/1")
    assert running.zombies() == []
    assert running.stop() == 143
    request.join()
    assert (request.status, request.error) == (200, "")
    assert running.said("system")[-1] == "web.1 stopped (rc=0)"
    running.leaves_nothing()


def test_exit_codes(supervise, python):
    assert supervise({"web": "true"}, python=python).wait() == 0
    assert supervise({"web": "exit 7"}, python=python).wait() == 7
    assert supervise({"web": "kill -SEGV $$"}, python=python).wait() == 139


def test_threads_beside_it_do_no_harm(carried, start, python):
    program = (
        f"import sys, os, threading; sys.path.insert(0, {str(carried)!r})\n"
        "from deployer.runner.formation import Process\nfrom deployer.runner.processes import Processes\n"
        "from deployer.runner.supervisor import Settings, Supervisor\n"
        "sleeper = Process(name='web.1', command='sleep 100', env=dict(os.environ))\n"
        "seen = []\n"
        "runner = Supervisor(Processes([sleeper]), Settings(), out=sys.stdout.buffer,\n"
        "                    on_event=lambda event: seen.append(event.kind))\n"
        "threading.Timer(0.3, runner.restart, [['web.1']]).start()\n"
        "threading.Timer(0.8, runner.stop, [9]).start()\n"
        "code = runner.run()\nprint(*seen)\nsys.exit(code)\n"
    )
    running = start([python, "-W", "error", "-c", program])
    assert running.wait() == 9
    assert running.text.decode().splitlines()[-1] == "started exited stopped restarting started exited stopped"
    running.leaves_nothing()


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("gunicorrn blasto:APP", 127, "web.1 could not be started: gunicorrn: command not found"),
        ("./start.sh", 127, "web.1 could not be started: ./start.sh: no such file or directory"),
        ("/etc/passwd", 126, "web.1 could not be started: /etc/passwd: permission denied"),
        ("/etc", 126, "web.1 could not be started: /etc: is a directory"),
    ],
)
def test_a_command_that_cannot_start(supervise, command, code, message):
    running = supervise({"web": command, "worker": "sleep 100"})
    assert running.wait() == code
    assert running.said("system")[0] == message
    running.leaves_nothing()


def test_a_script_without_its_interpreter(supervise, tmp_path):
    script = tmp_path / "start"
    script.write_text("#!/no/such/python\n")
    script.chmod(0o755)
    running = supervise({"web": str(script)})
    assert running.wait() == 127
    assert running.said("system") == [f"web.1 could not be started: {script}: its interpreter is missing"]


def test_a_script_without_a_first_line_is_run_by_sh(supervise, tmp_path):
    (tmp_path / "start").write_text('echo "started with $1"\n')
    (tmp_path / "start").chmod(0o755)
    running = supervise({"web": "./start here"}, cwd=str(tmp_path))
    assert running.wait() == 0
    assert running.said("web.1") == ["started with here"]


def test_ctrl_c_twice_kills_at_once(supervise):
    running = supervise({"web": "trap '' TERM; echo up; while true; do sleep 1; done"})
    running.wait_for("up")
    running.send(signal.SIGINT)
    running.send(signal.SIGINT)  # the same key press again
    running.wait_for("SIGINT received")
    time.sleep(1.2)
    assert running.process.poll() is None
    assert running.stop(signal.SIGINT) == 130
    assert "sending SIGKILL to web.1" in running.text.decode()
    running.leaves_nothing()


def test_the_first_exit_stops_the_rest(supervise):
    running = supervise({"web": "sleep 100", "worker": "sleep 0.3"})
    assert running.wait() == 0
    assert re.sub(r"\d+\)", "N)", "\n".join(running.said("system"))) == (
        "web.1 started (pid=N)\nworker.1 started (pid=N)\nworker.1 stopped (rc=N)\n"
        "worker.1 ended (it exited with N), so the others are stopped\n"
        "sending SIGTERM to web.1 (pid N)\nweb.1 stopped (rc=N)"
    )


def test_restart_on_failure_backs_off_and_lets_others_be(supervise):
    running = supervise(
        {"web": "sleep 100", "worker": "exit 5", "job": "exit 0"},
        options={"restart": "on-failure", "log_format": "json"},
    )
    running.wait_for("worker.1 starts again in 4 s")
    assert running.stop() == 143
    lines = [json.loads(line) for line in running.text.splitlines()]
    said = [line["message"] for line in lines]
    assert [line for line in said if "again" in line] == [
        "worker.1 starts again in 1 s",
        "worker.1 starts again in 2 s",
        "worker.1 starts again in 4 s",
    ]
    waits = [
        line["time"] for line in lines if line["message"].startswith(("worker.1 starts again", "worker.1 started"))
    ]
    _, asked, second, asked_again, third, _ = map(datetime.fromisoformat, waits)
    assert (second - asked).total_seconds() > 0.95
    assert (third - asked_again).total_seconds() > 1.95
    assert sum("job.1 started" in line for line in said) == 1
    assert sum("web.1 started" in line for line in said) == 1
    running.leaves_nothing()


def test_restart_always_starts_what_ended_well(supervise):
    running = supervise({"job": "exit 0"}, options={"restart": "always"})
    running.wait_for("job.1 started", count=2)
    assert running.stop() == 143


@pytest.mark.slow
def test_five_quick_failures_give_up(supervise):
    running = supervise({"web": "sleep 100", "worker": "exit 5"}, options={"restart": "always"})
    assert running.wait(40) == 5
    said = running.said("system")
    assert sum("worker.1 started" in line for line in said) == 5
    assert "worker.1 is not started again: it failed 5 times in a row" in said
    running.leaves_nothing()


def test_an_app_that_does_not_load_is_not_tried_again(supervise, port):
    command = f"{sys.executable} -m gunicorn --no-control-socket no_such_module:app"
    running = supervise({"web": command}, port=port, options={"restart": "always"})
    assert running.wait() == 3
    assert "web.1 is not started again: exit code 3 says the app does not load" in running.said("system")


def test_a_restart_cleans_up_what_the_last_start_left(supervise):
    running = supervise({"web": "sleep 300 & kill -9 $$"}, options={"restart": "always"})
    running.wait_for("web.1 started", count=2)
    running.stop()
    running.leaves_nothing()


def test_processes_have_sessions_of_their_own_and_plain_signals(supervise, tmp_path):
    script = tmp_path / "look.py"
    script.write_text(
        "import os, signal\n"
        "print(os.getsid(0) == os.getpid() == os.getpgrp())\n"
        "status = open('/proc/self/status').read()\n"
        "print([line.split()[1] for line in status.splitlines() if line.startswith('SigBlk')])\n"
    )
    running = supervise(
        {"web": f"{sys.executable} {script}"}, preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    )
    assert running.wait() == 0
    assert running.said("web.1") == ["True", "['0000000000000000']"]
    # `head` ends `yes` by SIGPIPE: ignored it would complain, and bash would not say 141.
    running = supervise({"web": "set -o pipefail; yes | head -n 1"})
    assert running.wait() == 141
    assert running.said("web.1") == ["y"]


def test_children_end_when_the_runner_is_killed(supervise, web, port, answers):
    running = supervise({"web": web, "worker": "sleep 100"}, port=port)
    answers()
    running.send(signal.SIGKILL)
    running.wait()
    running.leaves_nothing()


def test_environment_and_ports(supervise):
    show = "echo $PS $DYNO $PORT"
    running = supervise(
        {"release": show, "clock": show, "web": show, "worker": show},
        port=7000,
        formation={"web": 2, "worker": 2, "clock": 1},
        options={"restart": "on-failure"},
    )
    assert running.wait() == 0
    shown = [running.said(name) for name in ("web.1", "web.2", "clock.1", "worker.1", "worker.2", "release.1")]
    assert shown == [
        ["web.1 web.1 7000"],
        ["web.2 web.2 7001"],
        ["clock.1 clock.1 7100"],
        ["worker.1 worker.1 7200"],
        ["worker.2 worker.2 7201"],
        [],
    ]


def on_terminal(supervise, **options) -> tuple[int, bytes]:
    ours, theirs = pty.openpty()
    running = supervise({"web": "echo hello", "worker": "sleep 0.2"}, stdout=theirs, **options)
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 4096):
            text += chunk
    except OSError:
        pass
    os.close(ours)
    return running.wait(), text


def test_colours_on_a_terminal(supervise):
    code, text = on_terminal(supervise, options={"restart": "on-failure"})
    assert code == 0
    assert re.search(rb"\x1b\[0m\x1b\[36m\d\d:\d\d:\d\d web.1    \| \x1b\[0mhello\r\n", text)


def test_no_color_is_honoured(supervise):
    code, text = on_terminal(supervise, env={"NO_COLOR": "1"}, options={"restart": "on-failure"})
    assert code == 0
    assert b"\x1b" not in text
    assert b"web.1    | hello\r\n" in text


def test_no_colours_in_a_pipe(supervise):
    running = supervise({"web": "echo hello"})
    running.wait()
    assert re.fullmatch(r"\d\d:\d\d:\d\d web.1  \| hello", running.text.decode().splitlines()[1])


def test_json_lines(supervise):
    running = supervise({"web": r"printf 'a \"b\" \\ \303\251 \377\nno end'"}, options={"log_format": "json"})
    assert running.wait() == 0
    lines = [json.loads(line) for line in running.text.decode().splitlines()]
    assert [(line["process"], line["message"]) for line in lines[1:]] == [
        ("web.1", 'a "b" \\ é \\xff'),
        ("web.1", "no end"),
        ("system", "web.1 stopped (rc=0)"),
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", lines[0]["time"])
    assert set(lines[0]) == {"time", "process", "message"}


def test_ctrl_z_stops_and_fg_goes_on(supervise):
    running = supervise({"web": "while true; do echo tick; sleep 0.05; done"})
    running.wait_for("tick", count=3)
    running.send(signal.SIGTSTP)
    assert settles(lambda: Path(f"/proc/{running.pid}/stat").read_text().split()[2] == "T")
    time.sleep(0.3)  # what was printed before has come
    ticks = running.text.count(b"tick")
    time.sleep(0.5)
    assert running.text.count(b"tick") == ticks
    running.send(signal.SIGCONT)
    running.wait_for("tick", count=ticks + 3)
    assert running.stop() == 143
    running.leaves_nothing()


def test_a_stdout_that_is_shared_stays_blocking(supervise):
    reader, writer = os.pipe()
    running = supervise({"web": "echo hello"}, stdout=writer)
    assert running.wait() == 0
    assert os.get_blocking(writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        assert b"web.1  | hello\n" in stream.read()


def test_a_file_is_appended_to(supervise, tmp_path):
    file = tmp_path / "log"
    file.write_bytes(b"before\n")
    with file.open("ab") as log:
        running = supervise({"web": "echo hello"}, stdout=log)
        assert running.wait() == 0
    assert [line[9:] for line in file.read_text().splitlines()[2:]] == [
        "web.1  | hello",
        "system | web.1 stopped (rc=0)",
    ]
    assert file.read_text().startswith("before\n")


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_a_standard_stream_that_is_closed(supervise, carried, start, closed):
    asked = json.dumps({"processes": {"web": "cat; echo hello; echo problem >&2"}})
    script = f'exec "$0" -I "$1" "$2" "$3" {closed}'
    running = start(
        ["sh", "-c", script, sys.executable, str(HERE / "supervise.py"), str(carried), asked], stdin=subprocess.DEVNULL
    )
    assert running.wait() == 0
    assert running.said("web.1") == ["hello", "problem"]


def test_a_callback_that_raises_leaves_nothing_running(carried, start):
    program = (
        f"import sys, os; sys.path.insert(0, {str(carried)!r})\n"
        "from deployer.runner.formation import Process\nfrom deployer.runner.processes import Processes\n"
        "from deployer.runner.supervisor import Settings, Supervisor\n"
        "sleeper = Process(name='web.1', command='sleep 100', env=dict(os.environ))\n"
        "Supervisor(Processes([sleeper]), Settings(), out=sys.stdout.buffer, on_event=lambda event: 1 / 0).run()\n"
    )
    running = start([sys.executable, "-c", program])
    assert running.wait() == 1
    assert running.text.endswith(b"ZeroDivisionError: division by zero\n")
    running.leaves_nothing()


def test_nohup_is_honoured(supervise):
    running = supervise({"web": "sleep 100"}, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    running.wait_for("started")
    running.send(signal.SIGHUP)
    time.sleep(0.3)
    assert running.process.poll() is None
    assert running.stop() == 143


def test_without_its_own_words(supervise):
    running = supervise({"web": "echo hello"}, options={"narrate": False})
    assert running.wait() == 0
    assert running.lines == ["web.1 | hello"]
