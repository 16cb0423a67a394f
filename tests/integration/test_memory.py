"""A build's memory stays bounded for apps of any size: that of all its processes together, at its peak."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.synthetic import MB, serve, small_wheel, write_wheel
from benchmarks.synthetic import write_app as write_large_app
from buildpack.oci.store import Store
from tests.support.command import EXAMPLES, ROOT
from tests.support.tiny import with_stack, write_app


def tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in path.read_text().split():
                yield from tree(int(child))


def others(pid: int) -> Iterator[int]:
    """All processes below one, but those just made: until they run their program, their memory is their parent's."""
    with suppress(OSError):
        own = Path(f"/proc/{pid}/cmdline").read_bytes()
        for other in tree(pid):
            if other != pid and Path(f"/proc/{other}/cmdline").read_bytes() != own:
                yield other


def memory(pid: int) -> int:
    """Bytes in memory that a process needs: what several share counts in parts (`Pss`)."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def peak_of_build(app: Path, home: Path, env: Mapping[str, str]) -> int:
    """Build, and return the most that its processes had at one time, looked at fifty times a second."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deployer", "build", str(app), "-q"],
        env={**os.environ, **env, "DEPLOY_HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory(process.pid) + sum(map(memory, others(process.pid))))
        time.sleep(0.02)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.startswith(b"sha256:")
    return peak


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder that is emptied at once: pytest keeps its own, and these are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.slow
def test_the_rich_example_from_an_empty_store(place):
    peak = peak_of_build(EXAMPLES / "bookshelf", place / "home", {})
    assert 30 << 20 < peak < 300 << 20, f"{peak / 1e6:.0f} MB"


@pytest.mark.slow
def test_an_app_with_a_file_larger_than_the_limit(seed, place):
    """The file's bytes cannot be compressed, so that nothing is small on the way."""
    app = write_app(place / "app", {})
    home = with_stack(seed, place / "home")
    with (app / "large.bin").open("wb") as out:
        for _ in range(120):
            out.write(os.urandom(1 << 20))
    peak = peak_of_build(app, home, {})
    assert 10 << 20 < peak < 80 << 20, f"{peak / 1e6:.0f} MB"
    image = Store(home).image("docker.io/library/tiny:latest")
    assert image is not None
    assert image.layers[-1].size > 120 << 20


# `benchmarks/large.py` builds what is ten times as large, and measures how long that takes.


@pytest.mark.slow
@pytest.mark.parametrize("deflated", [True, False], ids=["deflated", "stored"])
def test_a_wheel_of_a_single_large_file(seed, place, deflated):
    """Larger than what a build of a small one takes by more than the file's own size, were it held in memory."""
    wheel = write_wheel(place / "files", "gigantic", {"gigantic/weights.bin": 100 * MB}, deflated=deflated)
    packages = {"gigantic": wheel}
    app = write_large_app(place / "app", packages)
    with serve(place, packages) as env:
        peak = peak_of_build(app, with_stack(seed, place / "home"), env)
    assert 10 << 20 < peak < 80 << 20, f"{peak / 1e6:.0f} MB"


@pytest.mark.slow
def test_an_app_of_thousands_of_files(seed, place):
    app = write_large_app(place / "app", {}, files=2000)
    peak = peak_of_build(app, with_stack(seed, place / "home"), {})
    assert 10 << 20 < peak < 80 << 20, f"{peak / 1e6:.0f} MB"


@pytest.mark.slow
def test_a_lock_of_many_packages(seed, place):
    packages = {f"small{number:04}": small_wheel(place / "files", number) for number in range(60)}
    app = write_large_app(place / "app", packages)
    with serve(place, packages) as env:
        peak = peak_of_build(app, with_stack(seed, place / "home"), env)
    assert 10 << 20 < peak < 150 << 20, f"{peak / 1e6:.0f} MB"
