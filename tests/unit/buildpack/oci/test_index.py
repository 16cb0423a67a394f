from __future__ import annotations

import json
from pathlib import Path

import pytest

from buildpack.oci.digest import sha256
from buildpack.oci.image import INDEX, MANIFEST, Image, Layer, Platform, assemble
from buildpack.oci.index import ImageIndex, assemble_index
from buildpack.oci.store import Store

NAME = "docker.io/library/both:1"
AMD64, ARM64 = Platform(architecture="amd64"), Platform(architecture="arm64")
ARMV7 = Platform(architecture="arm", variant="v7")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def layer(store: Store, content: bytes) -> Layer:
    digest = store.write(content)
    return Layer(digest=digest, diff_id=digest, size=len(content))


def image(platform: Platform, *layers: Layer) -> Image:
    return assemble(layers, platform=platform, created="1980-01-01T00:00:00Z", config={}, annotations={})


@pytest.fixture
def both(store: Store) -> ImageIndex:
    shared = layer(store, b"shared")
    return assemble_index(
        [image(ARM64, layer(store, b"arm64's own"), shared), image(AMD64, layer(store, b"amd64's"), shared)]
    )


def test_an_index_lists_its_images_by_platform(both: ImageIndex) -> None:
    document = json.loads(both.manifest)
    assert document == {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": MANIFEST,
                "digest": str(each.digest),
                "size": len(each.manifest),
                "platform": {"architecture": name, "os": "linux"},
            }
            for each, name in zip(both.images, ("amd64", "arm64"), strict=True)
        ],
    }
    assert [json.loads(each.config)["architecture"] for each in both.images] == ["amd64", "arm64"]


def test_the_order_of_the_images_does_not_matter(both: ImageIndex) -> None:
    assert assemble_index(reversed(both.images)) == both


def test_a_variant_is_named(store: Store) -> None:
    [entry] = json.loads(assemble_index([image(ARMV7, layer(store, b"x"))]).manifest)["manifests"]
    assert entry["platform"] == {"architecture": "arm", "os": "linux", "variant": "v7"}


def test_a_shared_layer_counts_once(both: ImageIndex) -> None:
    assert [each.size for each in both.layers] == [len(b"amd64's"), len(b"shared"), len(b"arm64's own")]
    assert both.size == sum(map(len, both.documents)) + sum(each.size for each in both.layers)
    assert both.documents[-1] == both.manifest
    assert len(both.documents) == 5


def test_the_store_keeps_an_index(both: ImageIndex, store: Store) -> None:
    assert store.put_image(both, [NAME])
    assert store.image_index(NAME) == both
    assert store.images() == {NAME: both.digest}
    amd64, arm64 = both.images
    assert (store.image(NAME, AMD64), store.image(NAME, ARM64)) == (amd64, arm64)
    assert store.image(NAME, Platform(architecture="arm64", variant="v8")) == arm64
    assert (store.image(NAME), store.image(NAME, ARMV7)) == (None, None)
    assert not store.put_image(both, [NAME])


def test_one_image_is_not_an_index(both: ImageIndex, store: Store) -> None:
    store.put_image(both.images[0], [NAME])
    assert store.image_index(NAME) is None
    # The name means this image for all platforms, because a build asks for the image before.
    assert store.image(NAME) == store.image(NAME, ARM64) == both.images[0]


def test_an_image_without_a_name_leaves_names_as_they_are(both: ImageIndex, store: Store) -> None:
    amd64, arm64 = both.images
    store.put_image(amd64, [NAME])
    assert store.put_image(arm64, [])
    assert store.images() == {NAME: amd64.digest}
    assert store.read(arm64.digest) == arm64.manifest
    assert not store.put_image(arm64, [])


@pytest.mark.parametrize("part", range(5))
def test_an_index_with_a_damaged_document_is_absent(part: int, both: ImageIndex, store: Store) -> None:
    store.put_image(both, [NAME])
    store.path(sha256(both.documents[part])).write_bytes(b"damaged")
    assert store.image_index(NAME) is None
    assert store.put_image(both, [NAME])
    assert store.image_index(NAME) == both
