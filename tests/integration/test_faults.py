"""Builds that are killed, that meet damage in the store, that run side by side: what comes out is the same image."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from buildpack.errors import LostError, MachineError
from buildpack.oci.digest import Digest
from buildpack.oci.image import Layer, Platform
from buildpack.oci.store import Store
from buildpack.pipeline import Listener
from buildpack.stacks.image_stack import unpacked
from tests.support.command import ROOT, deploy
from tests.support.endurance import SCALE, chosen_seed
from tests.support.engines import Engine
from tests.support.index import Index, serving
from tests.support.spec_registry import spec_registry
from tests.support.tiny import add_wheels, build_here, environ, with_stack, write_app
from tests.support.validate import validate

REFERENCE = "docker.io/library/tiny:latest"


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def env(index: Index) -> dict[str, str]:
    return {**os.environ, **environ(index)}


@pytest.fixture(scope="module")
def app(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    return write_app(folder / "app", add_wheels(index, folder / "wheels", "alpha", "bravo", "charlie"))


@pytest.fixture(scope="module")
def seed(seed: Path, app: Path, env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store after one build."""
    home = with_stack(seed, tmp_path_factory.mktemp("seed") / "home")
    build_here(app, home, env)
    return home


@pytest.fixture(scope="module")
def reference(seed: Path) -> str:
    return str(Store(seed).images()[REFERENCE])


@pytest.fixture
def home(seed: Path, tmp_path: Path) -> Path:
    """A copy of that store, to be damaged."""
    return Path(shutil.copytree(seed, tmp_path / "home"))


def left_behind(home: Path) -> list[str]:
    found = [path.relative_to(home) for path in home.rglob("*.part")]
    # A lease stays until the next build, and means nothing once its process is gone.
    return [str(path) for path in found if path.parts[0] != "leases"]


def is_whole(home: Path, reference: str) -> bool:
    store = Store(home)
    image = store.image(REFERENCE)
    assert image is not None
    assert str(image.digest) == reference
    return validate(image, store.open) == []


