"""The entry point of images, as PID 1 of a namespace and elsewhere, on every Python that a stack may have."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.integration.runner.conftest import GUNICORN, HERE, MAIN
from tests.support.waiting import settles

TYPES = "this image has the process types web, worker"
SHOW = "echo $PS $PORT $FLASK_APP"


def test_without_arguments_it_starts_the_default(launch, python):
    running = launch({"web": SHOW, "worker": "exit 9"}, python=python)
    assert running.wait() == 0
    assert running.text == b"web.1 8000 slow_app:app\n"


@pytest.mark.parametrize(
    ("ps", "name"), [("web.2", "web.2"), ("worker.2", "web.1"), ("web.x", "web.1"), ("web", "web.1"), ("2", "web.1")]
)
def test_a_container_that_is_one_of_several_keeps_its_name(launch, ps, name):
    running = launch({"web": SHOW}, env={"DYNO": ps})
    assert running.wait() == 0
    assert running.text.decode() == f"{name} 8000 slow_app:app\n"


def test_a_process_type(launch, python):
    assert launch({"web": SHOW, "worker": "exit 9"}, "worker", python=python).wait() == 9


def test_a_command_in_the_apps_environment(launch, python):
    running = launch({"web": SHOW}, "sh", "-c", 'echo "$PS $PYTHONPATH $1"', "sh", "two  words", python=python)
    assert running.wait() == 0
    assert running.text == f"run.1 {Path(__file__).parent} two  words\n".encode()


def test_several_are_supervised(launch, python):
    running = launch(
        {"web": SHOW, "worker": SHOW}, "web=2", "worker", python=python, env={"DEPLOY_RESTART": "on-failure"}
    )
    assert running.wait() == 0
    assert running.said("web.1") + running.said("web.2") + running.said("worker.1") == [
        "web.1 8000 slow_app:app",
        "web.2 8001 slow_app:app",
        "worker.1 8100 slow_app:app",
    ]


@pytest.fixture
def profiled(carried, tmp_path):
    """An app with files of Heroku's that its processes find their environment in."""
    app = tmp_path / "app"
    (app / ".profile.d").mkdir(parents=True)
    (app / ".profile.d" / "a.sh").write_text('export FIRST="set by $DYNO"\n')
    (app / ".profile").write_text('export SECOND="$FIRST, then .profile" PATH="$PWD/bin:$PATH"\nfalse\n')
    main = carried / "__main__.py"
    usual = main.read_text()
    main.write_text(MAIN.format(app=str(app)))
    yield app
    main.write_text(usual)


