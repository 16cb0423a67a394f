"""Builds that are killed or interrupted while a program of a package works for them: it ends with them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildpack.system.processes import ProcessGroup
from tests.support.command import ROOT
from tests.support.index import serving
from tests.support.running import Running
from tests.support.tiny import environ, write_app, write_lock

SECONDS = 60
BACKEND = """
import os, pathlib, subprocess, time

def build_wheel(folder, config_settings=None, metadata_directory=None):
    child = subprocess.Popen(["sleep", "600"])
    pids = pathlib.Path({pids!r})
    pids.with_suffix(".part").write_text(f"{{os.getpid()}} {{child.pid}}")
    pids.with_suffix(".part").rename(pids)
    time.sleep(600)
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def app(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, dict[str, str]]]:
    with serving() as index:
        yield write_app(tmp_path / "app", {}), environ(index)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_package_s_own_build_ends_with_ours(app, home, anyones, number):
    folder, env = app
    pids = anyones / "pids"
    (folder / "lib").mkdir()
    (folder / "lib" / "pyproject.toml").write_text(PYPROJECT)
    (folder / "lib" / "backend.py").write_text(BACKEND.format(pids=str(pids)))
    (folder / "Pipfile").write_text((folder / "Pipfile").read_text() + 'slow = {path = "./lib"}\n')
    write_lock(folder, {"slow": {"path": "./lib"}})
    running = Running("build", folder, home=home, env=env)
    try:
        until(lambda: pids.exists() or running.process.poll() is not None)
        assert pids.exists(), running.err
        started = [int(pid) for pid in pids.read_text().split()]
        running.process.send_signal(number)
        running.process.wait(SECONDS)
        until(lambda: not any(map(alive, started)))
    finally:
        running.close()


def test_the_app_s_tests_end_with_the_pipeline(app, home, anyones):
    folder, env = app
    pids = anyones / "pids"
    script = f"sleep 600 & echo $$ $! > {pids}; echo it waits; wait"
    running = Running("ci", folder, "--engine", "local", "--test", script, home=home, env=env)
    try:
        until(lambda: "it waits\n" in running.err or running.process.poll() is not None)
        assert pids.exists(), running.err
        running.process.kill()
        running.process.wait(SECONDS)
        until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))
    finally:
        running.close()


def test_git_ends_with_the_build(app, home):
    """It waits for a server that says nothing."""
    folder, env = app
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/shop.git"
        (folder / "Pipfile").write_text((folder / "Pipfile").read_text() + f'shop = {{git = "{url}", ref = "main"}}\n')
        write_lock(folder, {"shop": {"git": url, "ref": "0123456789" * 4}})
        running = Running("build", folder, home=home, env=env)
        try:
            silent.settimeout(SECONDS)
            with silent.accept()[0]:
                started = using(url)
                assert started
                running.process.kill()
                running.process.wait(SECONDS)
                until(lambda: not any(map(alive, started)))
        finally:
            running.close()


def using(url: str) -> list[int]:
    """The processes of git that have an address on their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"git" in words[0] and url.encode() in words:
                found.append(int(folder.name))
    return found


PARENT = """
import sys
from pathlib import Path
from buildpack.system.processes import ProcessGroup

def heard(line):
    Path("pids.part").write_text(line)
    Path("pids.part").rename("pids")

script = "sleep 600 & echo $$ $!; wait"
group = ProcessGroup(in_session=sys.argv[1] == "True")
group.run(["/bin/sh", "-c", script], folder=Path.cwd(), environment={}, heard=heard)
"""


@pytest.mark.parametrize("in_session", [True, False])
def test_a_program_ends_with_the_process_that_started_it(tmp_path, in_session):
    """Alone in its session, with all that it started; else by itself, which has to end what it started."""
    pids = tmp_path / "pids"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(in_session)], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}
    )
    until(pids.exists)
    program, child = map(int, pids.read_text().split())
    parent.kill()
    parent.wait(SECONDS)
    until(lambda: not alive(program))
    if in_session:
        until(lambda: not alive(child))
    else:
        os.kill(child, signal.SIGKILL)


def test_of_endless_output_the_last_lines_are_kept(tmp_path):
    ran = ProcessGroup().run(
        ["/bin/sh", "-c", "seq 100000; echo end >&2; exit 3"], folder=tmp_path, environment=os.environ, kept=3
    )
    assert (ran.code, ran.lines) == (3, ("99999", "100000", "end"))


PRINTING_ON = """
import os, sys
from buildpack.system.processes import ProcessGroup

ran = ProcessGroup().run(["/bin/sh", "-c", "yes & exit 3"], folder="/", environment=dict(os.environ), kept=2)
print(ran.code, *ran.lines)
"""


def test_what_a_program_leaves_printing_is_not_waited_for():
    ran = subprocess.run(
        [sys.executable, "-c", PRINTING_ON], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ran.stdout.split()[0] == "3", ran.stderr
