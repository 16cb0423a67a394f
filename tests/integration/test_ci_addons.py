"""The add-ons of app.json's test environment: `deploy ci` starts real servers for them, and removes them."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.support.command import deploy
from tests.support.containers import Host
from tests.support.running import Running

ASK = """\
import os, socket, sys, urllib.parse
url = urllib.parse.urlsplit(os.environ["REDIS_URL"])
def ask(*commands):
    with socket.create_connection((url.hostname, url.port)) as connection:
        connection.sendall("".join(f"{command}\\r\\n" for command in commands).encode())
        said = b""
        while said.count(b"\\n") < len(commands):
            said += connection.recv(100)
        return said.decode().splitlines()
assert ask("PING")[0].startswith("-NOAUTH")
ok, count = ask(f"AUTH {url.password}", "INCR asked")
assert ok == "+OK", ok
print(f"{sys.argv[1]} asked as number {count}, password {url.password[::-1]}", flush=True)
"""


@pytest.fixture(scope="module")
def image(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of this machine's Redis, under a name that no registry has."""
    if shutil.which("redis-server") is None:
        missing("redis-server is not installed; install it to run this test")
    root = tmp_path_factory.mktemp("redis")
    (root / "data").mkdir()
    for program in ("redis-server", "redis-cli"):
        listed = subprocess.run(["ldd", f"/usr/bin/{program}"], capture_output=True, text=True, check=True).stdout
        for file in (f"/usr/bin/{program}", *re.findall(r"/\S+", listed)):
            if not file.endswith(":"):
                place = root / file.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, place)
    name = f"127.0.0.1:9/{uuid.uuid4().hex}:7"
    archive = root.with_suffix(".tar")
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    host = Host(address=engine, product="docker")
    host.docker("import", "-c", "WORKDIR /data", "-c", "ENV PATH=/usr/bin", str(archive), name)
    archive.unlink()
    yield name
    host.docker("rmi", "-f", name)


@pytest.fixture
def app(blasto: Path) -> Path:
    """An app that asks Redis in its tests, in its release process, and before it serves."""
    (blasto / "ask.py").write_text(ASK)
    (blasto / "Procfile").write_text(
        "release: python ask.py release\nweb: python ask.py web && exec gunicorn blasto:APP\n"
    )
    environment = {"addons": ["heroku-redis:in-dyno", "papertrail:choklad"], "scripts": {"test": "python ask.py test"}}
    (blasto / "app.json").write_text(json.dumps({"environments": {"test": environment}}))
    name = f"addons{uuid.uuid4().hex}"
    (blasto / "deploy.toml").write_text(f'name = "{name}"\nstack = "host"\n')
    return blasto


def left_behind(host: Host, app: Path) -> list[str]:
    """List the containers, networks and images for trials that the engine has of an app."""
    found = re.search('name = "(.*)"', (app / "deploy.toml").read_text())
    assert found is not None
    networks = host.docker(
        "network", "ls", "--filter", f"label=dev.deploy.app={found[1]}", "--format", "{{.Name}}"
    ).split()
    images = host.docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"deploy-ci/{found[1]}-*").split()
    return [*host.containers(found[1]), *networks, *images]


def test_tests_release_and_web_reach_the_services(engine: str, image: str, app: Path, home: Path) -> None:
    service = f"heroku-redis={image}"
    done = deploy("ci", app, "--engine", "docker", "--release", "--service", service, home=home)
    assert done.code == 0, done.err
    asked = re.findall(r"(\w+) asked as number :(\d), password (\w+)", done.err)
    assert [(who, number) for who, number, _ in asked] == [("test", "1"), ("release", "2"), ("web", "3")]
    (password,) = {backwards[::-1] for _, _, backwards in asked}
    assert len(password) == 32
    assert password not in done.err + done.out
    assert "heroku-redis is ready; REDIS_URL is set\n" in done.err
    assert "warning: app.json's add-on papertrail is not started" in done.err
    assert left_behind(Host(address=engine, product="docker"), app) == []


def test_services_of_runs_that_were_killed_or_interrupted_are_removed(
    engine: str, image: str, app: Path, home: Path
) -> None:
    host = Host(address=engine, product="docker")
    command = ("ci", app, "--engine", "docker", "--service", f"heroku-redis={image}")
    for number, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        running = Running(*command, "--test", "echo begun; sleep 1000", home=home)
        try:
            end = time.monotonic() + 60
            while "\nbegun\n" not in running.err:
                assert running.process.poll() is None, running.err
                assert time.monotonic() < end, running.err
                time.sleep(0.02)
            # Of the run that was killed nothing is left by now.
            assert len(left_behind(host, app)) == 4
            assert running.stop(number) == code
        finally:
            running.close()
    assert left_behind(host, app) == []


def test_a_service_that_cannot_be_started_is_40(engine: str, image: str, app: Path, home: Path) -> None:
    done = deploy("ci", app, "--engine", "docker", "--service", "heroku-redis=127.0.0.1:9/none:1", home=home)
    assert done.code == 40
    assert "error: the image 127.0.0.1:9/none:1 of heroku-redis cannot be pulled\n" in done.err
    assert "hint: `--service heroku-redis=IMAGE` names another image, `--service-env REDIS_URL=URL` a" in done.err
    host = Host(address=engine, product="docker")
    container, other = host.docker("create", image, "none").strip(), image.replace(":7", ":without")
    try:
        host.docker("commit", "-c", "ENV PATH=/none", container, other)
        done = deploy("ci", app, "--engine", "docker", "--service", f"heroku-redis={other}", home=home)
    finally:
        host.docker("rm", container)
        host.docker("rmi", "-f", other)
    assert done.code == 40, done.err
    assert "error: heroku-redis did not start\n" in done.err
    assert f"Its container of {other} does not have its program" in done.err
    assert left_behind(host, app) == []


def test_without_an_engine_services_are_the_pipeline_s(app: Path, home: Path) -> None:
    (app / "Procfile").write_text("worker: true\n")
    told = "warning: app.json's heroku-redis is not started: --engine local. --service-env names servers that run"
    options = ("ci", app, "--engine", "local", "--test", "echo to $REDIS_URL")
    done = deploy(*options, home=home)
    assert done.code == 0, done.err
    assert told in done.err
    done = deploy(*options, "--service-env", "REDIS_URL=redis://here", home=home)
    assert done.code == 0, done.err
    assert "\nto redis://here\n" in done.err
    assert told not in done.err
    done = deploy(*options, "--service", "heroku-postgresql=postgres:17", home=home)
    assert done.code == 2
    assert "error: --service heroku-postgresql has nothing to start\n" in done.err
