"""Readiness against real sockets: servers that answer, are silent, cut the connection, or are not there."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deployer.errors.readiness import ProcessEndedError, boot_failed, boot_refused, boot_timed_out, process_ended
from deployer.readiness import question
from deployer.readiness.boot_log import Tail
from deployer.readiness.health import Answer, Outcome, ask, ready_text, refusal_of, wait_until_ready
from deployer.readiness.sockets import Listener, compare_listeners, parse_listeners
from tests.support.raw_server import raw_server

# /proc/net/tcp of a container: 0.0.0.0:8000 and 127.0.0.1:5000 listen, a connection of the first is established.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 41 1 0000000000000000 100
   1: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 42 1 0000000000000000 100
   2: 0100007F:1F40 0100007F:C000 01 00000000:00000000 00:00000000 00000000  1000        0 43 1 0000000000000000 100
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0 0 0 0 44
   1: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0 0 0 0 45
   2: 0000000000000000FFFF00000100007F:1F92 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0 0 0 0 46
"""


@contextlib.contextmanager
def serving(status: int, **headers: str) -> Iterator[tuple[int, list[str]]]:
    hosts: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hosts.append(str(self.headers["Host"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1], hosts
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def raw(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    answer(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


@pytest.mark.parametrize("status", [200, 302, 400, 404, 500])
def test_any_status_is_an_answer_and_the_host_is_the_apps_own(status):
    with serving(status, Location="http://127.0.0.1:9/") as (port, hosts):
        assert ask(port, host="127.0.0.1", name="blasto.test") == Answer(status=status)
    assert hosts == ["blasto.test"]


def test_proxy_settings_of_this_process_are_not_asked(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serving(200) as (port, _):
        assert ask(port, host="127.0.0.1", name="x") == Answer(status=200)


def test_nobody_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answer = ask(unused.getsockname()[1], host="127.0.0.1", name="x")
    assert answer == Answer(problem="nothing accepts connections")


def test_one_that_accepts_and_says_nothing():
    gone = threading.Event()
    with raw(lambda connection: gone.wait(5) and None) as port:
        answer = ask(port, host="127.0.0.1", name="x", seconds=0.2)
        gone.set()
    assert answer == Answer(problem="no answer came")


def slowly(head: bytes) -> Iterator[bytes]:
    """Yield a head, and then a byte now and then until nobody reads."""
    yield head
    while True:
        time.sleep(0.02)
        yield b"x"


REFUSES = b"HTTP/1.1 400 Bad Request\r\n"
PAGE = b"<h1>Bad Request (400)</h1>"
HOSTILE: dict[str, tuple[Callable[[], Iterable[bytes]], Answer]] = {
    "a header that never ends": (lambda: slowly(b"HTTP/1.1 200 OK\r\nX: "), Answer(problem="no answer came")),
    "a status line that never ends": (lambda: slowly(b"HTTP/1.1 2"), Answer(problem="no answer came")),
    "interim answers without end": (
        lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        Answer(problem="no answer came"),
    ),
    "a refusal whose body never ends": (
        lambda: slowly(REFUSES + b"Content-Length: 1000000\r\n\r\n" + PAGE),
        Answer(status=400, reason="DisallowedHost"),
    ),
    "a refusal whose body is cut": (
        lambda: [REFUSES + b"Content-Length: 1000\r\n\r\n" + PAGE],
        Answer(status=400, reason="DisallowedHost"),
    ),
    "a refusal with a chunk that is broken": (
        lambda: [REFUSES + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\nno\r\n" % (len(PAGE), PAGE)],
        Answer(status=400, reason="DisallowedHost"),
    ),
    "a refusal with a length that is not a number": (
        lambda: [REFUSES + b"Content-Length: -9e9\r\n\r\nwhat?"],
        Answer(status=400),
    ),
    "lines without end": (
        lambda: itertools.repeat(b"x" * 100_000),
        Answer(problem="its answer is not HTTP: LineTooLong"),
    ),
    "headers without end": (
        lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(b"X: y\r\n")),
        Answer(problem="its answer is not HTTP: HTTPException"),
    ),
    "another protocol": (
        lambda: [b"220 mail.example ESMTP\r\n"],
        Answer(problem="its answer is not HTTP: BadStatusLine"),
    ),
    "a status that is not a number": (
        lambda: [b"HTTP/1.1 OK 200\r\n\r\n"],
        Answer(problem="its answer is not HTTP: BadStatusLine"),
    ),
    "nothing": (list, Answer(problem="it closed the connection without an answer")),
}


def ask_from_inside(port: int, seconds: float) -> Answer:
    """Ask as in a container, where only the text of the module is."""
    code = ["-I", "-c", inspect.getsource(question), str(port), "/ü#x", "x", str(seconds), "127.0.0.1"]
    done = subprocess.run([sys.executable, *code], capture_output=True, check=False)
    if done.returncode:
        return Answer(problem=done.stderr.decode().strip())
    status, _, body = done.stdout.partition(b"\n")
    return Answer(status=int(status), reason=refusal_of(int(status), body))


@pytest.mark.parametrize("case", HOSTILE)
def test_each_question_ends_for_any_answer_of_an_app(case):
    answer, expected = HOSTILE[case]
    # A busy machine must have the time to read what ends the question. A body without end lasts until the deadline.
    seconds = {"a refusal whose body never ends": 2.0}.get(case, 0.3 if expected.problem == "no answer came" else 30.0)
    asked = []

    def reply(method: str, path: str) -> Iterable[bytes]:
        asked.append((method, path))
        return answer()

    with raw_server(reply) as server:
        port = int(server.partition(":")[2])
        inside = ask_from_inside(port, seconds)
        assert ask(port, host="127.0.0.1", name="x", seconds=seconds) == expected == inside
    assert asked == [("GET", "/%C3%BC"), ("GET", "/")]


def test_an_app_that_refuses_before_it_has_read_the_question():
    def refuse(connection: socket.socket) -> None:
        connection.sendall(REFUSES + b"\r\n" + PAGE)

    with raw(refuse) as port:
        answer = ask(port, host="127.0.0.1", name="x", seconds=5)
    closed = Answer(problem="it closed the connection without an answer")
    assert answer in {closed, Answer(status=400), Answer(status=400, reason="DisallowedHost")}


def clocked(
    answers: list[Answer], *, alive: Callable[[], bool] = lambda: True, strict: bool = False, seconds: float = 3
):
    now = [0.0]
    pending = iter(answers)
    last = answers[-1]
    return wait_until_ready(
        lambda _seconds: next(pending, last),
        alive=alive,
        strict=strict,
        seconds=3,
        clock=lambda: now[0],
        sleep=lambda pause: now.__setitem__(0, now[0] + pause),
    )


REFUSED = Answer(problem="nothing accepts connections")


def test_ready_at_the_first_answer():
    outcome = clocked([REFUSED, REFUSED, Answer(status=500)])
    assert (outcome.ready, outcome.status) == (True, 500)
    assert outcome.seconds == pytest.approx(0.05)


def test_a_configured_health_path_must_be_content():
    outcome = clocked([Answer(status=500), Answer(status=302)], strict=True)
    assert (outcome.ready, outcome.status) == (True, 302)
    failed = clocked([Answer(status=503)], strict=True)
    assert (failed.ready, failed.died, failed.status) == (False, False, 503)


def test_a_process_that_died_is_not_waited_for():
    outcome = clocked([REFUSED], alive=lambda: False)
    assert (outcome.ready, outcome.died, outcome.seconds) == (False, True, 0.0)


def test_the_wait_ends():
    outcome = clocked([REFUSED])
    assert (outcome.ready, outcome.died, outcome.problem) == (False, False, "nothing accepts connections")
    assert 3 <= outcome.seconds < 3.3


def test_a_question_gets_the_time_that_is_left():
    now = [0.0]
    given: list[float] = []

    def probe(seconds: float) -> Answer:
        given.append(seconds)
        now[0] += seconds
        return Answer(problem="no answer came")

    outcome = wait_until_ready(
        probe,
        alive=lambda: True,
        seconds=12,
        clock=lambda: now[0],
        sleep=lambda _seconds: now.__setitem__(0, now[0] + 0.5),
    )
    assert given == [5, 5, 1]
    assert (outcome.ready, outcome.seconds) == (False, 12)


def test_listening_sockets_are_read_from_the_kernels_tables():
    assert [(str(listener), inode) for listener, inode in parse_listeners(TCP)] == [
        ("0.0.0.0:8000", "41"),
        ("127.0.0.1:5000", "42"),
    ]
    assert [str(listener) for listener, _ in parse_listeners(TCP6)] == [
        "[::]:8080",
        "[::1]:8081",
        "127.0.0.1:8082",
    ]
    assert parse_listeners("") == []


def at(*texts: str) -> list[Listener]:
    return [Listener(address=text.rpartition(":")[0], port=int(text.rpartition(":")[2])) for text in texts]


@pytest.mark.parametrize(
    ("listeners", "contained", "expected"),
    [
        (None, True, ("unknown", "")),
        ([], True, ("nothing", "")),
        (["0.0.0.0:5000", "127.0.0.1:5000"], True, ("port", "0.0.0.0:5000, 127.0.0.1:5000")),
        (["127.0.0.1:8000"], True, ("address", "127.0.0.1:8000")),
        (["127.0.0.1:8000"], False, ("silent", "127.0.0.1:8000")),
        (["127.0.0.1:8000", "0.0.0.0:8000"], True, ("silent", "0.0.0.0:8000, 127.0.0.1:8000")),
        # The engine's name server, in a network of the user's own.
        (["127.0.0.11:41234"], True, ("nothing", "")),
    ],
)
def test_what_listens_tells_the_cause(listeners, contained, expected):
    found = None if listeners is None else at(*listeners)
    assert compare_listeners(found, 8000, contained=contained) == expected


def test_the_tail_keeps_the_last_lines_whole_and_is_bounded():
    tail = Tail(lines=3, width=10)
    for piece in (b"one\ntw", b"o\r\nthree\n", b"\xff four\nx" + b"y" * 1000, b"z"):
        tail.add(piece)
    assert tail.lines() == ["two", "three", "\\xff four", "xyyyyyyyyy"]


def test_a_tail_of_a_long_log_keeps_the_end_alone():
    tail = Tail(lines=2, width=100)
    for number in range(100_000):
        tail.add(b"line %d\n" % number)
    assert tail.lines() == ["line 99998", "line 99999"]
    tail.add(b"x" * 10_000_000)
    assert tail.lines() == ["x" * 100]


def test_ready_says_a_status_that_is_not_success():
    good, moved, broken, refused = (
        Outcome(ready=True, seconds=0, status=status, reason=reason)
        for status, reason in ((200, ""), (302, ""), (500, ""), (400, "DisallowedHost"))
    )
    one, two = "http://localhost:1", "http://localhost:2"
    assert ready_text([(one, good), (two, moved)]) == f"ready: {one} {two}"
    assert ready_text([(one, broken), (two, None)]) == f"ready: {one} (it answers 500) {two}"
    assert ready_text([(one, refused)]) == (
        f"ready: {one} (it answers 400: DisallowedHost; --health-host names another host)"
    )
    assert ready_text([(one, good)], host="a.example") == f"ready: {one} (it answers to the host a.example)"
    assert ready_text([(one, refused)], host="a.example") == (
        f"ready: {one} (it answers 400 to the host a.example: DisallowedHost; --health-host names another host)"
    )


def test_the_whole_message_of_a_process_that_stopped_the_others():
    def ended(code: int = 1, *, restart: str = "no", others: bool = True) -> ProcessEndedError:
        told = f"it exited with {code}"
        return process_ended("worker.1", code, ending=told, others=others, restart=restart, log=["no database"])

    error = ended()
    assert error.exit_code == 1
    assert str(error) == (
        "worker.1 ended, so the others were stopped: it exited with 1\n\n"
        "From its log:\n  no database\n\n"
        "hint: `--restart on-failure` starts a process that fails again, and leaves the others alone."
    )
    fix = "fix what makes it fail, then run the command again."
    assert ended(3).hint == fix, "no policy starts a process again that ended with 3"
    assert ended(restart="on-failure").hint == ended(restart="always").hint == fix, "the option is there already"
    assert ended(others=False).hint == "`--restart on-failure` starts a process that fails again."
    alone = process_ended("web.1", 137, ending="SIGKILL ended it", others=False, restart="no", log=[])
    assert str(alone).startswith("web.1 ended: SIGKILL ended it\n\nIt wrote nothing.")


def test_the_whole_message_of_a_boot_that_timed_out():
    error = boot_timed_out(
        "web.1",
        port=8000,
        cause="port",
        heard="127.0.0.1:5000",
        problem="nothing accepts connections",
        seconds=60,
        log=["Running on http://127.0.0.1:5000"],
    )
    assert error.exit_code == 50
    assert str(error) == (
        "web.1 did not answer within 60 s\n\n"
        "It listens on 127.0.0.1:5000, not on port 8000, to which PORT is set.\n\n"
        "From its log:\n"
        "  Running on http://127.0.0.1:5000\n\n"
        "hint: let it listen on 0.0.0.0:$PORT, as gunicorn does by default."
    )


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        ("nothing", "It does not listen on any port."),
        ("address", "It listens on X, which can be reached only from inside its container."),
        ("silent", "It listens on X, but no answer came."),
        ("apart", "It listens on X, which localhost does not reach."),
        ("unknown", "On port 8000 no answer came."),
    ],
)
def test_each_cause_of_silence_has_its_own_words(cause, why):
    error = boot_timed_out("web.1", port=8000, cause=cause, heard="X", problem="no answer came", seconds=5, log=[])
    assert error.why == why


def test_the_whole_message_of_a_boot_that_answers_500_until_the_end():
    error = boot_refused("web.1", 500, path="/up", host="a.example", reason="", log=["KeyError: 'X'"])
    assert error.exit_code == 50
    assert str(error) == (
        "web.1 answers 500 to GET /up\n\n"
        "It answered so to requests for the host `a.example` until the time was over. Only 2xx and 3xx pass.\n\n"
        "From its log:\n  KeyError: 'X'\n\n"
        "hint: fix what its log says; `--boot-timeout` helps only an app that needs longer to start."
    )


def test_the_whole_message_of_a_boot_that_failed_and_its_exit_code():
    error = boot_failed("web.1", 3, ending="it exited with 3", log=[])
    assert error.exit_code == 3
    assert str(error) == (
        "web.1 ended before it answered: it exited with 3\n\n"
        "It wrote nothing.\n\n"
        "hint: run its command by itself to look closer: `deploy run -- sh`."
    )
    assert boot_failed("web.1", 0, ending="it exited with 0", log=["x"]).exit_code == 50


def steady(answers: list[Answer], *, step: float = 0.5) -> tuple[bool, int | None, str]:
    """Ask with a clock that goes on by `step` at each pause; the last answer stays."""
    now = [0.0]
    given = iter(answers)
    last = answers[-1]
    outcome = wait_until_ready(
        lambda _seconds: next(given, last),
        alive=lambda: True,
        strict=True,
        seconds=60,
        clock=lambda: now[0],
        sleep=lambda _seconds: now.__setitem__(0, now[0] + step),
    )
    assert outcome.ready or (outcome.seconds < 60) == (outcome.status in {400, 404})
    return outcome.ready, outcome.status, outcome.reason


def test_a_refusal_that_stays_is_an_answer() -> None:
    nobody, refused = Answer(problem="nothing accepts connections"), Answer(status=400, reason="DisallowedHost")
    assert steady([nobody, refused]) == (False, 400, "DisallowedHost")
    assert steady([Answer(status=404), Answer(status=200)]) == (True, 200, "")
    assert steady([Answer(status=404), nobody, Answer(status=404), nobody, Answer(status=204)]) == (True, 204, "")
    for passing in (408, 425, 429, 500, 503):
        assert steady([Answer(status=passing)]) == (False, passing, "")
    assert steady([Answer(status=503), nobody]) == (False, None, "")


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, b"<title>DisallowedHost at /</title>", "DisallowedHost"),
        (400, b"<html><h1>Bad Request (400)</h1></html>", "DisallowedHost"),
        (400, b"missing parameter", ""),
        (404, b"DisallowedHost", ""),
    ],
)
def test_the_reason_of_a_refusal(status: int, body: bytes, reason: str) -> None:
    assert refusal_of(status, body) == reason
