"""Builds that are killed, starved of disk, lied to by an index: each ends right or in words, and the next one is right.

`DEPLOY_TEST_SCALE=1` kills 200 builds instead of 4, which takes some six minutes.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from buildpack.app.indexes import Source
from buildpack.errors import BuildpackError, DependencyError
from buildpack.oci.store import Store
from buildpack.python.fetch import fetch_file
from buildpack.python.files import LockedFile
from buildpack.python.http import Client
from tests.conftest import missing
from tests.support.command import ROOT, deploy
from tests.support.endurance import SCALE, chosen_seed
from tests.support.engines import Engine
from tests.support.index import Index, serving
from tests.support.stand_in import make_stand_in, push
from tests.support.tiny import add_wheels, build_here, environ, with_stack, write_app
from tests.support.validate import validate

KILLS = max(4, int(200 * SCALE))
AT_ONCE = max(4, int(10 * SCALE))
REFERENCE = "docker.io/library/tiny:latest"
BODY = "".join(f"def f{number}(x):\n    return [x + {number}, {{'a': x}}]\n\n\n" for number in range(400)).encode()
"""So much that compiling takes a while."""


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def env(index: Index) -> dict[str, str]:
    return {**os.environ, **environ(index)}


@pytest.fixture(scope="module")
def app(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survival")
    return write_app(folder / "app", add_wheels(index, folder / "wheels", "alpha", "bravo", "charlie", body=BODY))


@pytest.fixture(scope="module")
def seed(seed: Path, app: Path, env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store after one build."""
    home = with_stack(seed, tmp_path_factory.mktemp("seed") / "home")
    build_here(app, home, env)
    return home


@pytest.fixture(scope="module")
def right(seed: Path) -> str:
    """The digest that every build has to end in."""
    return str(Store(seed).images()[REFERENCE])


def check(home: Path, right: str, told: object) -> None:
    """Every byte that the store's image names is there and right, and nothing half-done is left."""
    store = Store(home)
    image = store.image(REFERENCE)
    assert image is not None, told
    assert str(image.digest) == right, told
    assert validate(image, store.open) == [], told
    # Work of the dead goes with the next thing that is written, which an unchanged build need not do. A lease stays
    # until then, and means nothing once its process is gone.
    store.scratch().close()
    left = [path.relative_to(home) for path in home.rglob("*.part")]
    assert [str(path) for path in left if path.parts[0] != "leases"] == [], told


def build_right(app: Path, home: Path, env: Mapping[str, str], told: object, **options: Any) -> None:
    """Build in this process, which spares its start."""
    try:
        assert build_here(app, home, env, **options).warnings == (), told
    except BuildpackError as error:
        raise AssertionError(told) from error


# Killed


@dataclass(frozen=True, kw_only=True)
class Way:
    """A build to be killed: its arguments, the store it begins with, the digest it comes to, and how long it takes."""

    arguments: tuple[str, ...]
    prepare: Callable[[Path], object]
    right: str
    seconds: float


def command(app: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "deployer", "build", str(app), "-q", *arguments]


def variables(env: Mapping[str, str], home: Path) -> dict[str, str]:
    return {**env, "DEPLOY_HOME": str(home), "PYTHONPATH": str(ROOT)}


def measured(app: Path, env: Mapping[str, str], home: Path, prepare: Callable[[Path], object], *arguments: str) -> Way:
    """Build once, for the time it takes here and now."""
    prepare(home)
    begin = time.monotonic()
    done = deploy("build", app, "-q", *arguments, home=home, env=env)
    assert done.code == 0, done.err
    seconds = time.monotonic() - begin
    return Way(arguments=arguments, prepare=prepare, right=done.out.strip(), seconds=seconds)


@pytest.mark.registry
@pytest.mark.endurance
@pytest.mark.slow
def test_a_build_killed_at_any_moment_leaves_the_store_usable(app, env, seed, registry, tmp_path):
    """While the stack is gathered or its base fetched and unpacked, wheels come, modules compile, layers are written,
    the image is named, and sent to an engine.
    """
    number = chosen_seed()
    reference = pinned(push(make_stand_in(), registry, "survival/python:3.11-slim"))
    with closing_engine(tmp_path) as engine:
        env = {**env, "DOCKER_HOST": engine.host}

        def empty(home: Path) -> None:
            home.mkdir()

        def stacked(home: Path) -> None:
            with_stack(seed, home)

        stack = measured(app, env, tmp_path / "1", stacked)
        load = measured(app, env, tmp_path / "2", stacked, "--to", "docker")
        host = measured(app, env, tmp_path / "3", empty)
        base = measured(app, env, tmp_path / "4", empty, "--stack", reference)
        assert stack.right == load.right == host.right
        turns = [stack, load, host, base, stack, load, stack, load, stack, stack]
        moments = random.Random(number)
        for turn in range(KILLS):
            way = turns[turn % len(turns)]
            home = tmp_path / "home"
            way.prepare(home)
            moment = moments.uniform(0.02, way.seconds * 1.1)
            said = kill(command(app, *way.arguments), variables(env, home), moment)
            told = f"seed {number}, turn {turn} of {KILLS}, {way.arguments}, {moment:.3f} s: {said}"
            if way is load:
                again = deploy("build", app, "-q", *way.arguments, home=home, env=env)
                assert (again.code, again.out.strip(), again.err) == (0, way.right, ""), told
            else:
                build_right(app, home, env, told, stack=reference if way is base else None)
            check(home, way.right, told)
            shutil.rmtree(home)
        assert set(engine.tags) == {REFERENCE}


