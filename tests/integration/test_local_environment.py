"""The virtual environment of `deploy local`: made from the lock, kept by it, repaired, replaced by `--venv`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.command import EXAMPLES
from tests.support.endurance import drawn
from tests.support.running import Running

WHERE = ("--", "python", "-c", "import sys; print(sys.prefix)")


@pytest.fixture(scope="module")
def store(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of this module's own, in which the wheels are."""
    assert Running("local", EXAMPLES / "blasto", "--", "true", home=home).wait() == 0
    folder = tmp_path_factory.mktemp("store")
    for name in ("wheels", "facts"):
        shutil.copytree(home / name, folder / name)
    return folder


@pytest.fixture
def local(store: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*arguments: str | Path, **options) -> Running:
        started.append(Running("local", *arguments, home=store, **options))
        return started[-1]

    yield begin
    for running in started:
        running.close()


@pytest.fixture
def empty(store: Path) -> Path:
    """The folder of environments, without any."""
    shutil.rmtree(store / "environments", ignore_errors=True)
    return store / "environments"


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def prefix(running: Running) -> Path:
    assert running.wait() == 0, running.err
    return Path(running.out.strip())


def test_it_is_made_once(local, empty, blasto):
    first = local(blasto, *WHERE)
    made = prefix(first)
    assert made.parent == empty
    told = r"Made a virtual environment from Pipfile\.lock, on Python 3\.\d+\.\d+, in \d+\.\d s\n"
    assert re.fullmatch(told, first.err)
    second = local(blasto, *WHERE)
    assert prefix(second) == made
    assert second.err == ""


def test_another_order_in_the_lock_keeps_the_environment(local, blasto):
    made = prefix(local(blasto, *WHERE))
    pipfile = blasto / "Pipfile"
    pipfile.write_text("# a comment\n\n" + pipfile.read_text())
    lock = blasto / "Pipfile.lock"
    lock.write_text(lock.read_text().replace("{\n", "{\n\n", 1))
    assert prefix(local(blasto, *WHERE)) == made


@pytest.mark.parametrize("damage", ["config", "interpreter", "half"])
def test_a_damaged_one_is_made_again(local, empty, blasto, damage):
    made = prefix(local(blasto, *WHERE))
    if damage == "config":
        (made / "pyvenv.cfg").unlink()
    elif damage == "interpreter":
        (made / "bin" / "python").unlink()
        (made / "bin" / "python").symlink_to("/no/such/python")
    else:
        shutil.rmtree(made)
        made.mkdir()
    (made / "stray").write_text("")
    assert prefix(local(blasto, *WHERE)) == made
    assert not (made / "stray").exists()
    assert names(empty) == [made.name]


def test_two_at_once_make_one(local, empty, blasto):
    running = [local(blasto, "--", "python", "-c", "import flask, gunicorn") for _ in range(3)]
    assert [one.wait() for one in running] == [0, 0, 0]
    assert len(names(empty)) == 1
    assert sum(one.err.count("Made a virtual") for one in running) == 1


@pytest.mark.endurance
def test_one_killed_midway_leaves_nothing_that_counts(local, empty, blasto):
    for pause in drawn((0.05, 0.15, 0.25, 0.35, 0.45), 2):
        running = local(blasto, "--", "true")
        time.sleep(pause)
        running.process.send_signal(signal.SIGKILL)
        running.wait()
        done = local(blasto, "--", "python", "-c", "import flask, gunicorn, pytest")
        assert done.wait() == 0, done.err
        assert [name for name in names(empty) if name.startswith(".")] == []
        shutil.rmtree(empty)


def test_what_nobody_used_for_a_month_goes_when_another_is_made(local, empty, blasto):
    made = prefix(local(blasto, *WHERE))
    old, young = empty / "old", empty / "young"
    for folder, days in ((old, 31), (young, 29)):
        folder.mkdir()
        os.utime(folder, (time.time() - days * 86400,) * 2)
    shutil.rmtree(made)
    prefix(local(blasto, *WHERE))
    assert not old.exists()
    assert young.exists()


# --venv


@pytest.fixture(scope="module")
def ready_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("venvs") / "ready"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def test_the_active_one_is_used_on_demand_only(local, blasto, ready_made, store):
    active = {"VIRTUAL_ENV": str(ready_made)}
    assert prefix(local(blasto, "--venv", *WHERE, env=active)) == ready_made
    assert prefix(local(blasto, *WHERE, env=active)).parent == store / "environments"


def test_a_bare_flag_eats_no_operand(local, blasto, ready_made):
    shutil.copytree(ready_made, blasto / ".venv", symlinks=True)
    running = local("--venv", blasto, *WHERE)
    assert prefix(running) == blasto / ".venv"


def test_a_path_is_named_after_an_equals_sign(local, blasto, ready_made):
    assert prefix(local(f"--venv={ready_made}", blasto, *WHERE)) == ready_made


def test_there_is_none(local, blasto):
    running = local("--venv", cwd=blasto)
    assert running.wait() == 2
    assert running.err == (
        "error: --venv finds no virtual environment\n\n"
        "None is active (VIRTUAL_ENV is not set), and . has no .venv.\n\n"
        "hint: activate one, name one with --venv=PATH, or leave --venv out: then one is made from Pipfile.lock.\n"
    )


def test_it_is_something_else(local, blasto):
    running = local(blasto, f"--venv={blasto / 'blasto'}")
    assert running.wait() == 2
    assert running.err == (
        f"error: {blasto}/blasto is not a virtual environment\n\n"
        "--venv names it, and it has no pyvenv.cfg.\n\n"
        f"hint: make one with `python3 -m venv {blasto}/blasto`, or leave --venv out: then one is made from "
        "Pipfile.lock.\n"
    )


def test_its_interpreter_is_gone(local, blasto):
    broken = blasto / ".venv"
    (broken / "bin").mkdir(parents=True)
    (broken / "pyvenv.cfg").write_text("home = /opt/python3.9/bin\nversion = 3.9.2\n")
    (broken / "bin" / "python").symlink_to("/opt/python3.9/bin/python3")
    running = local(blasto, "--venv")
    assert running.wait() == 70
    assert running.err == (
        f"error: the virtual environment {broken} is broken\n\n"
        f"{broken}/bin/python points at /opt/python3.9/bin/python3, which is gone. The Python that it was made with "
        "may have been removed or replaced.\n\n"
        f"hint: make it again with `python3 -m venv --clear {broken}` and install into it, or leave --venv out.\n"
    )


def test_it_has_another_python(local, blasto, ready_made, tmp_path):
    (blasto / ".python-version").write_text("3.13\n")
    running = local(blasto, f"--venv={ready_made}", "--", "true")
    assert running.wait() == 0
    version = ".".join(map(str, sys.version_info[:3]))
    assert running.err == f"warning: {ready_made} has Python {version}; the app asks for 3.13 (.python-version:1).\n"
