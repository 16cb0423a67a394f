"""The rich example, the same everywhere: as processes here, in Docker, in Podman, in one container."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import missing, wait_for
from tests.support.command import EXAMPLES, deploy
from tests.support.ports import free_port
from tests.support.running import Running

APP = EXAMPLES / "bookshelf"
TAG = "deploy-test-everywhere:1"


@contextlib.contextmanager
def redis_at(address: str, folder: Path) -> Iterator[str]:
    """Start a Redis server on this address of this machine, for containers that share no folder; its URL."""
    if shutil.which("redis-server") is None:
        missing("redis-server is not installed; install it to run this test")
    port, password = free_port(), secrets.token_hex(16)
    # Podman's bridge has its address only while a container runs, so it cannot be bound to beforehand.
    process = subprocess.Popen(
        ["redis-server", "--bind", "0.0.0.0", "--requirepass", password, "--port", str(port), "--save", ""],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(port, process)
        yield f"redis://:{password}@{address}:{port}/0"
    finally:
        process.terminate()
        process.wait(60)


def gateway(*client: str) -> str:
    """Return the address under which containers of this engine's default network find this machine."""
    made = subprocess.run(
        [*client, "run", "--rm", "--entrypoint", "python3", TAG, "-c", GATEWAY],
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip()


GATEWAY = """
import socket, struct
for line in open("/proc/net/route").read().splitlines()[1:]:
    fields = line.split()
    if fields[1] == "00000000":
        print(socket.inet_ntoa(struct.pack("<I", int(fields[2], 16))))
        break
"""


def post(port: int, path: str) -> str:
    with urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:{port}{path}", method="POST"), timeout=60
    ) as answer:
        assert answer.status == 202
        return json.load(answer)["id"]


def cover(port: int, task: str, seconds: float = 120) -> bytes:
    """Wait for the worker to have drawn a cover."""
    end = time.monotonic() + seconds
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/covers/{task}", timeout=60) as answer:
            if answer.status == 200:
                return answer.read()
        assert time.monotonic() < end, "the worker drew nothing"
        time.sleep(0.2)


VOLATILE = [
    (re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[ ,+\d]*(?=[:\]])"), "[TIME"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}"), "TASK"),
    (re.compile(r"0x[0-9a-f]+"), "ADDRESS"),
    (re.compile(r"\d+\.\d+s"), "SECONDS"),
    (re.compile(r"/\S*/gunicorn\.ctl"), "SOCKET"),
    (re.compile(r"(redis|filesystem)://\S+|file://\S+"), "BROKER"),
    (re.compile(r"celery@\S+"), "celery@HOST"),
    (re.compile(r"\b\d+\b"), "N"),
]


def steady(lines: list[str]) -> set[str]:
    """Return what must be the same everywhere: the lines of gunicorn and celery that are events, less what varies."""
    kept = set()
    for line in lines:
        text = line
        for pattern, name in VOLATILE:
            text = pattern.sub(name, text)
        if re.search(
            r"Starting gunicorn|Listening at|Using worker|Booting worker|celery@HOST ready|Task bookshelf", text
        ):
            kept.add(text)
    return kept


def serve(running: Running, port: int) -> dict[str, object]:
    """Use a running formation (HTTP, the queue), stop it, and return what was seen, to compare."""
    try:
        running.wait_for("ready: http://", seconds=90)
        running.wait_for(" ready.", seconds=60)
        assert cover(port, post(port, "/covers/Emma")).startswith(b"\x89PNG")
        running.wait_for("succeeded in", seconds=30)
        running.process.send_signal(signal.SIGTERM)
        code = running.wait()
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
    return {"code": code, "web": steady(running.said("web.1")), "worker": steady(running.said("worker.1"))}


@pytest.fixture(scope="module")
def expected(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The result of `deploy local`; the others are compared with it."""
    port = free_port()
    folder = tmp_path_factory.mktemp("shelf")
    seen = serve(Running("local", APP, "-p", str(port), "-e", f"BOOKSHELF_FOLDER={folder}", home=home), port)
    assert seen["code"] == 143
    assert len(seen["web"]) >= 4
    assert {re.sub(r"^.*\] ", "", line) for line in seen["worker"]} >= {"celery@HOST ready."}
    return seen


def release(*command: str | Path, home: Path) -> tuple[int, list[str]]:
    running = Running(*command, home=home)
    code = running.wait(120)
    assert code == 0, running.err + running.out
    return code, running.said("release.1")


@pytest.mark.slow
def test_release_runs_alone_with_local(home, tmp_path):
    assert release("local", APP, "release", "-e", f"BOOKSHELF_FOLDER={tmp_path}", home=home) == (
        0,
        ["schema ready, 4 books"],
    )


@pytest.mark.slow
@pytest.mark.engine
def test_in_docker(home, expected, engine, tmp_path):
    load = deploy("build", APP, "-t", TAG, "--to", "docker", "-q", home=home, env={"DOCKER_HOST": engine})
    assert load.code == 0, load.err
    port = free_port()
    with redis_at(gateway("docker"), tmp_path) as url:
        arguments = ("run", TAG, "--no-build", "--engine", "docker")
        assert release(*arguments, "release", home=home) == (0, ["schema ready, 4 books"])
        running = Running(*arguments, "-p", str(port), "-e", f"REDIS_URL={url}", "-e", "WEB_CONCURRENCY=1", home=home)
        assert serve(running, port) == expected


@pytest.mark.slow
@pytest.mark.podman
def test_in_podman(home, expected, podman, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", podman)
    load = deploy("build", APP, "-t", TAG, "--to", "docker", "-q", home=home)
    assert load.code == 0, load.err
    port = free_port()
    with redis_at(gateway("podman", "--remote", "--url", podman), tmp_path) as url:
        arguments = ("run", TAG, "--no-build", "--engine", "docker")
        assert release(*arguments, "release", home=home) == (0, ["schema ready, 4 books"])
        running = Running(*arguments, "-p", str(port), "-e", f"REDIS_URL={url}", "-e", "WEB_CONCURRENCY=1", home=home)
        assert serve(running, port) == expected


class Container(Running):
    """`docker run` in place of `deploy`: the launcher supervises inside one container."""

    def __init__(self, *arguments: str) -> None:
        popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
        self.process = popen(["docker", "run", "--rm", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._out, self._err = b"", b""
        self.listen()


@pytest.mark.slow
@pytest.mark.engine
def test_in_one_container(home, expected, engine):
    load = deploy("build", APP, "-t", TAG, "--to", "docker", "-q", home=home, env={"DOCKER_HOST": engine})
    assert load.code == 0, load.err
    port = free_port()
    name = f"deploy-test-everywhere-{port}"
    container = Container(
        *("--name", name, "-e", "WEB_CONCURRENCY=1", "-p", f"127.0.0.1:{port}:8000"), TAG, "web=1", "worker=1"
    )
    try:
        container.wait_for(" ready.")
        assert cover(port, post(port, "/covers/Emma")).startswith(b"\x89PNG")
        container.wait_for("succeeded in")
        container.process.send_signal(signal.SIGTERM)
        assert container.wait() == expected["code"]
    finally:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)
        container.wait()
        sys.stdout.write(container.out + container.err)  # pytest shows it if the test fails
    assert steady(container.said("web.1")) == expected["web"]
    assert steady(container.said("worker.1")) == expected["worker"]
    done = subprocess.run(["docker", "run", "--rm", TAG, "release"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "schema ready, 4 books\n")
