"""`deploy local` with real processes: what it starts, with what in their environment, and how it ends."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.command import EXAMPLES, ROOT
from tests.support.ports import free_port
from tests.support.running import Running, environment, get


@pytest.fixture(scope="module", autouse=True)
def warm(home: Path) -> None:
    """Have blasto's environment made: what that prints is another test's."""
    made = Running("local", EXAMPLES / "blasto", "--", "true", home=home)
    assert made.wait() == 0, made.err


@pytest.fixture
def local(home: Path) -> Iterator[Callable[..., Running]]:
    """Start `deploy local` with these arguments, and kill what is left of it after the test."""
    started: list[Running] = []

    def begin(*arguments: str | Path, **options) -> Running:
        started.append(Running("local", *arguments, home=home, **options))
        return started[-1]

    yield begin
    for running in started:
        running.close()


@pytest.fixture
def port() -> int:
    return free_port(3)


@pytest.fixture
def stub(tmp_path: Path) -> Callable[..., Path]:
    """Make an app of a Procfile and files beside it, with blasto's packages."""

    def make(procfile: str, **files: str) -> Path:
        folder = tmp_path / "stub"
        folder.mkdir()
        for name in ("Pipfile", "Pipfile.lock", "deploy.toml"):
            shutil.copy(EXAMPLES / "blasto" / name, folder / name)
        (folder / "Procfile").write_text(procfile)
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        return folder

    return make


# Started processes


def test_blasto_serves_with_real_gunicorn(local, blasto, port):
    before = {path.relative_to(blasto) for path in blasto.rglob("*")}
    running = local(blasto, "-p", port)
    running.wait_for("ready:")
    status, body = get(port)
    assert status == 200
    assert b"web.1" in body
    assert running.stop(signal.SIGINT) == 130
    assert running.said("system")[0].startswith("web.1 started (pid=")
    assert [line for line in running.said("system") if "ready" in line] == [f"ready: http://localhost:{port}"]
    assert running.said("system")[-1] == "web.1 stopped (rc=0)"
    assert running.err == ""
    assert running.left() == []
    after = {path.relative_to(blasto) for path in blasto.rglob("*") if "__pycache__" not in path.parts}
    assert after == before


def test_the_interpreter_is_one_of_our_own_environments_with_develop_packages(local, home, stub):
    folder = stub("web: true\n", say="import pytest, flask, sys; print(sys.prefix); print(pytest.__file__)")
    running = local(folder, "--", "python", "say.py")
    assert running.wait() == 0, running.err
    prefix, module = running.out.split()
    assert Path(prefix).parent == home / "environments"
    assert module.startswith(prefix)


@pytest.mark.slow
def test_bookshelf_serves_and_works_its_queue(local, bookshelf, tmp_path, port):
    given = ("-e", f"BOOKSHELF_FOLDER={tmp_path / 'shelf'}")
    released = local(bookshelf, "release", *given)
    assert released.wait() == 0, released.err
    assert released.said("release.1") == ["schema ready, 4 books"]
    running = local(bookshelf, "-p", port, *given)
    running.wait_for("ready:")
    running.wait_for("celery@")
    assert not [line for line in running.said("system") if "release" in line]
    status, body = get(port, "/covers/Emma", method="POST")
    assert status == 202
    task = json.loads(body)["id"]
    end = time.monotonic() + 120
    while (answer := get(port, f"/covers/{task}"))[0] == 202 and time.monotonic() < end:
        time.sleep(0.1)
    assert answer[0] == 200
    assert answer[1].startswith(b"\x89PNG")
    assert running.stop() == 143
    assert running.left() == []


def test_several_of_a_type_have_ports_in_a_row_and_are_ready_together(local, blasto, port):
    running = local(blasto, "web=2", "-p", port)
    running.wait_for("ready:")
    assert f"ready: http://localhost:{port} http://localhost:{port + 1}" in running.said("system")
    assert b"web.1" in get(port)[1]
    assert b"web.2" in get(port + 1)[1]
    sockets = re.findall(r"Control socket listening at (\S+)", running.out)
    assert len(set(sockets)) == 2
    assert running.stop() == 143
    assert not any(Path(path).parent.exists() for path in sockets)


