"""The same app gives the same image for any user, place and time, and any order of answers.

Each example builds a tiny app of six locked packages under drawn circumstances, in this process or by the command, and
compares digests. The stack is known beforehand, since gathering it takes a second; that the stack is the same from an
empty store too is a test of its own (`tests/integration/test_build.py`).
"""

from __future__ import annotations

import locale
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.oci.store import Store
from tests.support.command import deploy
from tests.support.index import Index, serving
from tests.support.tiny import add_wheels, build_here, environ, with_stack, write_app
from tests.support.validate import validate

pytestmark = pytest.mark.slow

PACKAGES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot")
REFERENCE = "docker.io/library/tiny:latest"

# Files that are often in folders and never enter an image.
LITTER = {
    ".DS_Store": b"\0\1\2",
    ".env": b"SECRET=1\n",
    "tiny/__pycache__/__init__.cpython-311.pyc": b"stale",
    ".venv/pyvenv.cfg": b"home = /usr/bin\n",
    ".git/HEAD": b"ref: refs/heads/other\n",
    ".pytest_cache/README.md": b"cache\n",
}


class World:
    """The parts that all examples share: the app as it was written first, its index, and a store that has built it."""

    def __init__(self, app: Path, index: Index, home: Path, digest: str) -> None:
        self.app, self.index, self.home, self.digest = app, index, home, digest

    def __repr__(self) -> str:
        return "world"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # In a folder that other users may enter.
    folder = Path(tempfile.mkdtemp(prefix="deploy-same-bits-", dir="/tmp"))
    folder.chmod(0o755)
    with serving() as index:
        app = write_app(folder / "app", add_wheels(index, folder / "wheels", *PACKAGES))
        home = folder / "home"
        built = build_here(app, home, {**os.environ, **environ(index)})
        assert validate(built.image, Store(home).open) == []
        index.random = random.Random(4711)
        yield World(app, index, home, str(built.image.digest))
    shutil.rmtree(folder)


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """One example, as hypothesis shows it where it fails."""

    by: str
    caches: str
    parents: tuple[str, ...]
    order: int
    mtimes: int
    private: bool
    litter: frozenset[str]
    umask: int
    zone: str
    language: str
    hash_seed: int
    style: str
    user: int | None
    relative: bool
    one_processor: bool


NAMES = st.one_of(
    st.sampled_from(["huge", "tiny", "app", "src", "with space", "ünï", "-x", "Upper.Case", "venv", "a" * 60]),
    st.text(alphabet="abcXYZ019._- é☃", min_size=1, max_size=12).filter(lambda name: name.strip(". ") != ""),
)
CIRCUMSTANCES = st.builds(
    Circumstances,
    by=st.sampled_from(["function", "function", "command"]),
    caches=st.sampled_from(["cold", "cold", "wheels", "warm"]),
    parents=st.lists(NAMES, min_size=1, max_size=4).map(tuple),
    order=st.integers(0, 1 << 16),
    mtimes=st.integers(0, 1 << 16),
    private=st.booleans(),
    litter=st.frozensets(st.sampled_from(sorted(LITTER))),
    umask=st.sampled_from([0o000, 0o022, 0o027, 0o077]),
    zone=st.sampled_from(["UTC", "Pacific/Chatham", "America/St_Johns", "Asia/Kolkata"]),
    language=st.sampled_from(["C", "C.UTF-8", "POSIX", "de_DE.UTF-8"]),
    hash_seed=st.integers(0, 4294967295),
    style=st.sampled_from(["html", "json"]),
    user=st.sampled_from([None, 1, 1000, 54321]),
    relative=st.booleans(),
    one_processor=st.booleans(),
)


