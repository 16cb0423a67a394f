"""Readiness of `deploy local`: a web process that dies, listens elsewhere, or never answers, and what is said of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.command import EXAMPLES
from tests.support.ports import free_port
from tests.support.running import Running

LISTEN = """\
import os, socket, sys, time
print("listening", flush=True)
server = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
server.bind((sys.argv[1], int(sys.argv[2])))
server.listen()
while True:
    connection = server.accept()[0]
    if sys.argv[3:]:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 " + sys.argv[3].encode() + b" Whatever\\r\\nContent-Length: 0\\r\\n\\r\\n")
        connection.close()
"""


@pytest.fixture
def port() -> int:
    return free_port(2)


@pytest.fixture(scope="module")
def warm(home: Path) -> Path:
    """The store with blasto's environment in it: what making one prints is another test's."""
    made = Running("local", EXAMPLES / "blasto", "--", "true", home=home)
    assert made.wait() == 0, made.err
    return home


@pytest.fixture
def start(warm: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Run an app whose web process is this command."""
    started: list[Running] = []

    def begin(web: str, *arguments, procfile: str = "", **files: str) -> Running:
        folder = tmp_path / "stub"
        folder.mkdir()
        for name in ("Pipfile", "Pipfile.lock", "deploy.toml"):
            shutil.copy(EXAMPLES / "blasto" / name, folder / name)
        (folder / "Procfile").write_text(procfile or f"web: {web}\n")
        (folder / "listen.py").write_text(LISTEN)
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        started.append(Running("local", folder, *arguments, home=warm))
        return started[-1]

    yield begin
    for running in started:
        running.close()


@pytest.mark.parametrize("status", ["204", "302", "400", "404", "500"])
def test_any_answer_is_ready(start, port, status):
    running = start(f"python listen.py 127.0.0.1 $PORT {status}", "-p", port)
    note = "" if status < "400" else f" (it answers {status})"
    running.wait_for(f"ready: http://localhost:{port}{note}\n")
    assert running.stop() == 143


HOSTS = """\
import os
from wsgiref.simple_server import make_server

def app(environ, start_response):
    known = environ["HTTP_HOST"] == "a.example"
    start_response("200 OK" if known else "400 Bad Request", [("Content-Type", "text/html")])
    return [b"welcome" if known else b"<h1>Bad Request (400)</h1>"]

make_server("", int(os.environ["PORT"]), app).serve_forever()
"""


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        ([], "(it answers 400: DisallowedHost; --health-host names another host)"),
        (["-e", "ALLOWED_HOSTS=a.example"], "(it answers to the host a.example)"),
        (["-e", "ALLOWED_HOSTS=b.example", "--health-host", "a.example"], "(it answers to the host a.example)"),
        (
            ["-e", "ALLOWED_HOSTS=b.example"],
            "(it answers 400 to the host b.example: DisallowedHost; --health-host names another host)",
        ),
    ],
)
def test_the_host_of_the_app_is_asked_for_and_a_refusal_is_reported_with_its_reason(start, port, given, reported):
    running = start("python serve.py", "-p", port, *given, serve=HOSTS)
    running.wait_for(f"ready: http://localhost:{port} {reported}\n")
    assert running.stop() == 143


def test_localhost_is_the_other_loopback_too(start, port):
    running = start("python listen.py ::1 $PORT 200", "-p", port)
    running.wait_for(f"ready: http://localhost:{port}")
    assert running.stop() == 143


def test_one_that_dies(start, port, tmp_path):
    running = start("""python -c 'print("no database"); raise SystemExit(5)'""", "-p", port)
    assert running.wait() == 5
    assert running.err == (
        "error: web.1 ended before it answered: it exited with 5\n\n"
        "From its log:\n"
        "  no database\n\n"
        f"hint: fix what its log says; `deploy local {tmp_path / 'stub'} -- CMD` "
        "runs any command in the same environment.\n"
    )


def test_one_that_is_killed(start, port, tmp_path):
    running = start("kill -9 $$", "-p", port)
    assert running.wait() == 137
    assert running.err == (
        "error: web.1 ended before it answered: it was ended by SIGKILL\n\n"
        "It wrote nothing.\n\n"
        f"hint: fix what its log says; `deploy local {tmp_path / 'stub'} -- CMD` "
        "runs any command in the same environment.\n"
    )


def test_one_that_ends_well_and_never_answered_has_failed_too(start, port):
    running = start("true", "-p", port)
    assert running.wait() == 50
    assert running.err.startswith("error: web.1 ended before it answered: it exited with 0\n")


def test_what_gunicorn_could_not_load_is_shown_and_not_gunicorn_s_own_end(start, port):
    running = start("gunicorn broken:APP", "-p", port, broken="import os\nAPP = os.environ['NO_SUCH_VARIABLE']\n")
    assert running.wait() in {1, 3}  # gunicorn 27 names 3 and, when it stops a second worker, 1
    assert "\n  KeyError: 'NO_SUCH_VARIABLE'\n" in running.err
    assert "HaltServer" not in running.err