def test_app_json_counts(local, stub):
    folder = stub("web: python -m http.server $PORT\nclock: echo $PS\n")
    (folder / "app.json").write_text('{"formation": {"web": {"quantity": 0}, "clock": {"quantity": 2}}}')
    running = local(folder, "--restart", "on-failure")
    assert running.wait() == 0
    assert (running.said("clock.1"), running.said("clock.2")) == (["clock.1"], ["clock.2"])


def test_an_empty_variable_has_the_value_of_app_json(local, stub):
    folder = stub("clock: echo $MODE $SPEED\n")
    (folder / "app.json").write_text('{"env": {"MODE": "safe", "SPEED": "slow"}}')
    (folder / ".env").write_text("MODE=\nSPEED=fast\n")
    running = local(folder)
    assert running.wait() == 0
    assert running.said("clock.1") == ["safe fast"]


VARIABLES = '{"env": {"DATABASE_URL": {"required": true}, "SECRET_KEY": {"generator": "secret"}}}'


def test_app_json_requires_a_variable_and_has_a_secret_made(local, stub):
    folder = stub("clock: echo $DATABASE_URL $SECRET_KEY\n")
    (folder / "app.json").write_text(VARIABLES)
    running = local(folder)
    assert running.wait() == 10
    assert "error: app.json requires DATABASE_URL\n" in running.err
    assert running.said("clock.1") == []
    said = []
    for _ in range(2):
        running = local(folder, "-e", "DATABASE_URL=x:")
        assert running.wait() == 0
        said += running.said("clock.1")
    assert re.fullmatch(r"x: [0-9a-f]{64}", said[0])
    assert said[0] == said[1], "the same secret each time"
    files = [path.read_text() for path in folder.iterdir()]
    assert said[0].removeprefix("x: ") not in "".join(files), "it is kept apart from the app"


def test_an_unknown_type_lists_the_known_ones(local, blasto):
    running = local("worker", cwd=blasto)
    assert running.wait() == 2
    assert running.err == (
        "error: 'worker' is neither a folder nor a process type\n\n"
        "This folder's process types are web.\n\n"
        "hint: name the folder of an app, or go into one.\n"
    )
    named = local(blasto, "wbe")
    assert named.wait() == 2
    assert named.err == (f"error: {blasto} has no process type 'wbe'\n\nIt has web.\n\nhint: did you mean 'web'?\n")


def test_flasks_own_file_beside_the_command_is_not_overridden(local, stub):
    folder = stub("one: cd src && echo app=$FLASK_APP\ntwo: echo app=$FLASK_APP\n", app="app = make()\n")
    (folder / "src").mkdir()
    (folder / "src" / ".flaskenv").write_text("FLASK_APP=other\n")
    running = local(folder)
    assert running.wait() == 0
    assert (running.said("one.1"), running.said("two.1")) == (["app="], ["app=app:app"])


def test_an_image_is_refused(local):
    running = local("blasto:latest")
    assert running.wait() == 2
    assert running.err == (
        "error: blasto:latest is an image, not a folder\n\n"
        "`deploy local` runs an app's folder as processes on this machine.\n\n"
        "hint: `deploy run blasto:latest` runs the image.\n"
    )


def test_warnings_of_the_procfile_come_once_and_not_with_quiet(local, stub):
    folder = stub("One_Shot: echo done\n")
    loud, quiet = local(folder), local(folder, "-q")
    assert (loud.wait(), quiet.wait()) == (0, 0)
    assert loud.err == "warning: Procfile:1: Cloud Native Buildpacks rename `One_Shot` to `one-shot`.\n"
    assert quiet.err == ""
    assert [line.partition(" | ")[2] for line in quiet.out.splitlines()] == ["done"]


def test_log_format_json(local, stub):
    running = local(stub("job: echo hello\n"), "--log-format", "json")
    assert running.wait() == 0
    records = [json.loads(line) for line in running.out.splitlines()]
    assert ("job.1", "hello") in [(record["process"], record["message"]) for record in records]


# How it ends


def test_the_exit_code_is_the_first_failure_s(local, stub):
    running = local(stub("good: sh -c 'exit 0'\nbad: sh -c 'exit 5'\n"))
    assert running.wait() == 5


