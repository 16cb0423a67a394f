"""`deploy cache`: what the store holds, and making room in it while builds are at work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from buildpack.oci.archive import write_oci_dir
from buildpack.oci.image import Layer
from buildpack.oci.prune import Limits, Pruned, prune_store
from buildpack.oci.store import Store
from buildpack.pipeline import Listener
from deployer.cli.cache import SHELVES
from tests.conftest import missing
from tests.support.command import ROOT, deploy
from tests.support.endurance import SCALE
from tests.support.images import Blobs, image_of
from tests.support.index import Index, serving
from tests.support.tiny import Entry, add_wheels, build_here, environ, write_app, write_lock
from tests.support.validate import validate

TINY = "docker.io/library/tiny:latest"


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def app(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    return write_app(folder / "tiny", add_wheels(index, folder / "wheels", "alpha", "bravo", "charlie"))


@pytest.fixture(scope="module")
def seed(index: Index, app: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has built the app."""
    home = tmp_path_factory.mktemp("seed") / "home"
    build_here(app, home, {**os.environ, **environ(index)})
    return home


@pytest.fixture
def home(seed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(seed, tmp_path / "home", ignore=shutil.ignore_patterns("leases")))


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, anyones: Path) -> None:
    """Keep away from the folder that all of root's stores share, which other tests use."""
    monkeypatch.setenv("TMPDIR", str(anyones))


def age(home: Path, days: float) -> None:
    """Let everything in the store be this old."""
    then = time.time() - days * 86400
    for path in home.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)


def test_info_tells_what_takes_how_much_room(home: Path) -> None:
    report = deploy("cache", "info", "--json", home=home).report
    assert report["schema"] == 1
    assert report["store"] == str(home)
    assert [image["reference"] for image in report["images"]] == [TINY]
    kinds = report["kinds"]
    assert {kind for kind, each in kinds.items() if each["count"]} == {"images", "wheels", "bytecode", "facts", "other"}
    assert kinds["wheels"]["count"] == 3
    assert kinds["images"]["count"] == 2 + len(Store(home).image(TINY).layers)
    assert report["size"] == sum(each["size"] for each in kinds.values())
    on_disk = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    assert abs(report["size"] - on_disk) < 100_000
    assert kinds["wheels"]["oldest"] <= kinds["wheels"]["newest"] <= time.time()

    age(home, 3)
    text = deploy("cache", "info", home=home).out
    assert re.match(re.escape(f"{home}: ") + r"\d+ MB, 1 image\n", text)
    assert re.search(r"^  wheels +[\d.]+ KB +3  3d to 3d +packages$", text, flags=re.MULTILINE)
    assert max(map(len, text.splitlines()[1:])) <= 80


def test_a_missing_store_is_reported_and_not_made(tmp_path: Path) -> None:
    home = tmp_path / "none"
    assert deploy("cache", "info", home=home).out == f"{home}: 0 B, 0 images\n"
    assert deploy("cache", "prune", "--keep-storage", "0", home=home).out == "Freed 0 B; 0 B left\n"
    assert not home.exists()