def test_one_that_listens_on_another_port(start, port):
    running = start(f"python listen.py 0.0.0.0 {port + 1} 200", "-p", port, "--boot-timeout", "4")
    running.wait_for(f"web.1 listens on 0.0.0.0:{port + 1}; it should listen on 0.0.0.0:{port}, because PORT is {port}")
    assert running.wait() == 50
    assert running.err == (
        "error: web.1 did not answer within 4 s\n\n"
        f"It listens on 0.0.0.0:{port + 1}, not on port {port}, to which PORT is set.\n\n"
        "From its log:\n"
        "  listening\n\n"
        "hint: let it listen on 0.0.0.0:$PORT, as gunicorn does by default.\n"
    )
    assert running.left() == []


def test_one_that_listens_on_another_address(start, port):
    running = start("python listen.py 127.0.0.2 $PORT 200", "-p", port, "--boot-timeout", "3")
    assert running.wait() == 50
    assert running.err == (
        "error: web.1 did not answer within 3 s\n\n"
        f"It listens on 127.0.0.2:{port}, which localhost does not reach.\n\n"
        "From its log:\n"
        "  listening\n\n"
        "hint: let it listen on 0.0.0.0:$PORT or 127.0.0.1:$PORT.\n"
    )


def test_one_that_listens_on_nothing(start, port):
    running = start("sleep 60", "-p", port, "--boot-timeout", "1")
    assert running.wait() == 50
    assert running.err == (
        "error: web.1 did not answer within 1 s\n\n"
        "It does not listen on any port.\n\n"
        "hint: its log may show what it waits for; `--boot-timeout` gives it more time.\n"
    )


DRIP = """\
import os, socket, time
server = socket.create_server(("0.0.0.0", int(os.environ["PORT"])))
while True:
    connection = server.accept()[0]
    try:
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nX: ")
        while True:
            time.sleep(0.1)
            connection.sendall(b"x")
    except OSError:
        pass
"""


@pytest.mark.parametrize("web", ["python listen.py 0.0.0.0 $PORT", "python drip.py"])
def test_one_that_listens_and_never_answers(start, port, web):
    running = start(web, "-p", port, "--boot-timeout", "2", drip=DRIP)
    assert running.wait() == 50
    assert running.err.startswith(
        f"error: web.1 did not answer within 2 s\n\nIt listens on 0.0.0.0:{port}, but no answer came.\n"
    )


def test_a_process_that_is_stopped_before_it_answered_is_not_an_error(start, port):
    running = start("echo up; exec sleep 60", "-p", port)
    running.wait_for("up")
    assert running.stop(2) == 130
    assert running.err == ""


def test_one_that_comes_up_at_the_second_try(start, port, tmp_path):
    mark = tmp_path / "mark"
    running = start(
        f"test -e {mark} || {{ touch {mark}; exit 1; }}; exec python listen.py 0.0.0.0 $PORT 200",
        *("-p", port, "--restart", "on-failure"),
    )
    running.wait_for("ready:")
    assert "web.1 starts again in 1 s" in running.out
    assert running.stop() == 143
    assert running.err == ""


ALL_AT_ONCE = """\
web: python listen.py 127.0.0.1 $PORT 200
worker: {worker}
release: echo released
postdeploy: echo deployed
"""
"""A worker that waits until web answers, and ends."""

WAIT = "python wait.py $((PORT - 100)) && echo no database"
WAITING = """\
import socket, sys, time
while True:
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
        break
    except OSError:
        time.sleep(0.05)
"""


@pytest.fixture
def several(start, tmp_path: Path) -> Callable[..., Running]:
    """Run web with a worker that ends once web answers."""

    def begin(end: str, *arguments) -> Running:
        worker = f"{WAIT}; {end}"
        return start("true", *arguments, wait=WAITING, procfile=ALL_AT_ONCE.format(worker=worker))

    return begin


def test_a_process_that_fails_and_stops_the_others_is_reported_last_with_its_log(several, port, tmp_path):
    running = several("exit 7", "-p", port, "--log-format", "text")
    assert running.wait() == 7
    assert "worker.1 ended (it exited with 7), so the others are stopped" in running.out
    stub = tmp_path / "stub"
    assert running.err == (
        f"release is not run; `deploy local {stub} release` runs it\n"
        f"postdeploy is not run; `deploy local {stub} postdeploy` runs it\n"
        "error: worker.1 ended, so the others were stopped: it exited with 7\n\n"
        "From its log:\n"
        "  no database\n\n"
        "hint: `--restart on-failure` starts a process that fails again, and leaves the others alone.\n"
    )


def test_a_clean_end_that_stops_the_others_is_said_in_words(several, port):
    running = several("exit 0", "-p", port)
    assert running.wait() == 0
    assert "worker.1 ended (it exited with 0), so the others are stopped" in running.out
    assert "error:" not in running.err


def test_quiet_prints_what_the_processes_print_and_the_error(several, port):
    running = several("exit 3", "-p", port, "-q")
    assert running.wait() == 3
    assert [line for line in running.out.splitlines() if "worker.1" not in line and "web.1" not in line] == []
    assert running.err.startswith("error: worker.1 ended, so the others were stopped: it exited with 3\n")


def test_postdeploy_runs_by_its_name_and_ends(several, port):
    running = several("exit 0", "postdeploy")
    assert running.wait() == 0
    assert running.said("postdeploy.1") == ["deployed"]
    assert "is not run" not in running.err