SCHEME = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.url_scheme"].encode()]
"""


@pytest.mark.parametrize(("setting", "logs"), [("# accesslog = None", True), ("accesslog = None", False)])
def test_gunicorn_believes_the_router_and_logs_requests(launch, profiled, port, setting, logs):
    (profiled / "scheme.py").write_text(SCHEME)
    (profiled / "settings.py").write_text(f"{setting}\n")
    web = f"{GUNICORN} -c {profiled}/settings.py scheme:app"
    running = launch({"web": web}, env={"PORT": str(port), "WEB_CONCURRENCY": "1"})
    running.wait_for("Listening at")
    # By itself gunicorn believes 127.0.0.1 alone.
    with socket.create_connection(("127.0.0.1", port), timeout=30, source_address=("127.0.0.2", 0)) as router:
        router.sendall(b"GET /seen HTTP/1.0\r\nX-Forwarded-Proto: https\r\n\r\n")
        answer = b"".join(iter(lambda: router.recv(4096), b""))
    running.stop()
    assert answer.endswith(b"\r\n\r\nhttps")
    assert ("127.0.0.2 - - [" in running.text.decode()) == logs
    assert ('"GET /seen HTTP/1.0" 200 5 ' in running.text.decode()) == logs


READ = 'echo "$SECOND $profile"; exit 3'


@pytest.mark.parametrize(
    ("processes", "arguments"), [({"web": READ}, []), ({"web": "exit 9"}, ["sh", "-c", READ])], ids=["type", "command"]
)
def test_profile_is_sourced_as_on_heroku(launch, profiled, python, processes, arguments):
    running = launch(processes, *arguments, python=python)
    assert running.wait() == 3
    assert running.text.decode() == f"set by {'run' if arguments else 'web'}.1, then .profile \n"


def test_profile_is_sourced_for_each_of_several(launch, profiled, python):
    running = launch({"web": "printenv SECOND"}, "web=2", python=python, env={"DEPLOY_RESTART": "on-failure"})
    assert running.wait() == 0
    assert running.said("web.1") == ["set by web.1, then .profile"]
    assert running.said("web.2") == ["set by web.2, then .profile"]


@pytest.mark.parametrize(("processes", "arguments"), [({"web": "nope --now"}, []), ({}, ["nope", "--now"])])
def test_an_unknown_command_after_profile(launch, profiled, processes, arguments):
    running = launch(processes, *arguments)
    assert running.wait() == 127
    assert running.text == b"error: nope: command not found\n"


def test_no_shell_stays_after_profile(launch, profiled):
    running = launch({"web": "sleep 100"})
    end = time.monotonic() + 60
    while Path(f"/proc/{running.pid}/cmdline").read_bytes() != b"sleep\x00100\x00":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert running.stop() == -signal.SIGTERM


def test_elsewhere_than_pid_1_it_becomes_the_process(launch, python):
    running = launch({"web": "sleep 100"}, python=python)
    end = time.monotonic() + 60
    while Path(f"/proc/{running.pid}/cmdline").read_bytes() != b"sleep\x00100\x00":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert running.stop() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("arguments", "code", "what", "hint"),
    [
        (["nope"], 127, "nope: command not found", f"{TYPES}; anything else is run as a command."),
        (["/etc/passwd"], 126, "/etc/passwd: permission denied", f"{TYPES}; anything else is run as a command."),
        (["wbe=2"], 2, "there is no process type 'wbe' in this image", f"{TYPES}."),
        (["web=two"], 2, "web=two: 'two' is not a number of processes up to 1000", "for example web=2."),
        (["web=0"], 2, "web=0 starts nothing", f"{TYPES}."),
        ([], 2, "this image has no default process type", f"{TYPES}: name one."),
    ],
)
def test_what_it_cannot_start(launch, arguments, code, what, hint):
    running = launch({"web": SHOW, "worker": SHOW}, *arguments, default=None)
    assert running.wait() == code
    assert running.text.decode() == f"error: {what}\n\nhint: {hint}\n"


def test_a_missing_command_of_a_process_type(launch):
    running = launch({"web": "gunicorrn blasto:APP"})
    assert running.wait() == 127
    assert running.text == b"error: gunicorrn: command not found\n"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PORT", "http", "error: PORT is 'http', which is not the number of a port\n"),
        ("DEPLOY_LOG_FORMAT", "xml", "error: DEPLOY_LOG_FORMAT is 'xml'\n\nhint: it may be text, json.\n"),
        ("DEPLOY_RESTART", "yes", "error: DEPLOY_RESTART is 'yes'\n\nhint: it may be no, on-failure, always.\n"),
        *(
            (
                "DEPLOY_STOP_TIMEOUT",
                wrong,
                f"error: DEPLOY_STOP_TIMEOUT is '{wrong}'\n\nhint: it is a number of seconds, a day's at most.\n",
            )
            for wrong in ("long", "inf", "nan", "-1")
        ),
    ],
)
def test_settings_that_make_no_sense(launch, name, value, message):
    running = launch({"web": SHOW}, "web=2", env={name: value})
    assert running.wait() == 2
    assert running.text.decode() == message


def test_an_occupied_port_is_an_error_before_anything_starts(launch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        running = launch({"web": SHOW}, "web=2", env={"PORT": str(port)})
        assert running.wait() == 70
    assert running.text.decode() == f"error: port {port} is taken\n\nhint: set PORT to another one.\n"


def test_each_process_has_a_runtime_folder_of_its_own(launch):
    show = 'stat -c "%a %F" $XDG_RUNTIME_DIR; echo $XDG_RUNTIME_DIR'
    running = launch({"web": show}, "web=2", env={"DEPLOY_RESTART": "on-failure", "XDG_RUNTIME_DIR": ""})
    assert running.wait() == 0
    (kind_1, folder_1), (kind_2, folder_2) = running.said("web.1"), running.said("web.2")
    assert kind_1 == kind_2 == "700 directory"
    assert folder_1 != folder_2
    for folder in (folder_1, folder_2):
        Path(folder).rmdir()


def test_it_imports_little_for_one_process(launch, python, start, carried):
    launch({"web": "true"}).wait()
    bare = carried.parent / "bare"
    bare.mkdir(exist_ok=True)
    (bare / "__main__.py").write_text("")
    modules = {}
    for name, folder in (("bare", bare), ("launcher", carried)):
        running = start([python, "-I", "-X", "importtime", str(folder)])
        assert running.wait() == 0
        modules[name] = set(re.findall(r"\| +(\S+)$", running.text.decode(), re.MULTILINE))
    extra = {name for name in modules["launcher"] - modules["bare"] if not name.startswith("deployer")}
    assert extra <= {"__future__", "errno", "_json", "pwd", "encodings.ascii"}


# As PID 1


@pytest.mark.parametrize("shell", ["", "; true"])
def test_as_init_it_ends_a_process_that_would_ignore_term(launch, as_pid_1, python, shell, tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text("print('up', flush=True)\nimport time\ntime.sleep(100)\n")
    running = launch({"web": f"{sys.executable} {worker}{shell}"}, prefix=as_pid_1, python=python)
    running.wait_for("up")
    init = init_of(running)
    os.kill(init, signal.SIGTERM)
    assert running.wait() == 143
    running.leaves_nothing()


def init_of(running) -> int:
    """Find the process that is PID 1 inside the namespace."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for pid in running.below():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            if re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE):
                return pid
        time.sleep(0.02)
    raise AssertionError("no init")