def test_term_is_143(local, stub):
    running = local(stub("job: sh -c 'echo up; exec sleep 60'\n"))
    running.wait_for("up")
    assert running.stop() == 143
    assert running.left() == []


SLOW = "import time\ndef APP(environ, start):\n    if environ['PATH_INFO'] == '/slow':\n"
SLOW += "        print('begun', flush=True)\n        time.sleep(2)\n"
SLOW += "    start('200 OK', [])\n    return [b'finished']\n"


def test_a_request_in_flight_is_finished(local, stub, port):
    running = local(stub("web: gunicorn slow:APP\n", slow=SLOW), "-p", port)
    running.wait_for("ready:")
    answers: list[tuple[int, bytes]] = []
    request = threading.Thread(target=lambda: answers.append(get(port, "/slow")))
    request.start()
    running.wait_for("begun")
    assert running.stop(signal.SIGINT) == 130
    request.join()
    assert answers == [(200, b"finished")]


def test_what_ignores_term_is_killed_at_the_deadline(local, stub):
    running = local(stub("job: trap '' TERM; echo up; while :; do sleep 1; done\n"), "--stop-timeout", "1")
    running.wait_for("up")
    assert running.stop() == 143
    assert any(line.startswith("sending SIGKILL to job.1") for line in running.said("system"))
    assert running.left() == []


# One command


def test_a_command_has_the_environment_the_folder_and_its_exit_code(local, blasto):
    script = "import os, sys; print(os.getcwd(), os.environ['FLASK_APP'], os.environ['DYNO']); sys.exit(9)"
    running = local(blasto, "--", "python", "-c", script)
    assert running.wait() == 9
    assert running.out == f"{blasto} blasto:APP run.1\n"


def test_a_command_s_own_options_are_its_own(local, blasto):
    running = local(blasto, "--", "flask", "--version", "--")
    assert running.wait() == 0
    assert "Flask" in running.out


def test_a_command_that_is_missing(local, blasto):
    running = local(blasto, "--", "no-such-program", "-x")
    assert running.wait() == 127
    assert running.err == (
        "error: the command cannot be started: no-such-program: command not found\n\n"
        "Its command is `no-such-program -x`; nothing was started.\n\n"
        "hint: check its spelling; the app's virtual environment comes first in PATH.\n"
    )


def test_a_process_whose_program_is_missing(local, stub):
    running = local(stub("web: gunicornn blasto:APP\nworker: echo never\n"))
    assert running.wait() == 127
    assert running.out == ""
    assert running.err == (
        "warning: Procfile:1: `web` runs gunicornn, which neither Pipfile.lock nor the stack provides; "
        "did you mean `gunicorn`?\n"
        "error: web cannot be started: gunicornn: command not found\n\n"
        "Its command is `gunicornn blasto:APP`; nothing was started.\n\n"
        "hint: check its spelling in the Procfile, and that Pipfile.lock has the package that installs it.\n"
    )


# Environment

SHOW = "import os\nfor name in 'ABCDEF':\n    print(name, repr(os.environ.get(name)))\n"


def test_env_files_are_read_as_python_dotenv_reads_them(local, stub):
    folder = stub("web: true\n", show=SHOW)
    (folder / ".env").write_text("A=foo bar\nexport B=1\nC=\nD=it's\nE='${A}!'\nF=\"${A}!\"\n")
    running = local(folder, "--", "python", "show.py")
    assert running.wait() == 0, running.err
    assert running.out.splitlines() == [
        "A 'foo bar'",
        "B '1'",
        "C ''",
        'D "it\'s"',
        "E 'foo bar!'",
        "F 'foo bar!'",
    ]


def test_precedence_is_command_line_then_environment_then_files(local, stub, tmp_path):
    folder = stub("web: true\n", show=SHOW)
    (folder / ".env").write_text("A=env\nB=env\nC=env\nD=env\n")
    other = tmp_path / "other"
    other.write_text("B=file\nC=file\nD=file\n")
    running = local(
        *(folder, "--env-file", other, "-e", "D=line", "--", "python", "show.py"), env={"C": "process", "D": "process"}
    )
    assert running.wait() == 0, running.err
    assert running.out.splitlines()[:4] == ["A 'env'", "B 'file'", "C 'process'", "D 'line'"]