@given(circumstances=CIRCUMSTANCES)
def test_one_app_gives_one_digest_in_all_circumstances(world: World, circumstances: Circumstances) -> None:
    place = Path(tempfile.mkdtemp(dir=world.home.parent))
    try:
        place.chmod(0o755)
        app = copy_app(world.app, place.joinpath(*circumstances.parents), circumstances)
        home = prepare_store(world, place / "store", circumstances)
        world.index.style = circumstances.style
        env = {
            "TZ": circumstances.zone,
            "LC_ALL": circumstances.language,
            "PYTHONHASHSEED": str(circumstances.hash_seed),
            **environ(world.index),
        }
        run = by_command if circumstances.by == "command" else by_function
        assert run(app, home, circumstances, env) == world.digest
    finally:
        shutil.rmtree(place)


def copy_app(source: Path, target: Path, circumstances: Circumstances) -> Path:
    """Copy the app in a drawn order, with drawn times, and the modes that git does not keep."""
    order, clock = random.Random(circumstances.order), random.Random(circumstances.mtimes)
    files = {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    files |= {path: LITTER[path] for path in circumstances.litter}
    for path in order.sample(sorted(files), len(files)):
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(files[path])
        mode = 0o755 if path == "start.sh" else 0o644
        copy.chmod(mode & 0o700 if circumstances.private else mode)
        moment = clock.randrange(0, 1 << 32) * 1_000_000_000 + clock.randrange(1_000_000_000)
        os.utime(copy, ns=(moment, moment))
    return target


def prepare_store(world: World, home: Path, circumstances: Circumstances) -> Path:
    with_stack(world.home, home)
    if circumstances.caches != "cold":
        shutil.copytree(world.home / "wheels", home / "wheels", copy_function=os.link)
    if circumstances.caches == "warm":
        for kept in ("layers", "facts", "bytecode"):
            shutil.copytree(world.home / kept, home / kept, dirs_exist_ok=True)
    return home


def by_function(app: Path, home: Path, circumstances: Circumstances, env: Mapping[str, str]) -> str:
    with as_process(circumstances, env):
        os.chdir(app if circumstances.relative else app.parent)
        built = build_here(Path() if circumstances.relative else app, home, os.environ)
    return str(built.image.digest)


@contextmanager
def as_process(circumstances: Circumstances, env: Mapping[str, str]) -> Iterator[None]:
    """Be a process of these circumstances, for a while."""
    before, folder, language = dict(os.environ), Path.cwd(), locale.setlocale(locale.LC_ALL)
    umask = os.umask(circumstances.umask)
    with ExitStack() as back:
        back.callback(time.tzset)
        back.callback(os.environ.update, before)
        back.callback(os.environ.clear)
        back.callback(os.umask, umask)
        back.callback(os.chdir, folder)
        back.callback(locale.setlocale, locale.LC_ALL, language)
        os.environ.update(env)
        time.tzset()
        if circumstances.language != "de_DE.UTF-8":  # not installed everywhere
            locale.setlocale(locale.LC_ALL, circumstances.language)
        yield


def by_command(app: Path, home: Path, circumstances: Circumstances, env: Mapping[str, str]) -> str:
    prefix = ["sh", "-c", f'umask {circumstances.umask:o}; exec "$@"', "sh"]
    if circumstances.one_processor:
        prefix += ["taskset", "-c", "0"]
    user = circumstances.user if os.getuid() == 0 else None
    if user is not None:
        for path in (app, home, *app.rglob("*"), *home.rglob("*")):
            # Blobs and wheels belong to other stores as well; a user who may read them may use them.
            if not path.is_relative_to(home / "blobs/sha256") and not path.is_relative_to(home / "wheels"):
                os.chown(path, user, user)
        os.chown(home / "blobs/sha256", user, user)
        for path in home.glob("wheels/**/"):
            os.chown(path, user, user)
        # The tests' own interpreter may be in root's home, which no other user may enter.
        capable = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
        prefix += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *capable]
    folder = app if circumstances.relative else app.parent
    name = Path() if circumstances.relative else app
    done = deploy("build", "-q", "--", name, home=home, cwd=folder, env=env, prefix=tuple(prefix))
    assert (done.code, done.err) == (0, "")
    return done.out.strip()
