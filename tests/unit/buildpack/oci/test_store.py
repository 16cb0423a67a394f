from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from buildpack.errors import MachineError
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import Image, Layer, Platform, assemble, convert
from buildpack.oci.store import Store
from buildpack.oci.store_path import find_store

ROOT = Path(__file__).parents[4]
LATEST = "docker.io/library/blasto:latest"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def layer(store: Store, content: bytes, key: str = "k") -> Layer:
    digest = store.write(content)
    return Layer(
        digest=digest, diff_id=sha256(b"tar of " + content), size=len(content), annotations={"dev.deploy.key": key}
    )


def image(*layers: Layer, label: str = "") -> Image:
    return assemble(
        layers, platform=Platform(), created="1980-01-01T00:00:00Z", config={"Labels": {"l": label}}, annotations={}
    )


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Return the state of the store, without leases, which reading changes."""
    found = [path for path in root.rglob("*") if path.relative_to(root).parts[0] != "leases"]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def leftovers(store: Store) -> list[Path]:
    return list((store.root / "tmp").iterdir())


# Blobs


def test_nothing_is_created_before_the_first_write(store: Store) -> None:
    digest = sha256(b"absent")
    assert not store.has(digest)
    assert store.size(digest) is None
    assert store.layer("key") is None
    assert store.recall("wheel", "key") is None
    assert store.image(LATEST) is None
    assert store.images() == {}
    assert not store.verify(digest)
    assert not store.root.exists()


def test_a_blob_is_found_by_its_digest(store: Store) -> None:
    digest = store.write(b"hello")
    assert digest == sha256(b"hello")
    assert store.read(digest) == b"hello"
    assert store.path(digest) == store.root / "blobs" / "sha256" / digest.hex
    assert (store.has(digest), store.has(digest, 5), store.has(digest, 4)) == (True, True, False)
    assert store.size(digest) == 5
    with store.open(digest) as stream:
        assert stream.read() == b"hello"
    assert leftovers(store) == []


def test_a_blob_is_written_in_pieces(store: Store) -> None:
    content = os.urandom(3_000_000)
    with store.blob() as writer:
        for start in range(0, len(content), 700_001):
            writer.write(memoryview(content)[start : start + 700_001])
        assert not store.has(sha256(content))
        writer.commit(sha256(content))
    assert store.read(sha256(content)) == content
    assert leftovers(store) == []


def test_a_blob_that_is_not_committed_leaves_nothing(store: Store) -> None:
    with store.blob() as writer:
        writer.write(b"half")
        assert len(leftovers(store)) == 1
    assert leftovers(store) == []
    assert list((store.root / "blobs" / "sha256").iterdir()) == []


# Damage


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: -1 if kind == "truncated" else None] if kind != "emptied" else b"")


KINDS = ["flipped", "truncated", "emptied"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_blob_is_found_when_read_and_dropped(store: Store, kind: str) -> None:
    digest = store.write(b"hello" * 1000)
    damage(store.path(digest), kind)
    with pytest.raises(MachineError) as caught:
        store.read(digest)
    assert str(caught.value) == (
        f"the blob {digest} in the store at {store.root} is damaged\n\n"
        "Its bytes no longer have this digest, so it was dropped.\n\n"
        "hint: build again; what is missing is made or fetched again. If it happens again, check the disk."
    )
    with pytest.raises(MachineError) as caught:
        store.read(digest)
    assert str(caught.value) == (
        f"the store at {store.root} lacks the blob {digest}\n\n"
        "Something deleted it, or found it damaged and dropped it.\n\n"
        "hint: build again; what is missing is made or fetched again."
    )
    with pytest.raises(MachineError, match="lacks the blob"):
        store.open(digest)
    store.write(b"hello" * 1000)
    assert store.read(digest) == b"hello" * 1000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 1000, 262_144, 1_000_000])
def test_a_damaged_blob_is_found_when_streamed(store: Store, kind: str, size: int) -> None:
    content = os.urandom(size)
    digest = store.write(content)
    assert store.verify(digest)
    damage(store.path(digest), kind)
    with pytest.raises(MachineError, match="is damaged"), store.open(digest) as stream:
        shutil.copyfileobj(stream, io.BytesIO(), 100_000)
    assert not store.has(digest)
    store.write(content)
    damage(store.path(digest), kind)
    assert not store.verify(digest)
    assert not store.has(digest)


def test_a_reader_of_exactly_the_size_sees_damage_too(store: Store) -> None:
    digest = store.write(b"hello" * 1000)
    damage(store.path(digest), "flipped")
    with pytest.raises(MachineError, match="is damaged"), store.open(digest) as stream:
        stream.read(5000)


def test_a_stream_can_be_sent_again_from_the_start(store: Store) -> None:
    content = os.urandom(1_000_000)
    digest = store.write(content)
    with store.open(digest) as stream:
        assert stream.seek(0, os.SEEK_END) == 1_000_000
        assert stream.seek(0) == 0
        assert stream.read(300_000) == content[:300_000]
        assert stream.seek(0) == 0
        assert stream.read() == content
        assert stream.seek(999_990) == 999_990
        assert stream.read() == content[-10:]
    damage(store.path(digest), "flipped")
    with store.open(digest) as stream:
        stream.read(700_000)
        stream.seek(0)
        with pytest.raises(MachineError, match="is damaged"):
            stream.read()


def test_a_blob_that_was_replaced_meanwhile_is_not_dropped(store: Store) -> None:
    digest = store.write(b"hello" * 1000)
    damage(store.path(digest), "flipped")
    with store.open(digest) as stream:
        store.path(digest).unlink()
        with store.blob() as writer:
            writer.write(b"hello" * 1000)
            writer.commit(digest)
        with pytest.raises(MachineError, match="is damaged"):
            stream.read()
    assert store.read(digest) == b"hello" * 1000


# Layers and facts


def test_a_layer_is_remembered_by_its_key(store: Store) -> None:
    made = layer(store, b"blob", key="v1/../..:odd key é")
    store.remember_layer(made.key, made)
    assert store.layer(made.key) == made
    assert store.layer("another") is None
    changed = layer(store, b"blob 2", key=made.key)
    store.remember_layer(made.key, changed)
    assert Store(store.root).layer(made.key) == changed


@pytest.mark.parametrize("kind", ["truncated", "emptied", "gone"])
def test_a_layer_whose_blob_has_another_size_is_absent(store: Store, kind: str) -> None:
    made = layer(store, b"blob")
    store.remember_layer("k", made)
    if kind == "gone":
        store.path(made.digest).unlink()
    else:
        damage(store.path(made.digest), kind)
    assert store.layer("k") is None
    assert store.missing(image(made).layers) == (made,)
    layer(store, b"blob")
    assert store.layer("k") == made
    assert store.missing(image(made).layers) == ()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"digest": "md5:1"}', '{"digest": 5}', "\udce9"])
def test_a_damaged_layer_file_counts_as_absent(store: Store, content: str) -> None:
    store.remember_layer("k", layer(store, b"blob"))
    store.remember("wheel", "k", {"size": 5})
    for folder in ("layers", "facts/wheel"):
        for path in (store.root / folder).iterdir():
            path.write_bytes(content.encode(errors="surrogateescape"))
    assert store.layer("k") is None
    assert store.recall("wheel", "k") is None


def test_facts_are_remembered_by_kind_and_key(store: Store) -> None:
    store.remember("wheel", "flask 3.0", {"file": "flask.whl", "size": 5})
    store.remember("stack", "flask 3.0", ["é", 1, None])
    assert store.recall("wheel", "flask 3.0") == {"file": "flask.whl", "size": 5}
    assert store.recall("stack", "flask 3.0") == ["é", 1, None]
    assert store.recall("wheel", "flask 3.1") is None
    store.remember("wheel", "flask 3.0", "newer")
    assert Store(store.root).recall("wheel", "flask 3.0") == "newer"


def test_a_store_that_ignores_facts_recalls_only_its_own(store: Store) -> None:
    store.remember("wheel", "flask 3.0", "older")
    ignoring = Store(store.root, ignore_facts=True)
    assert ignoring.recall("wheel", "flask 3.0") is None
    ignoring.remember("wheel", "flask 3.0", "looked up")
    assert ignoring.recall("wheel", "flask 3.0") == store.recall("wheel", "flask 3.0") == "looked up"


def test_other_modules_have_their_own_folders(store: Store) -> None:
    folder = store.folder("wheels")
    assert folder == store.root / "wheels"
    assert folder.is_dir()
    assert store.folder("wheels") == folder


# Images


def test_an_image_is_found_by_any_of_its_references(store: Store) -> None:
    made = image(layer(store, b"one"), layer(store, b"two"))
    assert store.put_image(made, [LATEST, "ghcr.io/me/blasto:v1"])
    assert store.image(LATEST) == made == store.image("ghcr.io/me/blasto:v1")
    assert store.image("docker.io/library/other:latest") is None
    assert store.images() == {LATEST: made.digest, "ghcr.io/me/blasto:v1": made.digest}


def test_the_index_is_an_oci_image_index(store: Store) -> None:
    made = image(layer(store, b"one"))
    store.put_image(made, [LATEST])
    assert json.loads((store.root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((store.root / "index.json").read_text()) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": str(made.digest),
                "size": len(made.manifest),
                "annotations": {"io.containerd.image.name": LATEST, "org.opencontainers.image.ref.name": LATEST},
            }
        ],
    }


def test_a_reference_that_moves_leaves_no_entry_behind(store: Store) -> None:
    first, second = image(layer(store, b"one")), image(layer(store, b"two"))
    store.put_image(first, [LATEST, "docker.io/library/blasto:v1"])
    store.put_image(second, [LATEST])
    assert store.images() == {LATEST: second.digest, "docker.io/library/blasto:v1": first.digest}
    store.put_image(second, ["docker.io/library/blasto:v1"])
    assert store.images() == {LATEST: second.digest, "docker.io/library/blasto:v1": second.digest}
    assert str(first.digest) not in (store.root / "index.json").read_text()


def test_entries_of_other_tools_stay(store: Store) -> None:
    store.folder("tmp")
    foreign = {"mediaType": "application/x", "digest": str(sha256(b"x")), "size": 1}
    (store.root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [foreign, "nonsense"]}))
    made = image(layer(store, b"one"))
    store.put_image(made, [LATEST])
    assert foreign in json.loads((store.root / "index.json").read_text())["manifests"]
    assert store.images() == {LATEST: made.digest}


def test_an_image_that_is_there_already_writes_nothing(store: Store) -> None:
    made = image(layer(store, b"one"))
    assert store.put_image(made, [LATEST])
    before = snapshot(store.root)
    assert not Store(store.root).put_image(made, [LATEST])
    assert snapshot(store.root) == before


@pytest.mark.parametrize("kind", [*KINDS, "gone"])
@pytest.mark.parametrize("part", ["manifest", "config"])
def test_an_image_whose_manifest_or_config_is_damaged_is_absent(store: Store, part: str, kind: str) -> None:
    made = image(layer(store, b"one"))
    store.put_image(made, [LATEST])
    path = store.path(made.digest if part == "manifest" else made.config_digest)
    if kind == "gone":
        path.unlink()
    else:
        damage(path, kind)
    assert store.image(LATEST) is None
    assert store.put_image(made, [LATEST])
    assert store.image(LATEST) == made


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"manifests": 5}', '{"manifests": [{"annotations": {}}]}'])
def test_a_damaged_index_counts_as_empty(store: Store, content: str) -> None:
    made = image(layer(store, b"one"))
    store.put_image(made, [LATEST])
    (store.root / "index.json").write_text(content)
    assert store.image(LATEST) is None
    assert store.images() == {}
    store.put_image(made, [LATEST])
    assert store.image(LATEST) == made


# The machine


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o777)
    try:
        store = Store(tmp_path / "deep" / "store")
        store.put_image(image(layer(store, b"one")), [LATEST])
        store.remember("wheel", "k", 1)
        store.folder("wheels")
    finally:
        os.umask(previous)
    modes = {(stat.S_ISDIR(path.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) for path in store.root.rglob("*")}
    assert modes == {(True, 0o755), (False, 0o644)}
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o700
    assert store.image(LATEST) is not None


def descriptors_of(folder: Path) -> list[int]:
    """Return this process's open files below `folder`."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            if link.readlink().is_relative_to(folder):
                found.append(int(link.name))
    return found


