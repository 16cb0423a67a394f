from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from buildpack.oci.digest import sha256
from buildpack.oci.entry import directory, file, symlink
from buildpack.oci.image import LAYER_TAR, Image, Layer, Platform, assemble, canonical_json
from buildpack.oci.layer import write_layer
from buildpack.oci.store import Store
from tests.support.validate import validate

LATEST = "docker.io/library/blasto:latest"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def written(store: Store) -> Layer:
    entries = [
        file("app/web.py", b"print(1)\n" * 200_000),
        file("app/größe-" + "x" * 120, b"2"),
        symlink("bin", "usr/bin"),
        directory("tmp", mode=0o1777),
    ]
    with store.blob() as out:
        made = write_layer(entries, out)
        out.commit(made.digest)
    return Layer(digest=made.digest, diff_id=made.diff_id, size=made.size, annotations={"dev.deploy.key": "k"})


def packed(store: Store, tar: bytes, *, ours: bool, plain: bool = False) -> Layer:
    blob = tar if plain else gzip.compress(tar)
    kind = {"media_type": LAYER_TAR} if plain else {}
    annotations = {"dev.deploy.key": "k"} if ours else {}
    return Layer(digest=store.write(blob), diff_id=sha256(tar), size=len(blob), annotations=annotations, **kind)


def tar_of(*members: tuple[str, bytes], end: bytes = bytes(1024)) -> bytes:
    headers = []
    for name, kind in members:
        member = tarfile.TarInfo(name)
        member.type = kind
        member.linkname = "x" if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE} else ""
        headers.append(member.tobuf(tarfile.USTAR_FORMAT))
    return b"".join(headers) + end


def image(store: Store, *layers: Layer) -> Image:
    made = assemble(layers, platform=Platform(), created="1980-01-01T00:00:00Z", config={}, annotations={})
    store.put_image(made, [LATEST])
    return made


def test_an_image_of_ours_has_no_problems(store: Store) -> None:
    made = image(store, written(store), packed(store, tar_of(("x", b"0")), ours=True, plain=True))
    assert validate(made, store.open) == []
    found = store.image(LATEST)
    assert found is not None
    assert validate(found, store.open) == []


def test_a_stacks_layers_may_hold_what_ours_may_not(store: Store) -> None:
    tar = tar_of(("./b/.wh.gone", b"0"), ("./a", b"5"), ("./a", b"5"), ("./dev", b"3"), end=bytes(10240))
    assert validate(image(store, packed(store, tar, ours=False)), store.open) == []


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([("b", b"0"), ("a", b"0")], "a comes after b: out of order, or twice"),
        ([("a", b"0"), ("a", b"0")], "a comes after a: out of order, or twice"),
        ([("a.b", b"0"), ("a", b"5")], "a comes after a.b: out of order, or twice"),
        ([("a/b", b"0")], "a/b comes before its folder"),
        ([("a", b"0"), ("a/b", b"0")], "a/b comes before its folder"),
        ([("a", b"5"), ("a/.wh.b", b"0")], "a/.wh.b is not a path for a layer"),
        ([("..", b"5")], ".. is not a path for a layer"),
        ([("a", b"1")], "a has type b'1'"),
        ([("a", b"3")], "a has type b'3'"),
    ],
)
def test_a_layer_of_ours_must_be_in_order(store: Store, members: list[tuple[str, bytes]], problem: str) -> None:
    layer = packed(store, tar_of(*members), ours=True)
    assert validate(image(store, layer), store.open) == [f"layer 1 ({layer.digest.short}): {problem}"]


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(1536), bytes(1024) + b"junk" * 128, b"junk" * 128])
def test_a_layer_of_ours_must_end_in_two_zero_blocks(store: Store, end: bytes) -> None:
    layer = packed(store, tar_of(("a", b"0"), end=end), ours=True)
    problems = validate(image(store, layer), store.open)
    assert problems == [
        f"layer 1 ({layer.digest.short}): its tar does not end in two zero blocks behind the last entry"
    ]


