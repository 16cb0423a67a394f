from __future__ import annotations

import json
from typing import Any

import pytest

from buildpack.errors import StackError
from buildpack.oci import manifest as manifests
from buildpack.oci.digest import sha256
from buildpack.oci.image import CONFIG, INDEX, LAYER_GZIP, LAYER_TAR, MANIFEST, Platform
from tests.support.images import Blobs, image_of

ORIGIN = "docker.io/library/some:1"
DIGEST = str(sha256(b"x"))
DOCKER = "application/vnd.docker."
BROKEN = "Its manifest breaks the OCI image specification: {}.\n\nhint: use another image, or make this one again."


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


def listed(architecture: str, variant: str = "", os: str = "linux", **extra: Any) -> dict[str, Any]:
    platform = {"os": os, "architecture": architecture} | ({"variant": variant} if variant else {})
    return {
        "mediaType": MANIFEST,
        "digest": str(sha256((architecture + variant).encode())),
        "size": 1,
        "platform": platform,
    } | extra


def index(*entries: dict[str, Any]) -> tuple[manifests.Descriptor, ...]:
    return manifests.parse_index(raw({"manifests": list(entries)}), origin=ORIGIN)


@pytest.mark.parametrize(
    ("body", "header", "expected"),
    [
        ({"mediaType": INDEX, "manifests": []}, "", True),
        ({"mediaType": DOCKER + "distribution.manifest.list.v2+json"}, "", True),
        ({"mediaType": MANIFEST}, INDEX, False),
        ({"schemaVersion": 2}, f"{INDEX}; charset=utf-8", True),
        ({"schemaVersion": 2}, DOCKER + "distribution.manifest.v2+json", False),
        ({"manifests": []}, "application/json", True),
        ({"config": {}, "layers": []}, "", False),
    ],
)
def test_an_index_is_recognised(body: dict[str, Any], header: str, expected: bool) -> None:
    assert manifests.is_index(raw(body), media_type=header, origin=ORIGIN) is expected


def test_schema_1_is_refused() -> None:
    with pytest.raises(StackError) as caught:
        manifests.is_index(raw({"schemaVersion": 1, "fsLayers": []}), media_type="", origin=ORIGIN)
    assert str(caught.value) == (
        "docker.io/library/some:1 is in a format that is no longer in use\n\n"
        "Its manifest is Docker's schema 1, given up in 2017; its layers cannot be verified.\n\n"
        "hint: use a newer tag, or pull and push the image again with a current Docker."
    )


def test_an_unknown_document_is_refused() -> None:
    with pytest.raises(StackError) as caught:
        manifests.is_index(b"{}", media_type="text/plain", origin=ORIGIN)
    assert str(caught.value) == (
        "docker.io/library/some:1 is not a container image\n\n"
        "That name means a document of the media type text/plain.\n\n"
        "hint: use an image in the OCI format or in Docker's (schema 2)."
    )


def test_an_artifact_is_not_an_image() -> None:
    config = {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": DIGEST, "size": 1}
    with pytest.raises(StackError) as caught:
        manifests.parse_manifest_config(raw({"config": config}), origin=ORIGIN)
    assert str(caught.value) == (
        "docker.io/library/some:1 is not a container image\n\n"
        "It is an artifact whose config has the media type application/vnd.cncf.helm.config.v1+json.\n\n"
        "hint: name an image with Python in it, like 'python:3.12-slim'."
    )


@pytest.mark.parametrize(
    ("wanted", "architecture"),
    [
        (Platform(), "amd64"),
        (Platform(architecture="arm64"), "arm64"),
        (Platform(architecture="arm64", variant="v8"), "arm64"),
        (Platform(architecture="arm", variant="v7"), "armv7"),
    ],
)
def test_a_platform_is_selected(wanted: Platform, architecture: str) -> None:
    entries = index(listed("arm", "v6"), listed("arm", "v7"), listed("amd64"), listed("arm64", "v8"))
    chosen = manifests.select_platform(entries, wanted, origin=ORIGIN)
    assert chosen.digest == sha256({"arm64": b"arm64v8", "armv7": b"armv7"}.get(architecture, architecture.encode()))


def test_a_missing_platform_lists_the_others() -> None:
    attestation = listed("unknown", os="unknown", annotations={"vnd.docker.reference.type": "attestation-manifest"})
    entries = index(listed("arm", "v7"), listed("amd64"), attestation)
    with pytest.raises(StackError) as caught:
        manifests.select_platform(entries, Platform(architecture="riscv64"), origin=ORIGIN)
    assert str(caught.value) == (
        "docker.io/library/some:1 has no image for linux/riscv64\n\n"
        "It has one for: linux/amd64, linux/arm/v7.\n\n"
        "hint: choose one with `--platform`, or another stack."
    )


def test_an_image_is_read_back() -> None:
    blobs = Blobs()
    image = image_of(blobs.layer({"a": b"1"}), blobs.layer({"b": b"2"}))
    assert manifests.parse_image(image.manifest, image.config, origin=ORIGIN) == image
    assert manifests.parse_config_platform(image.config, origin=ORIGIN) == Platform()


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (DOCKER + "image.rootfs.diff.tar.gzip", LAYER_GZIP),
        (DOCKER + "image.rootfs.diff.tar", LAYER_TAR),
        (LAYER_TAR, LAYER_TAR),
    ],
)
def test_media_types_of_layers_become_oci(media_type: str, expected: str) -> None:
    manifest = raw({"layers": [{"mediaType": media_type, "digest": DIGEST, "size": 5}]})
    config = raw({"rootfs": {"diff_ids": [DIGEST]}})
    assert manifests.parse_image(manifest, config, origin=ORIGIN).layers[0].media_type == expected