def test_a_full_disk_is_an_error(store: Store) -> None:
    with store.blob() as writer:
        writer.write(b"fits")
        with Path("/dev/full").open("wb") as full:  # every write to it fails as on a full disk
            os.dup2(full.fileno(), *descriptors_of(store.root / "tmp"), inheritable=False)
        with pytest.raises(MachineError) as caught:
            writer.write(b"does not")
    assert caught.value.exit_code == 70
    assert str(caught.value) == (
        "the disk is full\n\n"
        f"Writing to the store at {store.root} failed: No space left on device.\n\n"
        "hint: free some space, or set DEPLOY_HOME to a folder on a disk with space, and build again."
    )
    assert leftovers(store) == []


def test_a_folder_without_permission_is_an_error() -> None:
    root = Path("/sys/deploy")  # refused to root as well
    with pytest.raises(OSError, match="/sys/deploy") as refusal:
        root.mkdir()
    assert refusal.value.errno in {errno.EPERM, errno.EACCES, errno.EROFS}
    with pytest.raises(MachineError) as caught:
        Store(root).write(b"x")
    assert str(caught.value) == (
        "no permission to write to the store at /sys/deploy\n\n"
        f"/sys/deploy: {refusal.value.strerror}.\n\n"
        "hint: fix the folder's owner or mode, or set DEPLOY_HOME to a folder that you may write to, and build again."
    )


