"""Faults of this machine and interruptions of `build`: 70, 130, 143.

Whatever happens, the store stays usable, and nothing of the broken build stays behind in it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.support.command import EXAMPLES, ROOT, deploy
from tests.support.index import Index, serving
from tests.support.tiny import add_wheels, environ, with_stack, write_app


def left_behind(home: Path) -> list[str]:
    """Return the files that are neither finished nor a lock, nor the lease of a process that ended at once."""
    found = [path.relative_to(home) for path in home.rglob("*.part")]
    return [str(path) for path in found if path.parts[0] != "leases"]


# 70: the disk


def in_a_small_disk(folder: Path, size: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command with a disk of this size at `folder`; it is gone afterwards."""
    if os.getuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        missing("only root may mount a small disk in a namespace of its own")
    folder.mkdir()
    script = f'mount -t tmpfs -o {size} none "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script, folder, *map(str, command)],
        env={**os.environ, "DEPLOY_HOME": str(folder / "store"), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


BUILD = (sys.executable, "-m", "deployer", "build", EXAMPLES / "blasto", "-q")


# With so few files, the store is full while only one thread writes to it.
@pytest.mark.parametrize("size", ["size=26m", "size=100m,nr_inodes=10"], ids=["no space", "no inodes"])
def test_the_disk_is_full(tmp_path, size):
    disk = tmp_path / "disk"
    done = in_a_small_disk(
        disk, size, "sh", "-c", '"$@"; code=$?; find "$DEPLOY_HOME" -name "*.part"; exit $code', "sh", *BUILD
    )
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr == (
        "error: the disk is full\n\n"
        f"Writing to the store at {disk}/store failed: No space left on device.\n\n"
        "hint: free some space, or set DEPLOY_HOME to a folder on a disk with space, and build again.\n"
    )


def test_the_disk_is_full_while_byte_code_is_compiled(tmp_path):
    disk = tmp_path / "disk"
    done = in_a_small_disk(disk, "size=1m", *BUILD)
    assert (done.returncode, done.stdout) == (70, "")
    what, why, hint = done.stderr.removesuffix("\n").split("\n\n")
    assert what == "error: the disk is full"
    assert why.startswith("Compiling byte code failed: ")
    assert why.endswith(" (OSError: [Errno 28] No space left on device).")
    assert hint == "hint: free some space, or set DEPLOY_HOME to a folder on a disk with space, and build again."


def test_standard_output_is_full(home):
    done = deploy("build", EXAMPLES / "blasto", "-q", home=home, prefix=("sh", "-c", '"$@" >/dev/full', "sh"))
    assert (done.code, done.out) == (70, "")
    assert done.err == (
        "error: the disk is full\n\n"
        "No incomplete file was left under its final name.\n\n"
        "hint: free some space, or set DEPLOY_HOME to a folder on another disk, and run the command again.\n"
    )


def test_standard_error_is_full(home):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "deployer", "check", "examples/blasto"], cwd=ROOT, stderr=full, check=False
        )
    assert done.returncode == 70


