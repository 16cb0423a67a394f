from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildpack.oci.digest import Digest
from buildpack.oci.image import INDEX, Layer, Platform, assemble, canonical_json
from buildpack.oci.prune import Pruned
from buildpack.oci.store import Store

NOW = 1_000_000_000.0
LATEST = "docker.io/library/blasto:latest"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def blob(store: Store, content: bytes, *, hours: float) -> Digest:
    """Write a blob that is this old."""
    digest = store.write(content)
    os.utime(store.path(digest), (NOW - hours * 3600,) * 2)
    return digest


def remembered(store: Store, key: str, digest: Digest) -> Layer:
    layer = Layer(digest=digest, diff_id=digest, size=store.size(digest) or 0)
    store.remember_layer(key, layer)
    return layer


def age_everything(store: Store) -> None:
    for path in (store.root / "blobs" / "sha256").iterdir():
        if path.stat().st_mtime > NOW:
            os.utime(path, (NOW - 7200,) * 2)


def test_what_no_reference_needs_goes_and_the_rest_stays(store: Store) -> None:
    used = remembered(store, "used", blob(store, b"used", hours=99))
    spare = blob(store, b"spare", hours=99)
    image = assemble([used], platform=Platform(), created="1980-01-01T00:00:00Z", config={}, annotations={})
    store.put_image(image, [LATEST])
    age_everything(store)
    assert store.prune(budget=0, now=NOW) == Pruned(blobs=1, size=5)
    assert not store.has(spare)
    assert store.image(LATEST) == image
    assert store.missing(image) == ()
    assert store.layer("used") == used


def test_the_oldest_go_first_until_the_rest_fits(store: Store) -> None:
    ages = {10: b"a" * 100, 30: b"b" * 100, 20: b"c" * 100}
    digests = {hours: blob(store, content, hours=hours) for hours, content in ages.items()}
    assert store.prune(budget=300, now=NOW) == Pruned(blobs=0, size=0)
    assert store.prune(budget=299, now=NOW) == Pruned(blobs=1, size=100)
    assert [hours for hours, digest in digests.items() if store.has(digest)] == [10, 20]
    assert store.prune(budget=100, now=NOW) == Pruned(blobs=1, size=100)
    assert [hours for hours, digest in digests.items() if store.has(digest)] == [10]


def test_blobs_without_a_layer_key_go_before_those_with_one(store: Store) -> None:
    keyed = remembered(store, "key", blob(store, b"a" * 100, hours=99))
    loose = blob(store, b"b" * 100, hours=2)
    store.prune(budget=100, now=NOW)
    assert not store.has(loose)
    assert store.layer("key") == keyed
    store.prune(budget=0, now=NOW)
    assert store.layer("key") is None
    assert list((store.root / "layers").iterdir()) == []


def test_blobs_of_a_build_at_work_stay(store: Store) -> None:
    fresh = blob(store, b"fresh", hours=0.9)
    assert store.prune(budget=0, now=NOW) == Pruned(blobs=0, size=0)
    assert store.has(fresh)


def test_an_index_of_another_tool_keeps_what_it_reaches(store: Store) -> None:
    used = remembered(store, "used", blob(store, b"used", hours=99))
    image = assemble([used], platform=Platform(), created="1980-01-01T00:00:00Z", config={}, annotations={})
    inner = [{"mediaType": "m", "digest": str(store.write(part)), "size": 1} for part in (image.manifest, b"no json")]
    store.write(image.config)
    index = store.write(canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": inner}))
    outer = {"manifests": [{"mediaType": INDEX, "digest": str(index), "size": 1}, {"digest": "sha512:0"}]}
    (store.root / "index.json").write_bytes(canonical_json(outer))
    age_everything(store)
    assert store.prune(budget=0, now=NOW) == Pruned(blobs=0, size=0)


def test_abandoned_work_is_removed_after_a_day(store: Store) -> None:
    folder = store.folder("tmp")
    for name, hours in (("old", 25), ("new", 23)):
        (folder / name / "deep").mkdir(parents=True)
        (folder / name / "deep" / "file").write_text("x")
        (folder / f"{name}.txt").write_text("x")
        for path in (folder / name, folder / f"{name}.txt"):
            os.utime(path, (NOW - hours * 3600,) * 2)
    store.prune(budget=0, now=NOW)
    assert sorted(path.name for path in folder.iterdir()) == ["new", "new.txt"]


def test_an_empty_store_has_nothing_to_prune(store: Store) -> None:
    assert store.prune(budget=0, now=NOW) == Pruned(blobs=0, size=0)