def test_a_file_in_place_of_the_store_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.write_text("a file")
    with pytest.raises(MachineError) as caught:
        Store(root).remember("wheel", "k", 1)
    assert str(caught.value) == (
        f"the store at {root} cannot be written\n\n"
        f"{root}: File exists.\n\n"
        "hint: set DEPLOY_HOME to a folder on a local disk, and build again."
    )


SLOW_WRITER = """
import sys
from pathlib import Path
from buildpack.oci.digest import sha256
from buildpack.oci.store import Store
with Store(Path(sys.argv[1])).blob() as writer:
    writer.write(b"x")
    print("writing", flush=True)
    sys.stdin.read(1)
    writer.commit(sha256(b"x"))
"""


def test_files_of_dead_writers_are_removed_and_those_of_live_writers_stay(store: Store) -> None:
    command = [sys.executable, "-c", SLOW_WRITER, str(store.root)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"writing\n"
        assert len(leftovers(store)) == 2
        dead, live = processes
        dead.kill()
        dead.wait()
        Store(store.root).write(b"something")
        assert len(leftovers(store)) == 1
        live.communicate(b"\n", timeout=20)
        assert store.read(sha256(b"x")) == b"x"
        assert leftovers(store) == []
    finally:
        for process in processes:
            process.kill()
            process.communicate()


WRITER = """
import sys
from itertools import count
from pathlib import Path
from buildpack.oci.entry import file
from buildpack.oci.image import Layer, Platform, assemble
from buildpack.oci.layer import write_layer
from buildpack.oci.store import Store

root, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
for turn in range(rounds) if rounds else count():
    store = Store(root)
    with store.blob() as out:
        made = write_layer([file(f"app/{turn % 7}", b"%d" % turn * 50_000)], out)
        out.commit(made.digest)
    layer = Layer(digest=made.digest, diff_id=made.diff_id, size=made.size, annotations={"dev.deploy.key": str(turn)})
    store.remember_layer(f"{turn % 7}", layer)
    image = assemble([layer], platform=Platform(), created="1980-01-01T00:00:00Z", config={}, annotations={"n": name})
    store.put_image(image, [f"docker.io/library/{name}:{turn % 3}", "docker.io/library/shared:latest"])
"""


@pytest.fixture
def writer_script(tmp_path: Path) -> list[str]:
    path = tmp_path / "writer.py"
    path.write_text(WRITER)
    return [sys.executable, str(path), str(tmp_path / "store")]


def start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE)


