"""`deploy local --reload` and `--dev`: what restarts when a file changes, and what does not."""

from __future__ import annotations

import http.client
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.running import Running, get

WORKER = "import os, time\nprint('working', flush=True)\ntime.sleep(600)\n"


@pytest.fixture
def local(home: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*arguments: str | Path, **options) -> Running:
        started.append(Running("local", *arguments, home=home, **options))
        return started[-1]

    yield begin
    for running in started:
        running.close()


@pytest.fixture
def port() -> int:
    return free_port(2)


@pytest.fixture
def app(blasto: Path) -> Path:
    """The example with a worker."""
    (blasto / "worker.py").write_text(WORKER)
    with (blasto / "Procfile").open("a") as procfile:
        procfile.write("worker: python worker.py\n")
    return blasto


def write_view(app: Path, text: str) -> None:
    module = app / "blasto" / "__init__.py"
    module.write_text(f"from flask import Flask\nAPP = Flask(__name__)\nAPP.route('/')(lambda: {text!r})\n")


def wait_for_body(port: int, text: bytes, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            body = get(port)[1]
        except (OSError, http.client.HTTPException) as error:  # a server that starts again cuts what is on its way
            body = repr(error).encode()
        if body == text:
            return
        assert time.monotonic() < end, body
        time.sleep(0.1)


def test_a_change_restarts_every_process(local, app, port):
    write_view(app, "one")
    running = local(app, "-p", port, "--reload")
    running.wait_for("ready:")
    running.wait_for("working")
    write_view(app, "two!")
    running.wait_for("blasto/__init__.py changed: starting web.1, worker.1 again")
    wait_for_body(port, b"two!")
    running.wait_for("working", 2)
    assert running.stop(signal.SIGINT) == 130
    assert running.out.count("ready:") == 1
    assert running.left() == []


def test_a_mistake_waits_for_its_correction(local, app, port):
    write_view(app, "one")
    running = local(app, "web", "-p", port, "--reload")
    running.wait_for("ready:")
    (app / "blasto" / "__init__.py").write_text("1/0\n")
    running.wait_for("; it starts again when a file changes")
    write_view(app, "repaired")
    wait_for_body(port, b"repaired")
    assert running.stop() == 143


def test_files_that_the_app_writes_do_not_count_as_changes(local, app, port):
    running = local(app, "worker", "--reload")
    running.wait_for("working")
    for name in ("books.db", "upload.jpg", "app.log"):
        (app / name).write_text(name)
    (app / "__pycache__").mkdir()
    (app / "__pycache__" / "worker.py").write_text("")
    time.sleep(1.8)
    assert "changed" not in running.out
    assert running.stop() == 143


def test_a_change_of_a_file_that_is_read_at_the_start_is_reported(local, app):
    running = local(app, "worker", "--reload")
    running.wait_for("working")
    (app / ".env").write_text("A=1\n")
    running.wait_for(".env changed: read when `deploy local` is started again")
    assert running.stop() == 143
    assert running.out.count("working") == 1


def test_dev_serves_with_flask_s_own_server_and_reloads(local, app, port):
    write_view(app, "one")
    running = local(app, "-p", port, "--dev")
    running.wait_for("ready:")
    running.wait_for("working")
    assert "Debug mode: on" in running.out
    assert f"Running on http://127.0.0.1:{port}" in running.out
    assert "gunicorn" not in running.out
    write_view(app, "two!")
    wait_for_body(port, b"two!")
    assert running.stop() == 143
    assert running.out.count("working") == 1
    assert running.left() == []


def test_dev_shows_the_debugger(local, app, port):
    (app / "blasto" / "__init__.py").write_text(
        "from flask import Flask\nAPP = Flask(__name__)\nAPP.route('/')(lambda: 1 / 0)\n"
    )
    running = local(app, "web", "-p", port, "--dev")
    running.wait_for("ready:")
    status, body = get(port)
    assert status == 500
    assert b"Werkzeug Debugger" in body
    assert running.stop() == 143


def test_dev_with_reload_leaves_the_web_process_to_its_server(local, app, port):
    write_view(app, "one")
    running = local(app, "-p", port, "--dev", "--reload")
    running.wait_for("ready:")
    write_view(app, "two!")
    running.wait_for("blasto/__init__.py changed: starting worker.1 again")
    wait_for_body(port, b"two!")
    assert running.stop() == 143


def test_dev_without_an_app_object(local, app):
    (app / "blasto" / "__init__.py").write_text("")
    (app / "blasto" / "app.py").write_text("")
    (app / "Procfile").write_text("web: sleep 600\n")
    running = local(app, "--dev")
    assert running.wait() == 10
    assert running.err[running.err.index("error:") :] == (
        "error: --dev finds no app object\n\n"
        "A development server imports it: a Flask app with the name APP, app or application, or create_app().\n\n"
        "hint: define it at the top level of one of your modules, or use --reload, which restarts any process.\n"
    )


def test_dev_without_web(local, app):
    running = local(app, "worker", "--dev")
    assert running.wait() == 2
    assert running.err == (
        "error: --dev is for the web process, and none is started\n\n"
        "hint: leave --dev out, or name `web` too; --reload restarts other processes when a file changes.\n"
    )