def test_as_init_a_request_in_flight_is_finished(launch, as_pid_1, web, port, answers, in_flight):
    # A shell in front dies of TERM at once; gunicorn behind it has its time.
    for number in (signal.SIGTERM, signal.SIGINT):
        running = launch({"web": f"{web}; true"}, prefix=as_pid_1, env={"PORT": str(port)})
        answers()
        request = in_flight("/2")
        os.kill(init_of(running), number)
        assert running.wait() == 143
        request.join()
        assert (request.status, request.error) == (200, "")
        running.leaves_nothing()


def test_as_init_gunicorn_reloads_on_hup_without_losing_a_request(launch, as_pid_1, web, port, answers, in_flight):
    running = launch({"web": web}, prefix=as_pid_1, env={"PORT": str(port)})
    answers()
    request = in_flight("/2")
    os.kill(init_of(running), signal.SIGHUP)
    running.wait_for("Handling signal: hup")
    request.join()
    assert (request.status, request.error) == (200, "")
    os.kill(init_of(running), signal.SIGTERM)
    assert running.wait() == 0
    running.leaves_nothing()


@pytest.mark.parametrize("arguments", [["web"], ["web=1", "worker=1"]])
def test_as_pid_1_orphans_are_reaped(launch, as_pid_1, arguments):
    orphans = "for i in 1 2 3 4 5; do setsid sh -c 'sleep 0.1 &' ; done; echo up; sleep 100"
    running = launch({"web": orphans, "worker": "sleep 100"}, *arguments, prefix=as_pid_1)
    running.wait_for("up")
    init = init_of(running)
    time.sleep(0.5)  # they have ended
    assert settles(
        lambda: not [pid for pid in Path("/proc").iterdir() if pid.name.isdigit() and _is_zombie_of(pid, init)]
    )
    os.kill(init, signal.SIGTERM)
    assert running.wait() == 143
    running.leaves_nothing()