def check_whole(store: Store) -> None:
    for path in (store.root / "blobs" / "sha256").iterdir():
        assert sha256(path.read_bytes()) == Digest(path.name)
    for reference, digest in store.images().items():
        found = store.image(reference)
        assert found is not None
        assert found.digest == digest
        assert store.missing(found.layers) == ()


def test_builds_side_by_side_share_the_store(store: Store, writer_script: list[str]) -> None:
    processes = [start([*writer_script, f"app{number}", "12"]) for number in range(4)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    expected = {f"docker.io/library/app{number}:{turn}" for number in range(4) for turn in range(3)}
    assert set(store.images()) == expected | {"docker.io/library/shared:latest"}
    check_whole(store)
    assert leftovers(store) == []


def test_a_build_killed_at_any_point_leaves_the_store_usable(store: Store, writer_script: list[str]) -> None:
    for turn in range(12):
        with start([*writer_script, "app", "0"]) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(0.01 + turn * 0.007)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        if (store.root / "index.json").exists():
            check_whole(store)
    process = start([*writer_script, "app", "3"])
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert set(store.images()) == {
        "docker.io/library/app:0",
        "docker.io/library/app:1",
        "docker.io/library/app:2",
        "docker.io/library/shared:latest",
    }
    check_whole(store)
    assert leftovers(store) == []


def test_a_build_in_which_nothing_changed_imports_little(store: Store) -> None:
    made = layer(store, b"one")
    store.remember_layer("k", made)
    store.remember("wheel", "k", 1)
    store.put_image(image(made), [LATEST])
    script = f"""
import sys
before = set(sys.modules)
from pathlib import Path
from buildpack.oci.image import *
from buildpack.oci.layer import LAYER_FORMAT
from buildpack.oci.store import Store
from buildpack.oci.store_path import find_store
root, warning = find_store({{"DEPLOY_HOME": {str(store.root)!r}}})
store = Store(root)
assert store.layer("k") and store.recall("wheel", "k") and not store.put_image(store.image({LATEST!r}), [{LATEST!r}])
heavy = {{"tempfile", "shutil", "subprocess", "random", "tarfile", "zipfile", "deflate", "requests", "urllib.request",
    "concurrent.futures", "logging", "socket", "ssl", "asyncio", "tomllib"}}
print(*sorted((sys.modules.keys() - before) & heavy))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


# The store's folder


def test_deploy_home_comes_first(tmp_path: Path) -> None:
    environ = {"DEPLOY_HOME": f"{tmp_path}/d", "XDG_CACHE_HOME": f"{tmp_path}/x", "HOME": f"{tmp_path}/h"}
    assert find_store(environ) == (tmp_path / "d", None)
    del environ["DEPLOY_HOME"]
    assert find_store(environ) == (tmp_path / "x" / "deploy", None)
    del environ["XDG_CACHE_HOME"]
    assert find_store(environ) == (tmp_path / "h" / ".cache" / "deploy", None)
    assert list(tmp_path.iterdir()) == []


def test_relative_and_empty_values_of_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = {"HOME": str(tmp_path)}
    assert find_store({"DEPLOY_HOME": "here", **home}) == (tmp_path / "here", None)
    assert find_store({"DEPLOY_HOME": "", "XDG_CACHE_HOME": "relative", **home}) == (tmp_path / ".cache/deploy", None)


def test_without_a_home_the_store_is_temporary_and_found_again(tmp_path: Path) -> None:
    environ = {"TMPDIR": str(tmp_path)}
    chosen, warning = find_store(environ)
    assert chosen == tmp_path / f"deploy-{os.getuid()}"
    assert warning == (
        f"neither DEPLOY_HOME, XDG_CACHE_HOME nor HOME is set, so the store is {chosen}, which may not last; "
        "set DEPLOY_HOME to a folder that does"
    )
    assert stat.S_IMODE(chosen.stat().st_mode) == 0o700
    assert find_store(environ)[0] == chosen


@pytest.mark.parametrize("refused", ["/proc/1/deploy", "/dev/null/deploy", "/dev/null"])
def test_a_home_that_cannot_be_written_makes_the_store_temporary(tmp_path: Path, refused: str) -> None:
    chosen, warning = find_store({"DEPLOY_HOME": refused, "TMPDIR": str(tmp_path)})
    assert chosen == tmp_path / f"deploy-{os.getuid()}"
    assert warning == (
        f"{refused} cannot be written, so the store is {chosen}, which may not last; "
        "set DEPLOY_HOME to a folder that does"
    )


def test_a_temporary_store_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    trap = tmp_path / f"deploy-{os.getuid()}"
    trap.mkdir()
    trap.chmod(0o777)
    chosen, _ = find_store({"TMPDIR": str(tmp_path)})
    assert chosen != trap
    assert chosen.parent == tmp_path
    trap.rmdir()
    trap.symlink_to(tmp_path)
    chosen, _ = find_store({"TMPDIR": str(tmp_path)})
    assert chosen != trap
    assert stat.S_IMODE(chosen.stat().st_mode) == 0o700


def test_an_image_in_docker_s_format_is_read_back(store: Store) -> None:
    oci = image(layer(store, b"content"))
    docker = convert(oci, "docker")
    store.put_image(docker, [LATEST])
    found = store.image(LATEST, Platform())
    assert found == docker
    assert convert(found, "oci") == oci