def pinned(reference: str) -> str:
    """The same image by its digest."""
    place, _, tag = reference.rpartition(":")
    host, _, repository = place.partition("/")
    address = f"http://{host}/v2/{repository}/manifests/{tag}"
    asked = urllib.request.Request(address, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
    with urllib.request.urlopen(asked) as answer:
        return f"{place}@{answer.headers['Docker-Content-Digest']}"


def closing_engine(folder: Path) -> closing[Engine]:
    engine = Engine(folder / "engine.sock")
    engine.close = engine.stop  # type: ignore[attr-defined]
    return closing(engine)  # type: ignore[type-var]


def kill(command: list[str], env: Mapping[str, str], seconds: float) -> str:
    """Start a command and kill it, unless it ends before; what it had said."""
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            out, err = process.communicate()
    return f"{process.returncode} {out}{err}"


# Side by side


@pytest.mark.endurance
def test_builds_at_once_on_an_empty_store(app, env, right, tmp_path):
    home = tmp_path / "home"
    builds = [
        subprocess.Popen(
            command(app), env=variables(env, home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(AT_ONCE)
    ]
    done = [(*build.communicate(), build.returncode) for build in builds]
    assert done == [(f"{right}\n", "", 0)] * AT_ONCE
    check(home, right, done)


# No room

SCRIPT = """
mount -t tmpfs -o size=$SIZE none "$DISK" || exit 99
"$@"
echo "code $?"
find "$DISK" -name '*.part' -not -path '*/leases/*'
mount -o remount,size=400m "$DISK"
"$@"
echo "code $?"
cp -a "$DEPLOY_HOME" "$AFTER"
"""


@pytest.mark.endurance
@pytest.mark.slow
def test_a_disk_that_is_full_at_any_moment(app, env, right, tmp_path):
    """The error says that the disk is full, and once there is room the next build on the same store is right."""
    number = chosen_seed()
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        missing("only root may mount a small disk in a namespace of its own")
    sizes = random.Random(number)
    codes = set()
    for turn in range(max(2, int(30 * SCALE))):
        disk, after = tmp_path / f"disk{turn}", tmp_path / f"after{turn}"
        disk.mkdir()
        # The first one is too small for anything.
        size = sizes.choice((sizes.randrange(200, 4000), sizes.randrange(4000, 60_000))) if turn else 200
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", *command(app)],
            env={**variables(env, disk / "home"), "SIZE": f"{size}k", "DISK": str(disk), "AFTER": str(after)},
            capture_output=True,
            text=True,
            check=False,
        )
        told = f"seed {number}, turn {turn}, {size} kB: {done.stdout}{done.stderr}"
        first, *rest = done.stdout.splitlines()
        if first == "code 70":
            assert done.stderr.startswith("error: the disk is full\n"), told
        else:
            assert (first, rest.pop(0)) == (right, "code 0"), told
        assert rest == [right, "code 0"], told
        codes.add(first)
        check(after, right, told)
        shutil.rmtree(after)
    assert "code 70" in codes


# A dishonest index

FILE = "/files/bravo-1.0-py3-none-any.whl"
PAGE = "/simple/bravo/"
NAME = "bravo-1.0-py3-none-any.whl"
BUSY = [(429, {"Retry_After": "0"}), (503, {"Retry_After": "0"}), (0, {}), (-1, {})]

PATIENCE = {
    "429, 503, nothing and half a file": lambda index, _: index.failures.extend(BUSY),
    "redirects on the same host": lambda index, _: index.redirects.update({PAGE: f"{PAGE}?a", FILE: f"{FILE}?a"}),
    "redirects to another host": lambda index, other: index.redirects.update(
        {FILE: other.url.replace("/simple/", FILE)}
    ),
}
"""Faults of an index with which the build is still right."""

REFUSED = {
    "other bytes of the same size": (
        lambda index: index.instead.update({NAME: index.file(NAME)[::-1]}),
        f"error: {NAME} is not the file that was locked\n",
    ),
    "bytes without end": (
        lambda index: index.instead.update({NAME: index.file(NAME) + bytes(3 << 20)}),
        f"error: {NAME} is not the file that was locked\n",
    ),
    "503 for ever": (
        lambda index: index.failures.extend([(503, {"Retry_After": "0"})] * 40),
        "error: ${TINY_INDEX} cannot be reached\n",
    ),
    "429 for an hour": (
        lambda index: index.failures.extend([(429, {"Retry_After": "3600"})] * 40),
        "error: ${TINY_INDEX} cannot be reached\n",
    ),
    "a circle": (lambda index: index.redirects.update({FILE: FILE}), "error: ${TINY_INDEX} refused a request\n"),
    "a redirect to this machine's files": (
        lambda index: index.redirects.update({FILE: "file:///etc/passwd"}),
        "error: ${TINY_INDEX} refused a request\n",
    ),
    "a redirect to no address": (
        lambda index: index.redirects.update({FILE: "http://[::1:80/x"}),
        "error: ${TINY_INDEX} refused a request\n",
    ),
    "a redirect to no port": (
        lambda index: index.redirects.update({FILE: "http://127.0.0.1:99999999/x"}),
        "error: ${TINY_INDEX} refused a request\n",
    ),
    "two lengths": (
        lambda index: index.failures.extend([(200, {"Content_Length": "7"})] * 40),
        "error: ${TINY_INDEX} refused a request\n",
    ),
    "a page of nonsense": (
        lambda index: index.pages.update({PAGE: ("application/json", b"\xff[{")}),
        "error: ",
    ),
    "links to no address": (
        lambda index: index.pages.update({PAGE: ("text/html", link(index, "http://[::1/" + NAME))}),
        "error: ",
    ),
    "a name that leads out": (
        lambda index: index.pages.update({PAGE: ("text/html", link(index, f"/files/..%2F..%2F..%2Fevil%2F{NAME}"))}),
        "error: ",
    ),
}


def at(index: Index, path: str) -> str:
    return index.url.replace("/simple/", path)


def link(index: Index, address: str) -> bytes:
    [served] = index.projects["bravo"]
    return f'<a href="{address}#sha256={served.hash()}">x</a>'.encode()


@pytest.fixture
def honest(index: Index) -> Iterator[Index]:
    """The index, which behaves again afterwards."""
    yield index
    for each in (index.failures, index.redirects, index.instead, index.pages):
        each.clear()


@pytest.mark.parametrize("flaw", list(PATIENCE))
def test_an_index_that_comes_to_its_senses(honest, app, env, seed, right, tmp_path, flaw):
    home = with_stack(seed, tmp_path / "home")
    with serving() as other:
        other.projects.update(honest.projects)
        PATIENCE[flaw](honest, other)
        done = deploy("build", app, "-q", home=home, env=env)
    assert (done.code, done.out.strip(), done.err) == (0, right, "")
    check(home, right, flaw)


@pytest.mark.parametrize("flaw", list(REFUSED))
def test_an_index_that_never_does(honest, app, env, seed, right, tmp_path, flaw):
    home = with_stack(seed, tmp_path / "home")
    spoil, begin = REFUSED[flaw]
    spoil(honest)
    done = deploy("build", app, "-q", home=home, env=env)
    assert (done.code, done.out) == (20, ""), done.err
    assert done.err.startswith(begin), done.err
    assert "Traceback" not in done.err
    assert "hint: " in done.err
    assert not list(tmp_path.rglob("*evil*"))
    assert not list(home.rglob(NAME))
    for each in (honest.failures, honest.redirects, honest.instead, honest.pages):
        each.clear()
    build_right(app, home, env, flaw)
    check(home, right, flaw)


def test_an_index_that_says_nothing(honest, tmp_path):
    """Not with the real patience, which is a minute for each of five attempts."""
    [served] = honest.projects["bravo"]
    file = LockedFile(
        name="bravo",
        version="1.0",
        filename=served.filename,
        url=at(honest, FILE),
        sha256=served.hash(),
        size=len(served.content),
        source="tiny",
    )
    honest.gate = threading.Event()
    waits: list[float] = []
    with (
        Client([Source(name="tiny", url=honest.url)], {}, timeout=(0.2, 0.2), sleep=waits.append) as client,
        pytest.raises(DependencyError) as caught,
    ):
        fetch_file(file, client, tmp_path)
    honest.gate.set()
    honest.gate = None
    assert len(waits) == 4
    assert "it did not answer in time" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