def _is_zombie_of(folder: Path, parent: int) -> bool:
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[:2] == ["Z", str(parent)]


def test_as_pid_1_several_stop_without_losing_a_request(launch, as_pid_1, web, port, answers, in_flight):
    running = launch({"web": web, "worker": "sleep 100"}, "web=1", "worker=1", prefix=as_pid_1, env={"PORT": str(port)})
    answers()
    request = in_flight("/2")
    os.kill(init_of(running), signal.SIGTERM)
    assert running.wait() == 143
    request.join()
    assert (request.status, request.error) == (200, "")
    running.leaves_nothing()


@pytest.mark.parametrize(
    ("command", "code"), [(["false"], 1), (["sh", "-c", "exit 42"], 42), (["sh", "-c", "kill -9 $$"], 137)]
)
def test_as_init_exit_codes(launch, as_pid_1, python, command, code):
    assert launch({}, *command, prefix=as_pid_1, python=python).wait() == code


def test_as_init_a_missing_command(launch, as_pid_1):
    running = launch({}, "nope", prefix=as_pid_1)
    assert running.wait() == 127
    assert running.text.decode() == (
        "error: nope: command not found\n\nhint: this image has no process types; anything else is run as a command.\n"
    )


def test_as_init_a_command_has_the_terminal(launch, as_pid_1, carried, environment):
    launch({}, "true").wait()  # writes launch.json
    pid, terminal = pty.fork()
    if pid == 0:
        argv = [*as_pid_1, sys.executable, "-I", str(carried), "bash", "--norc", "-i"]
        os.execvpe(argv[0], argv, {**environment, "PS1": "> "})
    seen = b""

    def wait_for(text: bytes) -> None:
        nonlocal seen
        end = time.monotonic() + 60
        while text not in seen:
            assert time.monotonic() < end, seen
            seen += os.read(terminal, 4096)

    wait_for(b"> ")
    assert b"no job control" not in seen
    os.write(terminal, b"sleep 100\n")
    time.sleep(0.3)
    os.write(terminal, b"\x03")  # Ctrl-C ends sleep, and not the shell
    os.write(terminal, b"echo code=$?\n")
    wait_for(b"code=130")
    os.write(terminal, b"exit 5\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    os.close(terminal)


def test_as_init_ctrl_c_in_a_terminal_lets_gunicorn_finish(
    launch, as_pid_1, carried, environment, web, port, answers, in_flight
):
    launch({"web": web}, "true").wait()
    pid, terminal = pty.fork()
    if pid == 0:
        argv = [*as_pid_1, sys.executable, "-I", str(carried)]
        os.execvpe(argv[0], argv, {**environment, "PORT": str(port)})
    answers()
    request = in_flight("/2")
    # unshare itself would die of the key press: as `docker run -t` has it, the container's session has only the init.
    init = next(int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _is_init_below(p, pid))
    os.kill(init, signal.SIGINT)
    request.join()
    assert (request.status, request.error) == (200, "")
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


def _is_init_below(folder: Path, parent: int) -> bool:
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()[1] == str(parent)
    except OSError:
        return False


@pytest.mark.parametrize("arguments", [["web"], ["web=1", "worker=1"]], ids=["one", "several"])
def test_as_pid_1_requests_that_wait_at_term_are_answered(launch, as_pid_1, port, answers, environment, arguments):
    web = f"{GUNICORN} -w 1 --chdir {HERE} slow_app:app"
    running = launch({"web": web, "worker": "sleep 100"}, *arguments, prefix=as_pid_1, env={"PORT": str(port)})
    answers()
    # Connected and sent: the kernel holds them while the only worker is busy.
    requests = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(4)]
    for request in requests:
        request.sendall(b"GET /0.5?slow HTTP/1.0\r\n\r\n")
    record = Path(environment["REQUEST_RECORD"])
    while "began slow" not in record.read_text():
        time.sleep(0.01)
    os.kill(init_of(running), signal.SIGTERM)
    for request in requests:
        with request, request.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.0 200 OK\r\n"
    assert running.wait() in {0, 143}
    running.leaves_nothing()