@pytest.mark.parametrize("arguments", [("build",), ("check", "/"), ("cache", "info")])
def test_the_current_folder_is_gone(arguments, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = deploy(*arguments, home=tmp_path / "home", cwd=gone, prefix=("sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh"))
    assert (done.code, done.out, done.err) == (
        70,
        "",
        (
            "error: the current folder is gone\n\n"
            "It was removed after this shell entered it, or this user may not enter it any more.\n\n"
            "hint: go to a folder that exists: `cd` alone goes to your home folder.\n"
        ),
    )


def test_a_file_may_not_grow(tmp_path):
    done = deploy(
        "build", EXAMPLES / "blasto", "-q", home=tmp_path / "home", prefix=("sh", "-c", 'ulimit -f 24000; "$@"', "sh")
    )
    assert (done.code, done.out) == (70, "")
    assert done.err == (
        f"error: the store at {tmp_path}/home cannot be written\n\n"
        f"{tmp_path}/home: File too large.\n\n"
        "hint: set DEPLOY_HOME to a folder on a local disk, and build again.\n"
    )
    assert left_behind(tmp_path / "home") == []


def test_too_many_open_files(tmp_path):
    done = deploy(
        "build", EXAMPLES / "blasto", "-q", home=tmp_path / "home", prefix=("sh", "-c", 'ulimit -n 30; "$@"', "sh")
    )
    assert (done.code, done.out) == (70, "")
    what, _why, hint = done.err.split("\n\n")
    assert what == "error: too many open files"
    assert hint == "hint: raise the limit with `ulimit -n 4096`, and run the command again.\n"
    assert left_behind(tmp_path / "home") == []


# 70: places that may not be written


def test_an_archive_where_no_folder_is(home, tmp_path):
    path = tmp_path / "none" / "image.tar"
    done = deploy("build", EXAMPLES / "blasto", "-q", "--to", f"archive:{path}", home=home)
    assert (done.code, done.out, done.err) == (
        70,
        "",
        (
            f"error: {path} cannot be written\n\nNo such file or directory.\n\n"
            "hint: make the folder first, or name another place.\n"
        ),
    )


NOBODY = (
    *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"),
    # The tests' own interpreter may be in root's home, which the user nobody may not enter.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


def test_a_store_that_may_not_be_written_gives_way_to_a_temporary_one(tmp_path):
    """Somebody else's store; a second run finds what the first one left."""
    if os.getuid() != 0:
        missing("only root may become nobody")
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    temporary = Path(f"/tmp/deploy-test-{os.getpid()}")
    temporary.mkdir()
    temporary.chmod(0o1777)
    try:
        runs = [
            deploy("build", EXAMPLES / "blasto", home=home, prefix=NOBODY, env={"TMPDIR": str(temporary), "HOME": "/"})
            for _ in range(2)
        ]
        chosen = temporary / f"deploy-{pwd.getpwnam('nobody').pw_uid}"
        for run in runs:
            assert run.code == 0, run.err
            assert run.err.startswith(
                f"warning: {home} cannot be written, so the store is {chosen}, which may not last; "
                "set DEPLOY_HOME to a folder that does\n"
            )
        assert runs[0].out == runs[1].out
        assert "\nUnchanged: " in runs[1].err
        assert list(home.iterdir()) == []
    finally:
        shutil.rmtree(temporary)


def test_a_store_of_which_a_part_may_not_be_written():
    """Somebody ran a build as root in it."""
    if os.getuid() != 0:
        missing("only root may become nobody")
    home = Path(f"/tmp/deploy-test-part-{os.getpid()}")
    try:
        for folder in (home, home / "facts"):
            folder.mkdir(mode=0o755)
        os.chown(home, pwd.getpwnam("nobody").pw_uid, -1)
        done = deploy("build", EXAMPLES / "blasto", "-q", home=home, prefix=NOBODY, env={"HOME": "/"})
        assert (done.code, done.out) == (70, "")
        what, why, hint = done.err.removesuffix("\n").split("\n\n")
        assert what == f"error: no permission to write to the store at {home}"
        assert why.startswith(f"{home}/")
        assert why.endswith(": Permission denied.")
        assert hint == (
            "hint: fix the folder's owner or mode, or set DEPLOY_HOME to a folder that you may write to, "
            "and build again."
        )
    finally:
        shutil.rmtree(home)


# 130, 143: interrupted


@pytest.fixture
def index() -> Iterator[Index]:
    with serving(style="json", gate=threading.Event()) as served:
        yield served
        served.gate.set()


@pytest.fixture
def building(index: Index, seed: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A build that waits for its wheels, from a silent index, and would for a minute."""
    app = write_app(tmp_path / "app", add_wheels(index, tmp_path / "wheels", "alpha", "bravo"))
    home = with_stack(seed, tmp_path / "home")
    process = subprocess.Popen(
        [sys.executable, "-m", "deployer", "build", app, "-q"],
        env={**os.environ, **environ(index), "DEPLOY_HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 120
        while not any(path.startswith("/files/") for path in index.paths()):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build(building, index, tmp_path, number, code):
    building.send_signal(number)
    # The index says nothing, and a build waits a minute for that.
    out, err = building.communicate(timeout=55)
    assert (building.returncode, out, err) == (code, "", "interrupted\n" if number == signal.SIGINT else "")
    index.gate.set()
    again = deploy("build", tmp_path / "app", "-q", home=tmp_path / "home", env=environ(index))
    assert again.code == 0, again.err
    assert left_behind(tmp_path / "home") == []


def test_a_second_interrupt_ends_it_at_once(building):
    while building.poll() is None:  # two that come close together may count as one
        building.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert building.returncode == -signal.SIGINT, "and not 130, when it has cleaned up"


def test_an_ignored_interrupt_stays_ignored(index, home, tmp_path):
    """As with `nohup`, and in the background of a script."""
    index.gate.set()
    app = write_app(tmp_path / "app", add_wheels(index, tmp_path / "wheels", "alpha"))
    script = 'trap "" INT; "$@" & child=$!; sleep 0.4; kill -INT $child; wait $child'
    done = deploy("build", app, "-q", home=home, env=environ(index), prefix=("sh", "-c", script, "sh"))
    assert done.code == 0, done.err
