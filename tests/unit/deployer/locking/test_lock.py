from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from buildpack.errors import AppError, DependencyError, UsageError
from buildpack.system.temporary import create_temporary
from deployer.locking.lock import Order, compare_locks, pin_stack, run_pipenv, versions_of
from tests.support.command import ROOT

PINNED = "python:3.13-slim@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f'stack = "{PINNED}"\n'),
        ('stack = "python:3.13-slim"\n', f'stack = "{PINNED}"\n'),
        ("# why\nname = 'a'\n  stack='python:3.13-slim' # here\n", f"# why\nname = 'a'\n  stack=\"{PINNED}\" # here\n"),
        ('name = "a"\n', f'name = "a"\nstack = "{PINNED}"\n'),
        ('[build.env]\nstack = "x"\n', f'stack = "{PINNED}"\n\n[build.env]\nstack = "x"\n'),
    ],
)
def test_pinning_changes_one_value_and_nothing_else(tmp_path: Path, before, after):
    path = tmp_path / "deploy.toml"
    if before:
        path.write_text(before)
    assert pin_stack(tmp_path, PINNED)
    assert path.read_text() == after
    assert not pin_stack(tmp_path, PINNED), "the second time nothing changes"


def test_changes_are_listed_by_name():
    before = {
        "default": {"flask": {"version": "==3.0"}, "gone": {"version": "==1"}},
        "develop": {"pytest": {"version": "==8"}},
    }
    after = {
        "default": {"flask": {"version": "==3.1"}, "new": {"git": "x", "ref": "abc"}},
        "develop": {"pytest": {"version": "==8"}},
    }
    changes = compare_locks(versions_of(json.dumps(before).encode()), versions_of(json.dumps(after).encode()))
    assert [str(change) for change in changes] == ["flask 3.0 -> 3.1", "gone 1 is gone", "new abc is new"]


@pytest.mark.parametrize("lock", [None, b"", b"[", b"[]", b'{"default": 3}'])
def test_a_damaged_lock_has_no_versions(lock):
    assert versions_of(lock) == {}


def test_pipenv_gets_named_variables_only(tmp_path: Path):
    (tmp_path / "Pipfile").write_text('[[source]]\nname = "i"\nurl = "https://u:${INDEX_PASSWORD}@h/"\n[packages]\n')
    program, seen = tmp_path / "program", tmp_path / "seen"
    program.write_text(f"#!/bin/sh\nenv > {seen}\nexit 1\n")
    program.chmod(0o755)
    kept = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/home/me",
        "CC": "cc",
        "LC_TIME": "C",
        "https_proxy": "http://p",
        "NO_PROXY": "h",
        "PIP_INDEX_URL": "https://i",
        "SSL_CERT_FILE": "/ca",
        "INDEX_PASSWORD": "x",
    }
    secret = {"AWS_SECRET_ACCESS_KEY": "x", "DEPLOY_TOKEN": "x", "DATABASE_URL": "x", "PYTHONPATH": "/x", "PIPENV": "x"}
    with pytest.raises(DependencyError):
        run_pipenv(
            *(tmp_path, Order(variables={"MODE": "fast", "PATH": "/x", "CC": "clang"})),
            python="python3",
            place=tmp_path,
            environ={**kept, **secret},
            pipenv=str(program),
            verbose=False,
        )
    got = dict(line.partition("=")[::2] for line in seen.read_text().splitlines())
    assert {**kept, "MODE": "fast", "CC": "clang"}.items() <= got.items()
    assert not secret.keys() & got.keys()


def test_pipenv_gets_no_variable_that_belongs_to_deploy(tmp_path: Path):
    (tmp_path / "Pipfile").write_text(
        '[[source]]\nname = "i"\nurl = "https://h/${DEPLOY_TOKEN}/simple"\n'
        '[packages]\nx = {git = "https://h/$PROXY/${http_proxy}.git"}\n[scripts]\npush = "docker push $DOCKER_IMAGE"\n'
    )
    with pytest.raises(AppError) as caught:
        run_pipenv(
            *(tmp_path, Order()),
            python="python3",
            place=tmp_path,
            environ={},
            pipenv=str(tmp_path / "missing"),
            verbose=False,
        )
    assert str(caught.value).partition("\n\nPipfile decides")[0] == (
        "Pipfile has variables where deploy does not expand them\n\n"
        "  - the source `i`: ${DEPLOY_TOKEN} belongs to deploy\n"
        "  - x (Pipfile:5): ${http_proxy} belongs to deploy"
    )


def test_a_failed_build_of_a_package_names_variables_and_hides_those_that_were_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "Pipfile").write_text("[packages]\n")
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "token $TOKEN"\necho "ERROR: Failed to build x"\nexit 1\n')
    program.chmod(0o755)
    with pytest.raises(DependencyError) as caught:
        run_pipenv(
            *(tmp_path, Order(pipfile="[packages]\n", variables={"TOKEN": "hunter2"}, given=frozenset({"TOKEN"}))),
            python="python3",
            place=tmp_path,
            environ={},
            pipenv=str(program),
            verbose=True,
        )
    assert str(caught.value) == (
        f"pipenv could not lock {tmp_path}/Pipfile with the change\n\n"
        "Pipfile and Pipfile.lock did not change. The end of pipenv's output:\n\n"
        "token [redacted]\nERROR: Failed to build x\n\n"
        "hint: if the build needs a variable, set it with `--build-env NAME=VALUE`, or below `[build.env]` in "
        "deploy.toml."
    )
    assert capsys.readouterr().err == "token [redacted]\nERROR: Failed to build x\n"


