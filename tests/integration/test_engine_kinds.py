"""`deploy run` and `ci` on engines of every kind: what they are asked for, and what they say when they cannot do it."""

from __future__ import annotations

import io
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import await_engine
from tests.support.command import EXAMPLES, Done, deploy
from tests.support.containers import Host
from tests.support.running import Running

pytestmark = pytest.mark.every_engine

APP = "deploytestkinds"
FOREIGN = f"{APP}-foreign:1"
"""An image that deploy did not build: its commands are the engine's to start."""


def make_foreign(host: Host, folder: Path) -> None:
    with tarfile.open(folder / "root.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("plain"), io.BytesIO())
    host.docker("import", str(folder / "root.tar"), FOREIGN)


@pytest.fixture(scope="session")
def host(host_of_each_kind: Host, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """An engine of each kind, with blasto's image and a foreign one in it."""
    host = host_of_each_kind
    env = {"DOCKER_HOST": host.address}
    done = deploy("build", EXAMPLES / "blasto", "-t", f"{APP}:1", "--to", "docker", "-q", home=home, env=env)
    assert done.code == 0, done.err
    make_foreign(host, tmp_path_factory.mktemp("foreign"))
    yield host
    host.docker("rmi", "-f", f"{APP}:1", FOREIGN)


def run(host: Host, home: Path, *arguments: str) -> Done:
    return deploy("run", *arguments, home=home, env={"DOCKER_HOST": host.address}, prefix=host.network)


@pytest.fixture(scope="session")
def noexec() -> Host:
    """Docker whose containers run one command only."""
    return Host(address=await_engine("noexec"), product="Docker")


NO_LIMIT = "warns: Your kernel does not support memory limit capabilities"


def test_web_is_served_and_stops(host: Host, home: Path) -> None:
    command = ("run", f"{APP}:1", "web=2", "-p", "8123", "--engine", "docker", "--memory", "256m")
    running = Running(*command, home=home, env={"DOCKER_HOST": host.address}, prefix=host.network)
    try:
        running.wait_for("ready: http://localhost:8123")
        limits = {host.inspect(name)["HostConfig"]["PidsLimit"] for name in host.containers(APP)}
        assert running.stop(signal.SIGINT) == 130
    finally:
        running.close()
    assert host.containers(APP) == []
    # The engine with containerd has no controllers. It forgets the limit of processes, for which nobody asked.
    assert limits == ({None} if host.kind == "containerd" else {4096})
    assert running.out.count("warning: ") == running.out.count(NO_LIMIT) == (host.kind == "containerd")


CAPABILITIES = "grep -E 'CapBnd|NoNewPrivs' /proc/self/status"


def test_a_command_has_few_privileges(host: Host, home: Path) -> None:
    done = run(host, home, f"{APP}:1", "--memory", "256m", "--", "sh", "-c", CAPABILITIES)
    assert (done.code, done.out.split()) == (0, ["CapBnd:", "0" * 16, "NoNewPrivs:", "1"]), done.err
    assert (NO_LIMIT in done.err) == (host.kind == "containerd")
    done = run(host, home, f"{APP}:1", "--privileged-defaults", "--", "sh", "-c", CAPABILITIES)
    assert (done.code, done.out.split()[2:]) == (0, ["NoNewPrivs:", "0"]), done.err
    assert done.out.split()[1] != "0" * 16


@pytest.mark.parametrize(("command", "code"), [("nope", 127), ("/nope", 127), ("/plain", 126)])
def test_a_command_that_cannot_be_run(host: Host, home: Path, command: str, code: int) -> None:
    done = run(host, home, FOREIGN, "--", command)
    assert (done.code, done.err.splitlines()[1]) == (code, f"error: {command!r} cannot be run in this image")


def test_ci_tests_releases_and_boots_and_leaves_nothing(host: Host, home: Path, blasto: Path) -> None:
    name = f"{APP}-ci"
    (blasto / "deploy.toml").write_text(f'name = "{name}"\nstack = "host"\n')
    with (blasto / "Procfile").open("a") as file:
        file.write("release: echo released $DYNO\n")
    command = ("ci", blasto, "--engine", "docker", "--test", "pytest -q", "--release", "--json")
    done = deploy(*command, home=home, env={"DOCKER_HOST": host.address}, prefix=host.network)
    assert done.code == 0, done.err
    steps = {step["name"]: step["status"] for step in done.report["steps"]}
    assert steps == dict.fromkeys(("check", "build", "test", "release", "boot"), "passed") | {"push": "skipped"}
    assert "released release.1\n" in done.err
    assert f"in {host.product}" in done.err
    assert host.everything(name) == set()


@pytest.mark.engine
def test_ci_says_at_once_that_commands_cannot_be_run_in_a_container(noexec: Host, home: Path) -> None:
    env = {"DOCKER_HOST": noexec.address}
    done = deploy("ci", EXAMPLES / "blasto", "-t", f"{APP}:3", "--engine", "docker", home=home, env=env)
    assert done.code == 40
    assert "cannot run a command in a running container" in done.err
    assert noexec.docker("ps", "-aq") == ""


@pytest.mark.engine
def test_an_engine_without_its_runtime_is_not_an_image_without_the_command(
    noexec: Host, home: Path, tmp_path: Path
) -> None:
    runtime = Path(noexec.address.removeprefix("unix://")).with_name("runtime")
    make_foreign(noexec, tmp_path)
    runtime.rename(runtime.with_name("away"))
    try:
        done = run(noexec, home, FOREIGN, "--", "/plain")
    finally:
        runtime.with_name("away").rename(runtime)
        noexec.docker("rmi", "-f", FOREIGN)
    assert "no such file or directory" in done.err
    assert (done.code, done.err.splitlines()[1]) == (40, f"error: the container engine at {noexec.address} refused")