def start(app: Path, home: Path, env: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deployer", "build", str(app), "-q", *arguments],
        env={**env, "DEPLOY_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Killed


def test_a_compiling_process_that_is_killed_fails_the_build_and_not_the_image(index, env, seed, tmp_path):
    """The kernel does that where memory ends. An image without byte code would be another one."""
    large = "".join(f"def f{number}(x):\n    return [x + {number}, {{'a': x}}]\n\n" for number in range(40_000))
    packages = add_wheels(index, tmp_path / "wheels", "delta", body=large.encode())
    series = f"{sys.version_info[0]}.{sys.version_info[1]}"
    app = write_app(tmp_path / "app", packages, python=series)
    home = with_stack(seed, tmp_path / "home")
    build_here(write_app(tmp_path / "first", {}, python=series), home, env)  # compiles the standard library
    build = start(app, home, env)
    killed = 0
    while not killed and build.poll() is None:
        for pid in below(build.pid):
            with suppress(OSError):
                if "compile_worker" in Path(f"/proc/{pid}/cmdline").read_text() and is_busy(pid):
                    os.kill(pid, signal.SIGKILL)
                    killed = pid
        time.sleep(0.002)
    out, err = build.communicate()
    assert killed
    assert (build.returncode, out) == (70, "")
    module = f"/opt/venv/lib/python{series}/site-packages/delta/__init__.py"
    assert err == (
        "error: byte code could not be compiled\n\n"
        f"Signal SIGKILL while the interpreter compiled {module}.\n\n"
        "hint: build again; if it fails again, look for a lack of memory (`dmesg`) or of disk space on this machine.\n"
    )
    again = deploy("build", app, "-q", home=home, env=env)
    elsewhere = build_here(app, with_stack(seed, tmp_path / "elsewhere"), env)
    assert again.out.strip() == str(elsewhere.image.digest), again.err


def below(pid: int) -> list[int]:
    """A process's children, and theirs."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *below(child)]
    return found


def is_busy(pid: int) -> bool:
    """Return True if a process has used a twentieth of a second of processor time, so that it is past its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) > os.sysconf("SC_CLK_TCK") // 20


# Changed meanwhile


class Writing(Listener):
    """Does something once the app was read, and before its layer is written."""

    def __init__(self, write: Callable[[], object]) -> None:
        self.write = write

    def begin(self, references: Sequence[str], platform: Platform, stack: Sequence[Layer], *, unknown: bool) -> None:
        self.write()


def test_a_file_that_changes_while_it_is_read_is_in_no_image(app, env, seed, tmp_path):
    """A database in the app's folder, say: its layer would be remembered under what it was before."""
    app = Path(shutil.copytree(app, tmp_path / "app"))
    database = app / "state.sqlite"
    database.write_bytes(b"before".ljust(100_000))
    home = with_stack(seed, tmp_path / "home")
    with pytest.raises(MachineError) as caught:
        build_here(app, home, env, listener=Writing(lambda: database.write_bytes(b"after".ljust(100_000))))
    assert str(caught.value) == (
        f"{database} changed while it was read\n\n"
        "The image would mix its old and its new content.\n\n"
        "hint: build again once nothing writes to it, or name it in .dockerignore if the app needs no copy of it."
    )
    assert left_behind(home) == []
    elsewhere = build_here(app, with_stack(seed, tmp_path / "elsewhere"), env)
    assert build_here(app, home, env).image == elsewhere.image


def test_a_file_that_grows_is_taken_as_it_was(app, env, seed, tmp_path):
    """A log: what is appended meanwhile is the next build's."""
    app = Path(shutil.copytree(app, tmp_path / "app"))
    log = app / "app.log"
    log.write_bytes(b"line\n" * 50_000)
    before = build_here(app, with_stack(seed, tmp_path / "before"), env)

    def append() -> None:
        with log.open("ab") as out:
            out.write(b"another\n")

    home = with_stack(seed, tmp_path / "home")
    assert build_here(app, home, env, listener=Writing(append)).image == before.image
    assert build_here(app, home, env).image != before.image


# Side by side


@pytest.mark.parametrize("count", [2])
def test_builds_at_once_share_an_empty_store(app, env, reference, tmp_path, count):
    home = tmp_path / "home"
    builds = [start(app, home, env) for _ in range(count)]
    done = [(*build.communicate(), build.returncode) for build in builds]
    assert done == [(f"{reference}\n", "", 0)] * count
    assert is_whole(home, reference)
    assert left_behind(home) == []


def test_builds_at_once_lose_no_reference(app, env, seed, reference, tmp_path):
    home = with_stack(seed, tmp_path / "home")
    names = [f"docker.io/library/side-{number}:1" for number in range(4)]
    builds = [start(app, home, env, "-t", name) for name in names]
    for build in builds:
        assert build.communicate() == (f"{reference}\n", "")
    assert {name: str(digest) for name, digest in Store(home).images().items()} == dict.fromkeys(names, reference)


# Damaged blobs

DAMAGE = ("flipped", "cut", "empty", "gone")


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.write_bytes(content[: len(content) // 2] if how == "cut" else b"")


def blobs(home: Path) -> dict[str, Path]:
    """One blob of each kind: of the stack and of ours, config and manifest."""
    store = Store(home)
    image = store.image(REFERENCE)
    assert image is not None
    kinds = {layer.annotations.get("dev.deploy.kind", "stack"): layer.digest for layer in image.layers}
    assert sorted(kinds) == ["app", "dependencies", "runtime", "stack"]
    return {
        kind: store.path(d) for kind, d in {**kinds, "config": image.config_digest, "manifest": image.digest}.items()
    }


LAYERS = ("stack", "runtime", "dependencies", "app")
DAMAGED_BLOBS = [
    *((kind, "flipped") for kind in (*LAYERS, "config", "manifest")),
    *((kind, how) for kind in ("stack", "dependencies", "manifest") for how in ("cut", "gone")),
]


@pytest.mark.parametrize(("kind", "how"), DAMAGED_BLOBS)
def test_a_damaged_blob_is_found_and_made_again_on_its_way_to_an_archive(
    app, env, home, reference, tmp_path, kind, how
):
    path = blobs(home)[kind]
    damage(path, how)
    done = deploy("build", app, "-q", "--to", f"archive:{tmp_path}/image.tar", home=home, env=env)
    assert (done.code, done.out.strip()) == (0, reference), done.err
    # A blob of another size counts as absent from the start, and a small one is verified when it is read.
    warning = f"warning: the blob sha256:{path.name} in the store at {home} is damaged; it was made again. "
    expected = f"{warning}If this happens again, check the disk.\n" if how == "flipped" and kind in LAYERS else ""
    assert done.err == expected
    assert is_whole(home, reference)
    with tarfile.open(tmp_path / "image.tar") as archive:
        blob = archive.extractfile(f"blobs/sha256/{path.name}")
        assert blob is not None
        assert hashlib.file_digest(blob, "sha256").hexdigest() == path.name  # type: ignore[arg-type]


def test_one_build_heals_all_that_is_damaged(app, env, home, reference, tmp_path):
    """Every layer, and what no name means any more."""
    found = blobs(home)
    for kind in LAYERS:
        damage(found[kind], "flipped")
    other = Store(home).path(Store(home).write(b"of another app"))
    damage(other, "flipped")
    done = deploy("build", app, "-q", "--to", f"archive:{tmp_path}/image.tar", home=home, env=env)
    assert (done.code, done.out.strip()) == (0, reference), done.err
    first, others = done.err.splitlines()
    assert first.startswith("warning: the blob sha256:")
    assert others == (
        "warning: 4 more blobs in the store were damaged and dropped; what this build needs of them was made again."
    )
    assert is_whole(home, reference)
    assert not other.exists()


def test_a_pipeline_heals_what_is_damaged_when_it_pushes(app, env, home, reference):
    found = blobs(home)
    for kind in LAYERS:
        damage(found[kind], "flipped")
    with spec_registry() as server:
        name = f"{server.name}/team/app:1"
        done = deploy("ci", app, "-t", name, "--push", "--no-boot", "--no-sbom", home=home, env=env)
        assert (done.code, done.out.strip()) == (0, reference), done.err
        assert server.manifests["1"][1] == Store(home).path(Digest.parse(reference)).read_bytes()


def test_a_pipeline_heals_a_layer_that_is_damaged_when_the_tests_need_it(app, env, home, tmp_path):
    copy = Path(shutil.copytree(app, tmp_path / "tiny"))
    (copy / "Procfile").write_text("worker: python -m tiny\n")
    build_here(copy, home, env)
    path = blobs(home)["app"]
    damage(path, "flipped")
    done = deploy("ci", copy, "--engine", "local", "--test", "true", home=home, env=env)
    assert done.code == 0, done.err
    assert f"warning: the blob sha256:{path.name} in the store at {home} is damaged; it was made again." in done.err
    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_a_push_that_meets_damage_leaves_it_all_to_the_next_build(app, env, home, reference):
    found = blobs(home)
    for kind in LAYERS:
        damage(found[kind], "flipped")
    with spec_registry() as server:
        push = ("push", "tiny", "-t", f"{server.name}/team/app:1", "--no-sbom")
        failed = deploy(*push, home=home, env=env)
        assert failed.code == 70, failed.err
        assert (
            "it was dropped. Other blobs were damaged and dropped too: 4 blobs of the image are missing now."
            in failed.err
        )
        built = deploy("build", app, "-q", home=home, env=env)
        assert (built.code, built.out.strip()) == (0, reference), built.err
        pushed = deploy(*push, home=home, env=env)
        assert (pushed.code, pushed.out.strip()) == (0, reference), pushed.err


def test_a_damaged_base_is_lost_and_not_somebody_s_bad_image(home):
    """Its gzip stream fails before the last byte, where its digest is checked."""
    damage(blobs(home)["stack"], "flipped")
    store = Store(home)
    image = store.image(REFERENCE)
    assert image is not None
    with pytest.raises(LostError, match="is damaged"):
        unpacked(image.digest, image.layers, store, stack="host")
    assert not blobs(home)["stack"].exists()


@pytest.mark.parametrize("kind", ["stack", "dependencies"])
def test_a_damaged_blob_is_made_again_on_its_way_into_an_engine(app, env, home, reference, tmp_path, kind):
    path = blobs(home)[kind]
    damage(path, "flipped")
    engine = Engine(tmp_path / "engine.sock")
    try:
        done = deploy("build", app, "-q", "--to", "docker", home=home, env={**env, "DOCKER_HOST": engine.host})
    finally:
        engine.stop()
    assert (done.code, done.out.strip()) == (0, reference), done.err
    blob = f"blob sha256:{path.name}"
    told = (
        f"warning: the {blob} in the store at {home} is damaged; ",
        f"warning: the store at {home} lacks the {blob}; ",
    )
    assert done.err.startswith(told), done.err
    assert is_whole(home, reference)
    config = json.loads(Store(home).image(REFERENCE).config)  # type: ignore[union-attr]
    assert tuple(config["rootfs"]["diff_ids"]) in engine.images.values()
    assert set(engine.tags) == {REFERENCE}, "nothing half-loaded has a name"


# Damaged wheels and byte code


def forget(home: Path, *folders: str) -> None:
    for folder in ("records", *folders):
        shutil.rmtree(home / folder, ignore_errors=True)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("forgotten", [(), ("facts/wheel-summary", "facts/resolution")])
def test_a_damaged_wheel_is_fetched_again(app, env, home, index, reference, how, forgotten):
    forget(home, "layers", *forgotten)
    [path] = home.glob("wheels/*/bravo-*.whl")
    damage(path, how)
    index.asked.clear()
    built = build_here(app, home, env)
    assert str(built.image.digest) == reference
    assert is_whole(home, reference)
    assert index.paths() == ["/files/bravo-1.0-py3-none-any.whl"]


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_byte_code_is_compiled_again(app, env, home, reference, how):
    forget(home, "layers")
    packs = sorted(home.glob("bytecode/*.pycs"))
    assert len(packs) == 4  # of the wheels, and of the launcher
    for pack in packs:
        damage(pack, how)
    assert str(build_here(app, home, env).image.digest) == reference
    assert is_whole(home, reference)


# Damaged memory


def mutants(content: bytes) -> Iterator[bytes]:
    """Yield what bad disks, crashes and editors make of a small JSON file."""
    yield from (b"", content[: len(content) // 2], b"\0" * len(content), b"null", b"[]", b'"x"', b"{}")
    document = json.loads(content)
    keys = [(key,) for key in document]
    keys += [("value", key) for key in document.get("value", ()) if isinstance(document["value"], dict)]
    for path in keys:
        for value in (None, [], {}, 5, "x"):
            yield json.dumps(changed(document, path, value)).encode()


def changed(document: Any, path: tuple[str, ...], value: object) -> Any:
    first, *rest = path
    return {**document, first: changed(document[first], tuple(rest), value) if rest else value}


@pytest.mark.endurance
def test_damaged_facts_are_none(app, env, home, reference):
    number = chosen_seed()
    files = {path.parent: path for path in sorted(home.rglob("*.json"))}.values()
    assert {path.parent.name for path in files} >= {"home", "layers", "host", "host-python", "wheel", "resolution"}
    choice = random.Random(number)
    for path in files:
        content = path.read_bytes()
        all_of_them = list(mutants(content))
        for mutant in choice.sample(all_of_them, max(4, int(len(all_of_them) * SCALE))):
            forget(home)
            path.write_bytes(mutant)
            built = build_here(app, home, env)
            told = (f"seed {number}", path, mutant)
            assert str(built.image.digest) == reference, told
            assert Store(home).images()[REFERENCE] == built.image.digest, told
            assert built.warnings == (), told
        path.write_bytes(content)


def test_files_in_place_of_folders_are_an_error(app, env, home):
    shutil.rmtree(home / "layers")
    (home / "layers").write_text("")
    forget(home)
    done = deploy("build", app, "-q", home=home, env=env)
    assert (done.code, done.out) == (70, "")
    assert done.err == (
        f"error: the store at {home} cannot be written\n\n"
        f"{home}/layers: File exists.\n\n"
        "hint: set DEPLOY_HOME to a folder on a local disk, and build again.\n"
    )


# The place of the store


@pytest.mark.parametrize("name", ["with spaces", "ünï¢ode-☃", "q'u\"o$te", "-dash", "a:b,c;d"])
def test_the_store_s_name_does_not_matter(app, env, seed, reference, tmp_path, name):
    home = with_stack(seed, tmp_path / name)
    done = deploy("build", app, "-q", "--to", f"oci:{tmp_path}/layout", home=home, env=env)
    assert (done.code, done.out.strip(), done.err) == (0, reference, "")


def test_a_relative_store_belongs_to_the_current_folder(app, env, seed, reference, tmp_path):
    with_stack(seed, tmp_path / "home")
    done = deploy("build", app, "-q", home=Path("home"), cwd=tmp_path, env=env)
    assert (done.code, done.out.strip(), done.err) == (0, reference, "")
    assert is_whole(tmp_path / "home", reference)


def test_without_a_home_the_store_is_temporary_and_the_same_each_time(app, env, seed, reference, tmp_path):
    home = with_stack(seed, tmp_path / f"deploy-{os.getuid()}")
    home.chmod(0o700)
    unset = ("env", "-u", "HOME", "-u", "XDG_CACHE_HOME")
    for _ in range(2):
        done = deploy(
            "build", app, "-q", home=Path(), env={**env, "DEPLOY_HOME": "", "TMPDIR": str(tmp_path)}, prefix=unset
        )
        assert (done.code, done.out.strip()) == (0, reference)
        assert done.err == (
            f"warning: neither DEPLOY_HOME, XDG_CACHE_HOME nor HOME is set, so the store is {home}, which may not "
            "last; set DEPLOY_HOME to a folder that does\n"
        )
    assert is_whole(home, reference)