def test_a_lock_that_cannot_be_written_leaves_pipfile_as_it_was(tmp_path: Path):
    (tmp_path / "Pipfile").write_text("[packages]\n")
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho {} > "$PIPENV_PIPFILE.lock"\nmkdir -p Pipfile.lock/in-the-way\n')
    program.chmod(0o755)
    with pytest.raises(IsADirectoryError):
        run_pipenv(
            *(tmp_path, Order(pipfile='[packages]\nsix = "*"\n')),
            python="python3",
            place=tmp_path,
            environ={"PATH": "/usr/bin:/bin"},
            pipenv=str(program),
            verbose=False,
        )
    assert (tmp_path / "Pipfile").read_text() == "[packages]\n"
    assert {path.name for path in tmp_path.iterdir()} == {"Pipfile", "Pipfile.lock", "program"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [("flak", "did you mean `flask`?"), ("nosuchpackage", "add the package with `deploy add nosuchpackage`.")],
)
def test_a_package_that_the_app_does_not_have_cannot_be_moved(tmp_path: Path, name: str, hint: str):
    (tmp_path / "Pipfile").write_text('[packages]\nflask = "*"\n[dev-packages]\nPy_Test = "*"\n')
    (tmp_path / "Pipfile.lock").write_text('{"default": {"flask": {}, "blinker": {}}, "develop": {"iniconfig": {}}}')
    with pytest.raises(UsageError) as caught:
        run_pipenv(
            *(tmp_path, Order(move=frozenset({"Flask", "blinker", "py-test", "iniconfig", name}))),
            python="python3",
            place=tmp_path,
            environ={},
            pipenv="/bin/false",
            verbose=False,
        )
    assert str(caught.value) == (
        f"neither Pipfile nor Pipfile.lock has {name}\n\n"
        "`--upgrade-package` upgrades a package that the app has.\n\n"
        f"hint: {hint}"
    )


LOCK = """
import sys
from pathlib import Path
from deployer.interrupts import hear_signals
from deployer.locking.lock import Order, run_pipenv
hear_signals()
folder = Path(sys.argv[1])
run_pipenv(folder, Order(), python="python3", place=folder, environ={}, pipenv=f"{folder}/program", verbose=False)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_that_pipenv_started_outlives_a_signal(tmp_path: Path, number: int):
    (tmp_path / "Pipfile").write_text("[packages]\n")
    program, started = tmp_path / "program", tmp_path / "started"
    program.write_text(
        '#!/bin/sh\nsleep 600 &\necho login > "$TMPDIR/netrc"\n'
        f'echo "$$ $!" > {started}.new\nmv {started}.new {started}\nwait\n'
    )
    program.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, str(tmp_path)], cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        await_true(started.exists)
        pids = started.read_text().split()
        process.send_signal(number)
    await_true(lambda: not any(map(runs, pids)))
    assert {path.name for path in tmp_path.iterdir()} == {"Pipfile", "program", "started"}


def test_a_dead_process_s_copy_of_pipfile_is_removed_and_a_living_one_s_is_not(tmp_path: Path):
    (tmp_path / "Pipfile").write_text("[packages]\n")
    (tmp_path / "place").mkdir()
    for name in (".deploy-dead.part", ".deploy-dead.part.lock", ".deploy-gone.part.lock", "mine.part"):
        (tmp_path / name).touch()
    descriptor, living = create_temporary(tmp_path, prefix=".deploy-")
    (tmp_path / f"{living.name}.lock").touch()
    with pytest.raises(DependencyError):
        run_pipenv(
            *(tmp_path, Order()),
            python="python3",
            place=tmp_path / "place",
            environ={},
            pipenv="/bin/false",
            verbose=False,
        )
    os.close(descriptor)
    kept = {"Pipfile", "place", "mine.part", living.name, f"{living.name}.lock"}
    assert {path.name for path in tmp_path.iterdir()} == kept


def runs(pid: str) -> bool:
    """Return True if a process has not ended; this process may have adopted a dead one as a subreaper."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def await_true(found: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_without_a_pipfile_there_is_nothing_to_lock(tmp_path: Path):
    with pytest.raises(AppError) as caught:
        run_pipenv(tmp_path, Order(), python="python3", place=tmp_path, environ={}, pipenv="python3", verbose=False)
    assert str(caught.value) == (
        f"there is no Pipfile in {tmp_path}\n\npipenv locks the packages that a Pipfile lists.\n\n"
        "hint: write one, with `flask` and `gunicorn` under [packages], and run the command again."
    )