def test_what_an_image_s_processes_find_is_there(local, stub, tmp_path):
    names = ["PORT", "PS", "DYNO", "PYTHONUNBUFFERED", "WEB_CONCURRENCY", "PYTHONHOME", "PYTHONPATH"]
    show = f"import json, os\nprint(json.dumps([os.environ.get(name) for name in {names}]))\n"
    folder = stub("web: true\njob: python show.py\n", show=show)
    home = str(tmp_path / "no-such-python")
    running = local(folder, "job", env={"PYTHONHOME": "", "WEB_CONCURRENCY": "7", "XDG_RUNTIME_DIR": home})
    assert running.wait() == 0, running.err
    (shown,) = running.said("job.1")
    assert json.loads(shown) == ["5106", "job.1", "job.1", "1", "7", None, f"{folder}:{ROOT}"]


def test_an_env_file_that_cannot_be_read(local, stub):
    folder = stub("web: true\n")
    (folder / ".env").write_text('A=1\nSECRET=\'swordfish\nB="x" y\n')
    running = local(folder)
    assert running.wait() == 10
    assert running.err == (
        f"error: {folder}/.env has 2 lines that cannot be read\n\n"
        f"{folder}/.env:2, {folder}/.env:3: a line is NAME=value; a quote that opens must close, and nothing may "
        "follow it.\n\n"
        "hint: fix it, or begin it with `#`.\n"
    )


# Ports


def test_a_taken_port_is_an_error_before_anything_starts(local, stub, port):
    folder = stub("web: python -m http.server $PORT\nworker: echo never\n")
    first = local(folder, "web", "-p", port)
    first.wait_for("ready:")
    pid = first.said("system")[0].removeprefix("web.1 started (pid=").removesuffix(")")
    second = local(folder, "-p", port)
    assert second.wait() == 70
    assert second.out == ""
    assert second.err == (
        f"error: port {port} is taken\n\n"
        f"python (pid {pid}) listens on it already; nothing was started.\n\n"
        f"hint: stop it, or choose another port with `-p {port + 1}`.\n"
    )
    assert first.stop() == 143


@pytest.mark.parametrize(
    ("arguments", "env", "file", "wanted"),
    [
        ((), {}, "", "5006"),
        ((), {}, "PORT=7000", "7000"),
        ((), {"PORT": "7001"}, "PORT=7000", "7001"),
        (("-e", "PORT=7002"), {"PORT": "7001"}, "", "7002"),
        (("-p", "7003", "-e", "PORT=7002"), {"PORT": "7001"}, "PORT=7000", "7003"),
    ],
)
def test_where_the_port_comes_from(local, stub, arguments, env, file, wanted):
    folder = stub("web: true\n")
    (folder / ".env").write_text(file)
    running = local(folder, *arguments, "--", "sh", "-c", "echo $PORT", env=env)
    assert running.wait() == 0
    assert running.out == f"{wanted}\n"


def test_a_port_that_is_not_a_number(local, stub):
    running = local(stub("web: true\n"), "-e", "PORT=http")
    assert running.wait() == 2
    assert running.err == (
        "error: PORT is 'http', which is not the number of a port\n\n"
        "hint: correct it where it is set (-e, an env file, .env, app.json or the shell), or leave it out.\n"
    )


# Pipes


def test_a_reader_that_goes_away_ends_it_in_order(home, stub):
    folder = stub("job: yes\n")
    done = subprocess.run(
        f"{sys.executable} -m deployer local {folder} | head -n 2",
        shell=True,
        env=environment(home),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == b""


def test_no_network_is_needed_once_the_wheels_are_there(local, home, blasto):
    first = local(blasto, "--", "true")
    assert first.wait() == 0, first.err
    for folder in (home / "environments").iterdir():
        shutil.rmtree(folder)
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    again = local(blasto, "--", "python", "-c", "import flask", env=nowhere)
    assert again.wait() == 0, again.err
    assert len(list((home / "environments").iterdir())) == 1