def test_wrong_digests_and_sizes_are_reported(store: Store) -> None:
    right = written(store)
    wrong = replace(right, diff_id=sha256(b"x"), size=right.size + 1)
    where = f"layer 1 ({right.digest.short}): "
    assert validate(image(store, wrong), store.open) == [
        f"{where}size: {right.size} instead of {right.size + 1}",
        f'{where}diff_id: "{right.diff_id}" instead of "{sha256(b"x")}"',
    ]
    blob = store.read(right.digest)
    problems = validate(image(store, right), lambda digest: io.BytesIO(store.read(digest).replace(blob, blob + blob)))
    assert problems == [
        f"{where}its tar does not end in two zero blocks behind the last entry",
        f"{where}size: {2 * right.size} instead of {right.size}",
        f'{where}digest: "{sha256(blob + blob)}" instead of "{right.digest}"',
        f'{where}diff_id: "{sha256(gzip.decompress(blob) * 2)}" instead of "{right.diff_id}"',
    ]


def test_blobs_that_cannot_be_read_are_reported(store: Store) -> None:
    layers = [written(store), packed(store, b"no tar" * 200, ours=False), packed(store, b"x", ours=False)]
    made = image(store, *layers)
    store.path(layers[0].digest).write_bytes(b"damaged")
    store.path(layers[2].digest).unlink()
    store.path(made.config_digest).unlink()
    first, second, third = (f"layer {number} ({layer.digest.short}): " for number, layer in enumerate(layers, 1))
    assert validate(made, store.open) == [
        f"the config's blob cannot be read: the store at {store.root} lacks the blob {made.config_digest}",
        f"{first}cannot be read: the blob {layers[0].digest} in the store at {store.root} is damaged",
        f"{second}it is not a readable tar: invalid header",
        f"{third}cannot be read: the store at {store.root} lacks the blob {layers[2].digest}",
    ]


def test_a_cut_gzip_stream_is_reported(store: Store) -> None:
    whole = gzip.compress(tar_of(("a", b"0")))
    for blob in (whole[:-4], whole[:-8] + bytes(8)):
        layer = Layer(digest=store.write(blob), diff_id=sha256(tar_of(("a", b"0"))), size=len(blob))
        problems = validate(image(store, layer), store.open)
        assert problems[0].startswith(f"layer 1 ({layer.digest.short}): it is not a whole gzip stream: ")


def test_a_layer_in_another_format_is_reported(store: Store) -> None:
    zstd = "application/vnd.oci.image.layer.v1.tar+zstd"
    layer = replace(packed(store, b"x", ours=False), media_type=zstd)
    assert validate(image(store, layer), store.open) == [
        f"layer 1 ({layer.digest.short}): its media type {zstd} cannot be checked here"
    ]


def test_manifest_and_config_must_agree_with_the_layers(store: Store) -> None:
    layer = written(store)
    made = image(store, layer)
    config = json.loads(made.config)
    config["rootfs"]["diff_ids"] = []
    config["history"] *= 2
    del config["architecture"]
    broken = replace(made, config=canonical_json(config))
    store.write(broken.config)
    assert validate(broken, store.open) == [
        f'the config\'s digest: "{made.config_digest}" instead of "{broken.config_digest}"',
        f"the config's size: {len(made.config)} instead of {len(broken.config)}",
        f'the config\'s diff_ids: [] instead of ["{layer.diff_id}"]',
        "the config names no architecture",
        "the history's count of layers: 2 instead of 1",
    ]


def test_a_manifest_that_is_not_json_is_reported(store: Store) -> None:
    broken = replace(image(store, written(store)), manifest=b"{")
    store.write(broken.manifest)
    (problem,) = validate(broken, store.open)
    assert problem.startswith("manifest or config lacks a part, or is not JSON: JSONDecodeError: ")