DEAF = "import os, socket, time; s = socket.create_server(('', int(os.environ['PORT']))); print('up'); time.sleep(9e4)"


@pytest.mark.parametrize("arguments", [["web"], ["web=1", "worker=1"]], ids=["one", "several"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM, again"])
def test_as_pid_1_neither_int_nor_a_second_term_waits(launch, as_pid_1, port, number, arguments):
    # With this budget, a wait would outlast the test.
    env = {"PORT": str(port), "DEPLOY_STOP_TIMEOUT": "86400"}
    running = launch({"web": f'python -c "{DEAF}"', "worker": "sleep 100"}, *arguments, prefix=as_pid_1, env=env)
    running.wait_for("up")
    with socket.create_connection(("127.0.0.1", port)):
        init = init_of(running)
        os.kill(init, number)
        while running.process.poll() is None:
            if number == signal.SIGTERM:  # two that are pending at once are one
                with contextlib.suppress(ProcessLookupError):
                    os.kill(init, number)
            time.sleep(0.05)
    assert running.wait() in {128 + number, 143}
    running.leaves_nothing()


@pytest.mark.parametrize("init", [True, False], ids=["init", "elsewhere"])
@pytest.mark.parametrize(
    "arguments", [["web"], ["web=1", "worker=1"], ["./start", "named"]], ids=["one", "several", "run"]
)
def test_a_script_without_a_first_line_runs_under_the_shell(launch, as_pid_1, tmp_path, arguments, init):
    script = tmp_path / "start"
    script.write_text("echo up $1\nexit 3\n")
    script.chmod(0o755)
    prefix = as_pid_1 if init else ()
    running = launch({"web": "./start named", "worker": "sleep 100"}, *arguments, prefix=prefix, cwd=tmp_path)
    assert running.wait() == 3
    assert b"up named" in running.text


def test_a_program_of_another_machine_does_not_run_under_the_shell(launch, tmp_path):
    (tmp_path / "start").write_bytes(b"\x7fELF\0\0\0")
    (tmp_path / "start").chmod(0o755)
    running = launch({"web": "./start"}, cwd=tmp_path)
    assert running.wait() == 126
    assert running.text == b"error: ./start: exec format error\n"


@pytest.mark.parametrize("value", ["9" * 5000, "0", "65536", "\u0663", "-1"], ids=range(5))
def test_numbers_out_of_bounds_are_wrong_usage(launch, value):
    for arguments, env in (
        (["web=2"], {"PORT": value}),
        ([f"web={value if value != '0' else '1001'}"], {}),
        (["web=2"], {"DEPLOY_STOP_TIMEOUT": value if value == "-1" else "1e400"}),
    ):
        running = launch({"web": "true"}, *arguments, env=env)
        assert running.wait() == 2
        assert running.text.startswith(b"error: ")
        assert len(running.text) < 300


def test_gunicorn_behind_a_router(launch, environment):
    shown = 'echo "$FORWARDED_ALLOW_IPS" $GUNICORN_CMD_ARGS'
    running = launch({"web": shown}, env={"FORWARDED_ALLOW_IPS": "", "GUNICORN_CMD_ARGS": ""})
    assert running.wait() == 0
    assert running.text == b"* --access-logfile -\n"
    running = launch({"web": shown}, env={"FORWARDED_ALLOW_IPS": "10.0.0.1", "GUNICORN_CMD_ARGS": "--threads 2"})
    assert running.wait() == 0
    assert running.text == b"10.0.0.1 --threads 2\n"