def test_a_store_that_cannot_be_written_is_an_error_and_no_other_is_pruned(home: Path, tmp_path: Path) -> None:
    if os.getuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        missing("only root may mount a folder read-only")
    elsewhere = {"TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    script = f'mount --bind {home} {home} && mount -o remount,bind,ro {home} && exec "$@"'
    readonly = ("unshare", "-m", "sh", "-c", script, "sh")
    info = deploy("cache", "info", "--json", home=home, env=elsewhere, prefix=readonly).report
    assert (info["store"], len(info["images"])) == (str(home), 1)
    done = deploy("cache", "prune", "--keep-storage", "0", home=home, env=elsewhere, prefix=readonly)
    assert done.code == 70
    assert done.err == (
        f"error: the store at {home} cannot be written, so nothing was removed\n\n"
        "It belongs to another user, or its disk is read-only.\n\n"
        "hint: prune it as its owner, or set DEPLOY_HOME to the store that you mean.\n"
    )
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_folder_that_never_was_a_store_is_left_alone(tmp_path: Path) -> None:
    """`DEPLOY_HOME=$HOME` is soon typed, and people have folders that are called so."""
    for name in ("tmp", "wheels", "records", "blobs/sha256"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "mine.whl").write_text("mine")
    age(tmp_path, 30)
    before = sorted(tmp_path.rglob("*"))
    done = deploy("cache", "prune", "--keep-storage", "0", "--all", home=tmp_path)
    assert (done.code, done.out) == (0, "Freed 0 B; 0 B left\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_prune_says_what_it_drops_and_drops_it(home: Path) -> None:
    age(home, 8)
    assert deploy("cache", "prune", "--older-than", "9d", home=home).out.startswith("Freed 0 B; ")
    told = deploy("cache", "prune", "--older-than", "1w", "--dry-run", home=home)
    assert re.match(r"Would free [\d.]+ [KM]B; \d+ MB left\n  wheels .* 3\n  bytecode ", told.out)
    done = deploy("cache", "prune", "--older-than", "1w", home=home)
    assert done.out == told.out.replace("Would free", "Freed")
    assert not any((home / "wheels").iterdir())
    store = Store(home)
    assert validate(store.image(TINY), store.open) == []
    del store  # with it goes its lease, which says that we rely on the image

    left = deploy("cache", "prune", "--keep-storage", "1MB", home=home)
    assert left.err == "More than 1.0 MB are left, because images need them. --all also removes images.\n"
    report = deploy("cache", "prune", "--keep-storage", "1MB", "--all", "--json", home=home).report
    assert report["dropped"]["images"]["count"] == 1
    assert report["freed"] > 20_000_000
    assert report["left"] < 1_000_000
    assert Store(home).images() == {}


def test_limits_have_to_be_named(tmp_path: Path) -> None:
    done = deploy("cache", "prune", home=tmp_path)
    assert (done.code, done.err) == (
        2,
        "error: no limit is given\n\nhint: name one: `--keep-storage 2GB`, or `--older-than 7d`.\n",
    )


def test_what_was_pruned_is_made_again_to_the_same_bits(index: Index, app: Path, home: Path) -> None:
    before = Store(home).images()[TINY]
    age(home, 8)
    assert prune_store(Store(home), Limits(keep=0, images=True), shelves=SHELVES, now=time.time()).left < 200_000
    built = build_here(app, home, {**os.environ, **environ(index)})
    assert built.image.digest == before
    assert validate(built.image, Store(home).open) == []


def test_what_another_version_noted_of_a_layer_does_not_change_the_image(index: Index, app: Path, home: Path) -> None:
    store = Store(home)
    for layer in store.image(TINY).layers:
        if layer.key:
            store.remember_layer(layer.key, replace(layer, annotations={**layer.annotations, "dev.deploy.slot": "old"}))
    before = store.images()[TINY]
    assert build_here(app, home, {**os.environ, **environ(index)}).image.digest == before


class Pruner(Listener):
    """Prunes all that it may at every turn of a build."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.spared = 0

    def prune(self) -> None:
        done = prune_store(Store(self.home), Limits(keep=0, images=True), shelves=SHELVES, now=time.time())
        self.spared = max(self.spared, len(done.spared))

    def begin(self, *_args: object, **_named: object) -> None:
        self.prune()

    def layer(self, _position: int, _layer: Layer, tar: BinaryIO | None) -> None:
        self.prune()


@pytest.mark.parametrize("change", ["nothing", "a line", "a package"])
def test_a_prune_in_the_middle_of_a_build_takes_nothing_from_it(
    change: str, index: Index, app: Path, home: Path, tmp_path: Path
) -> None:
    """Everything is old and has no name, so without a lease each blob would go as soon as the build has found it."""
    copy = Path(shutil.copytree(app, tmp_path / "tiny"))
    if change == "a line":
        (copy / "tiny" / "page.html").write_text("<p>changed</p>\n")
    if change == "a package":
        write_lock(copy, {**locked(copy), **add_wheels(index, tmp_path / "more", "delta")})
    Store(home).write_descriptors([])
    age(home, 8)
    pruner = Pruner(home)
    built = build_here(copy, home, {**os.environ, **environ(index)}, listener=pruner)
    assert validate(built.image, Store(home).open) == []
    assert pruner.spared >= 5
    written = [made.source for made, _ in built.layers].count("built")
    assert written == {"nothing": 0, "a line": 1, "a package": 2}[change]  # the lock is shipped


def locked(app: Path) -> dict[str, Entry]:
    """The packages of an app's lock."""
    return dict(json.loads((app / "Pipfile.lock").read_text())["default"])


def variants(app: Path, folder: Path, count: int) -> list[Path]:
    """Copies of the app with another line each."""
    made = []
    for number in range(count):
        made.append(Path(shutil.copytree(app, folder / str(number) / "tiny")))
        (made[-1] / "tiny" / "page.html").write_text(f"<p>{number}</p>\n")
    return made


@pytest.mark.endurance
def test_builds_beside_prunes_without_end(index: Index, app: Path, home: Path, tmp_path: Path) -> None:
    """Everything is old and nothing but one image is named, so each prune would take what the builds rely on."""
    env = {**os.environ, **environ(index), "DEPLOY_HOME": str(home), "PYTHONPATH": str(ROOT)}
    at_once = max(3, int(5 * SCALE))
    apps = variants(app, tmp_path, 2 * at_once)
    done: list[Pruned] = []
    for number, batch in enumerate((apps[:at_once], apps[at_once:])):
        age(home, 8)
        builds = [
            subprocess.Popen(
                [sys.executable, "-m", "deployer", "build", str(each), "-q", "-t", f"tiny:{number}-{each.parent.name}"],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for each in batch
        ]
        over = threading.Event()

        def prune_on(over: threading.Event = over) -> None:
            while not over.is_set():
                done.append(prune_store(Store(home), Limits(keep=0), shelves=SHELVES, now=time.time()))

        with ThreadPoolExecutor(2) as pool:
            pruning = [pool.submit(prune_on) for _ in range(2)]
            try:
                answers = [build.communicate(timeout=240) for build in builds]
            finally:
                over.set()
            for each in pruning:
                each.result()
        assert [(build.returncode, err) for build, (_, err) in zip(builds, answers, strict=True)] == [(0, "")] * at_once
    assert any(each.dropped for each in done)
    store = Store(home)
    assert len(store.images()) == 2 * at_once + 1
    for name in store.images():
        image = store.image(name)
        assert image is not None
        assert store.missing(image.layers) == ()


def test_writers_of_one_layout_lose_no_name(tmp_path: Path) -> None:
    """In a fresh folder and in one that is there, all at once."""
    blobs = Blobs()
    images = {f"docker.io/library/x:{number}": image_of(blobs.layer({"a": b"%d" % number})) for number in range(16)}
    folder = tmp_path / "layout"

    def write(name: str) -> None:
        write_oci_dir(images[name], blobs.open, folder, [name])

    for names in (list(images)[:8], list(images)[8:]):
        barrier = threading.Barrier(len(names))
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(lambda name, barrier=barrier: (barrier.wait(30), write(name)), names))
    listed = json.loads((folder / "index.json").read_text())["manifests"]
    found = {item["annotations"]["org.opencontainers.image.ref.name"]: item["digest"] for item in listed}
    assert found == {name: str(image.digest) for name, image in images.items()}
    assert sorted(path.name for path in folder.iterdir()) == ["blobs", "index.json", "oci-layout"]
