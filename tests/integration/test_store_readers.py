"""The store's images, read by tools that share no code with us: skopeo, umoci, GNU tar, an OCI runtime, an engine."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildpack.oci.entry import Deflated, Entry, FileSlice, directory, file, symlink
from buildpack.oci.image import Image, Layer, Platform, assemble
from buildpack.oci.layer import SPLICE_MIN, write_layer
from buildpack.oci.store import Store
from tests.support.validate import validate

NAME = "docker.io/library/layerstore-readers:latest"
TEXT = b"".join(b"line %d\n" % number for number in range(20_000))
LARGE = random.Random(0).randbytes(9 << 20)
LONG = "n" * 90 + "/" + "m" * 90 + "/" + "x" * 200
PROGRAM = ["/bin/cat", "/app/größe.txt", "/opt/large.py"]


def needs(program: str) -> str:
    """Return the program's path, or skip; in CI, fail."""
    found = shutil.which(program)
    if found is None:
        if os.environ.get("CI", "") not in {"", "0", "false"}:
            pytest.fail(f"{program} is not installed (in CI that is a failure)")
        pytest.skip(f"{program} is not installed; install it to run this test")
    return found


def run(*command: str | Path, **options: Any) -> str:
    done = subprocess.run(
        [needs(str(command[0])), *command[1:]], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def deflated(folder: Path, name: str, body: bytes) -> Deflated:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    stream = packer.compress(body) + packer.flush()
    (folder / name).write_bytes(b"PK" + stream)
    return Deflated(folder / name, 2, len(stream), len(body), zlib.crc32(body))


def program_entries() -> list[Entry]:
    """`cat` of this machine, with the libraries it needs."""
    found = ["/bin/cat"]
    for line in run("ldd", "/bin/cat").splitlines():
        found += [word for word in line.split() if word.startswith("/")]
    paths = [Path(path).resolve() for path in found]
    return [
        file(name.lstrip("/"), FileSlice(path, path.stat().st_size), executable=True)
        for name, path in zip(found, paths, strict=True)
    ]


def written(store: Store, entries: list[Entry]) -> Layer:
    with store.blob() as out:
        made = write_layer(entries, out)
        out.commit(made.digest)
    return Layer(
        digest=made.digest, diff_id=made.diff_id, size=made.size, annotations={"dev.deploy.key": str(made.size)}
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("readers") / "store")


@pytest.fixture(scope="module")
def image(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image with spliced and recompressed contents, and every kind of name."""
    sources = tmp_path_factory.mktemp("sources")
    text = deflated(sources, "text", TEXT)
    assert text.compressed > SPLICE_MIN
    base = [*program_entries(), *(directory(name) for name in ("proc", "dev", "sys", "tmp"))]
    app = [
        replace(file("app/größe.txt", "grüß dich\n".encode()), uid=1000, gid=1000, mtime=1_700_000_000),
        file("opt/large.py", text),
        file("opt/huge.so", deflated(sources, "huge", LARGE), executable=True),
        file("opt/tiny.py", deflated(sources, "tiny", b"x = 1\n" * 50)),
        file(f"opt/{LONG}", b"long"),
        symlink("opt/link", LONG),
        symlink("opt/größe", "/app/größe.txt"),
        replace(directory("opt/empty", mode=0o1777), uid=1000, gid=1001),
    ]
    made = assemble(
        [written(store, base), written(store, app)],
        platform=Platform(),
        created="1980-01-01T00:00:00Z",
        config={"Cmd": PROGRAM, "WorkingDir": "/app", "User": "1000:1000", "Labels": {"é": "ü"}},
        annotations={"dev.deploy.test": "1"},
    )
    store.put_image(made, [NAME, "docker.io/library/layerstore-readers:second"])
    assert validate(made, store.open) == []
    return made


def check_tree(root: Path, *, owners: bool) -> None:
    assert (root / "app/größe.txt").read_text() == "grüß dich\n"
    assert (root / "opt/large.py").read_bytes() == TEXT
    assert (root / "opt/huge.so").read_bytes() == LARGE
    assert (root / "opt/tiny.py").read_bytes() == b"x = 1\n" * 50
    assert (root / "opt" / LONG).read_text() == "long"
    assert str((root / "opt/link").readlink()) == LONG
    assert str((root / "opt/größe").readlink()) == "/app/größe.txt"
    modes = {
        name: stat.S_IMODE((root / name).stat().st_mode) for name in ("app", "opt/empty", "opt/huge.so", "opt/large.py")
    }
    assert modes == {"app": 0o755, "opt/empty": 0o1777, "opt/huge.so": 0o755, "opt/large.py": 0o644}
    times = [(root / name).stat().st_mtime for name in ("app/größe.txt", "opt/large.py", "opt/empty", "app")]
    assert times == [1_700_000_000, 315532800, 315532800, 315532800]
    if owners:
        found = [(root / name).stat() for name in ("app/größe.txt", "opt/empty", "app")]
        assert [(each.st_uid, each.st_gid) for each in found] == [(1000, 1000), (1000, 1001), (0, 0)]


def test_skopeo_inspects_an_image_by_its_full_name(store: Store, image: Image) -> None:
    found = json.loads(run("skopeo", "inspect", f"oci:{store.root}:{NAME}"))
    assert found["Digest"] == str(image.digest)
    assert found["Layers"] == [str(layer.digest) for layer in image.layers]
    assert run("skopeo", "inspect", "--raw", f"oci:{store.root}:{NAME}") == image.manifest.decode()
    assert run("skopeo", "inspect", "--config", "--raw", f"oci:{store.root}:{NAME}") == image.config.decode()


def test_skopeo_copies_every_byte_as_it_is(store: Store, image: Image, tmp_path: Path) -> None:
    run("skopeo", "copy", f"oci:{store.root}:{NAME}", f"oci:{tmp_path / 'copy'}:x")
    blobs = tmp_path / "copy" / "blobs" / "sha256"
    expected = {image.digest, image.config_digest, *(layer.digest for layer in image.layers)}
    assert {path.name for path in blobs.iterdir()} == {digest.hex for digest in expected}
    assert all((blobs / digest.hex).read_bytes() == store.read(digest) for digest in expected)


def test_skopeo_unpacks_the_layers_to_their_diff_ids(store: Store, image: Image, tmp_path: Path) -> None:
    run("skopeo", "copy", f"oci:{store.root}:{NAME}", f"docker-archive:{tmp_path / 'x.tar'}:layerstore-readers:x")
    run("tar", "--extract", "--file", tmp_path / "x.tar", "--directory", tmp_path)
    (found,) = json.loads((tmp_path / "manifest.json").read_text())
    assert found["Layers"] == [f"{layer.diff_id.hex}.tar" for layer in image.layers]


def test_gnu_tar_extracts_the_layers(store: Store, image: Image, tmp_path: Path) -> None:
    for layer in image.layers:
        environ = {**os.environ, "LC_ALL": "C.UTF-8"}
        listed = ["tar", "--extract", "--gzip", "--same-permissions", "--file", store.path(layer.digest)]
        assert run(*listed, "--directory", tmp_path, env=environ) == ""
    check_tree(tmp_path, owners=os.getuid() == 0)


@pytest.fixture(scope="module")
def bundle(store: Store, image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image unpacked by umoci, straight from the store."""
    folder = tmp_path_factory.mktemp("umoci") / "bundle"
    rootless = [] if os.getuid() == 0 else ["--rootless"]
    run("umoci", "unpack", *rootless, "--image", f"{store.root}:{NAME}", folder)
    return folder


def test_umoci_unpacks_the_image(bundle: Path) -> None:
    check_tree(bundle / "rootfs", owners=os.getuid() == 0)


def test_an_oci_runtime_runs_the_image(bundle: Path, tmp_path: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    assert config["process"]["args"] == PROGRAM
    config["process"]["terminal"] = False
    config["root"]["readonly"] = True
    if os.getuid():  # a user namespace of one user has no other
        config["process"]["user"] = {"uid": 0, "gid": 0}
    (bundle / "config.json").write_text(json.dumps(config))
    # crun refuses machines with both versions of cgroups mounted; runc does not.
    runtime = "runc" if shutil.which("runc") else needs("crun")
    name = f"layerstore-readers-{os.getpid()}"
    assert run(runtime, "--root", tmp_path / "state", "run", "--bundle", bundle, name) == "grüß dich\n" + TEXT.decode()


@pytest.mark.engine
def test_an_engine_loads_and_runs_the_image(store: Store, image: Image, engine: str, tmp_path: Path) -> None:
    environ = {**os.environ, "DOCKER_HOST": engine}
    name = f"layerstore-readers:{os.getpid()}"
    run("skopeo", "copy", f"oci:{store.root}:{NAME}", f"docker-archive:{tmp_path / 'x.tar'}:{name}")
    try:
        run("docker", "load", "--input", tmp_path / "x.tar", env=environ)
        (found,) = json.loads(run("docker", "image", "inspect", name, env=environ))
        assert found["RootFS"]["Layers"] == [str(layer.diff_id) for layer in image.layers]
        assert run("docker", "run", "--rm", "--network=none", name, env=environ) == "grüß dich\n" + TEXT.decode()
    finally:
        subprocess.run(["docker", "image", "rm", "--force", name], env=environ, capture_output=True, check=False)


def test_umoci_and_skopeo_find_a_store_that_was_written_again(store: Store, image: Image, tmp_path: Path) -> None:
    """An image that another tool adds to the store stays, and ours stays readable beside it."""
    copy = Store(tmp_path / "store")
    shutil.copytree(store.root, copy.root)
    run("skopeo", "copy", f"oci:{store.root}:{NAME}", f"oci:{copy.root}:added")
    assert copy.images() == {
        "added": image.digest,
        NAME: image.digest,
        "docker.io/library/layerstore-readers:second": image.digest,
    }
    other = assemble(image.layers[:1], platform=Platform(), created="1980-01-01T00:00:00Z", config={}, annotations={})
    assert copy.put_image(other, [NAME])
    assert json.loads(run("skopeo", "inspect", f"oci:{copy.root}:added"))["Digest"] == str(image.digest)
    assert json.loads(run("skopeo", "inspect", f"oci:{copy.root}:{NAME}"))["Digest"] == str(other.digest)
    assert run("umoci", "list", "--layout", copy.root).split() == sorted(copy.images())