def test_an_unknown_layer_type_is_refused() -> None:
    kind = DOCKER + "image.rootfs.foreign.diff.tar.gzip"
    manifest = raw({"layers": [{"mediaType": kind, "digest": DIGEST, "size": 5}]})
    with pytest.raises(StackError) as caught:
        manifests.parse_image(manifest, raw({"rootfs": {"diff_ids": [DIGEST]}}), origin=ORIGIN)
    assert str(caught.value) == (
        "docker.io/library/some:1 cannot be used\n\n"
        f"Layer 0 has the media type {kind}, which is not a tar, plain or compressed with gzip or zstd.\n\n"
        "hint: use another image."
    )


GOOD_LAYER = {"mediaType": LAYER_GZIP, "digest": DIGEST, "size": 5}
GOOD_CONFIG = raw({"rootfs": {"diff_ids": [DIGEST]}})


@pytest.mark.parametrize(
    ("manifest", "config", "reason"),
    [
        (b"{", GOOD_CONFIG, "it is not JSON"),
        (b"[" * 200_000, GOOD_CONFIG, "it is not JSON"),
        (b"[]", GOOD_CONFIG, "it is not a JSON object"),
        (raw({"layers": {}}), GOOD_CONFIG, "layers is not a list"),
        (raw({"layers": [GOOD_LAYER] * 513}), GOOD_CONFIG, "it has 513 layers; at most 512 are read"),
        (raw({"layers": ["x"]}), GOOD_CONFIG, "layers[0] is not an object"),
        (raw({"layers": [GOOD_LAYER | {"size": -1}]}), GOOD_CONFIG, "layers[0].size is not a number of bytes"),
        (raw({"layers": [GOOD_LAYER | {"size": True}]}), GOOD_CONFIG, "layers[0].size is not a number of bytes"),
        (raw({"layers": [GOOD_LAYER | {"digest": "md5:0"}]}), GOOD_CONFIG, "layers[0].digest is not a sha256 digest"),
        (raw({"layers": [GOOD_LAYER | {"annotations": [1]}]}), GOOD_CONFIG, "layers[0].annotations is not an object"),
        (raw({"layers": [GOOD_LAYER]}), raw({"rootfs": 1}), "rootfs in the config is not an object"),
        (
            raw({"layers": [GOOD_LAYER]}),
            raw({"rootfs": {"diff_ids": ["?"]}}),
            "rootfs.diff_ids in the config are not all sha256 digests",
        ),
        (raw({"layers": []}), GOOD_CONFIG, "the manifest has 0 layers, the config has 1 diff_ids"),
    ],
)
def test_damaged_manifests_are_refused(manifest: bytes, config: bytes, reason: str) -> None:
    with pytest.raises(StackError) as caught:
        manifests.parse_image(manifest, config, origin=ORIGIN)
    assert str(caught.value) == f"{ORIGIN} is not an image that can be read\n\n{BROKEN.format(reason)}"
    assert caught.value.exit_code == 30


def test_a_config_that_is_too_large_is_refused() -> None:
    config = {"mediaType": CONFIG, "digest": DIGEST, "size": 1 << 40}
    with pytest.raises(StackError) as caught:
        manifests.parse_manifest_config(raw({"config": config}), origin=ORIGIN)
    reason = "config is 1099511627776 bytes long; at most 8388608 are read"
    assert str(caught.value) == f"{ORIGIN} is not an image that can be read\n\n{BROKEN.format(reason)}"


def test_a_platform_without_a_name_is_refused() -> None:
    with pytest.raises(StackError) as caught:
        manifests.parse_config_platform(b'{"os": "linux"}', origin=ORIGIN)
    reason = "os and architecture are not both named"
    assert str(caught.value) == f"{ORIGIN} is not an image that can be read\n\n{BROKEN.format(reason)}"
