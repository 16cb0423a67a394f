"""Pulling from the distribution registry, filled by skopeo."""

from __future__ import annotations

import io
import json
import subprocess
import urllib.request
from pathlib import Path

import pytest

from buildpack.errors import StackError
from buildpack.oci.archive import write_oci_dir
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import INDEX, MANIFEST, Image, Platform
from buildpack.oci.reference import Reference, parse_reference
from tests.support.images import Blobs, image_of
from tests.support.registry_client import connected

pytestmark = pytest.mark.registry


def push(image: Image, blobs: Blobs, name: str, folder: Path, *options: str) -> Reference:
    write_oci_dir(image, blobs.open, folder / "layout", [name])
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", *options, f"oci:{folder}/layout:{name}", f"docker://{name}"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return parse_reference(name)


def put_manifest(reference: Reference, body: bytes, media_type: str) -> None:
    url = f"http://{reference.host}/v2/{reference.repository}/manifests/{reference.tag}"
    request = urllib.request.Request(url, body, {"Content-Type": media_type}, method="PUT")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
        assert response.status == 201


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_image_and_layers(registry: str, tmp_path: Path, form: str) -> None:
    blobs = Blobs()
    image = image_of(blobs.layer({"a": b"1" * 3_000_000}), blobs.layer({"b": b"2"}))
    reference = push(image, blobs, f"{registry}/transfer/{form}:1", tmp_path, "--format", form)
    with connected(reference, {}) as client:
        pulled = client.fetch_image(Platform())
        assert pulled.image.config == image.config
        assert [(layer.digest, layer.diff_id) for layer in pulled.image.layers] == [
            (layer.digest, layer.diff_id) for layer in image.layers
        ]
        assert {layer.media_type for layer in pulled.image.layers} == {image.layers[0].media_type}
        for layer in pulled.image.layers:
            out = io.BytesIO()
            client.fetch_blob(layer.digest, layer.size, out)
            assert sha256(out.getvalue()) == layer.digest
    with connected(pulled.reference, {}) as client:
        assert client.fetch_image(Platform()) == pulled


def test_platforms(registry: str, tmp_path: Path) -> None:
    blobs = Blobs()
    entries = []
    images = {}
    for architecture in ("amd64", "arm64"):
        platform = Platform(architecture=architecture)
        image = images[architecture] = image_of(blobs.layer({"a": architecture.encode()}), platform=platform)
        push(image, blobs, f"{registry}/transfer/multi:{architecture}", tmp_path)
        entries.append(
            {
                "mediaType": MANIFEST,
                "digest": str(image.digest),
                "size": len(image.manifest),
                "platform": {"os": "linux", "architecture": architecture},
            }
        )
    reference = parse_reference(f"{registry}/transfer/multi:all")
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    put_manifest(reference, index, INDEX)
    with connected(reference, {}) as client:
        for architecture, image in images.items():
            pulled = client.fetch_image(Platform(architecture=architecture))
            assert pulled.image == image
            assert pulled.reference.digest == sha256(index)
        with pytest.raises(StackError) as caught:
            client.fetch_image(Platform(architecture="s390x"))
    assert str(caught.value) == (
        f"{reference} has no image for linux/s390x\n\nIt has one for: linux/amd64, linux/arm64.\n\n"
        "hint: choose one with `--platform`, or another stack."
    )


def test_what_is_not_there(registry: str) -> None:
    for selector, said in (
        ("none", "MANIFEST_UNKNOWN: manifest unknown"),
        (f"none@{sha256(b'none')}", "MANIFEST_UNKNOWN: manifest unknown"),
    ):
        reference = parse_reference(f"{registry}/transfer/none:{selector}")
        with connected(reference, {}) as client, pytest.raises(StackError) as caught:
            client.fetch_image(Platform())
        assert str(caught.value) == (
            f"{reference} does not exist\n\n"
            f"GET http://{registry}/v2/transfer/none/manifests/{reference.selector} answered 404: {said}.\n\n"
            "hint: check the spelling of the name and of the tag."
        )


def test_blob_is_taken_up_in_the_middle(registry: str, tmp_path: Path) -> None:
    """The real registry knows ranges: what is asked for from the middle on is what follows."""
    blobs = Blobs()
    layer = blobs.layer({"a": bytes(range(256)) * 20_000})
    reference = push(image_of(layer), blobs, f"{registry}/transfer/range:1", tmp_path)
    with connected(reference, {}) as client:
        half = b"".join(client._stream(Digest(layer.digest.hex), layer.size // 2))
    assert half == blobs.content[layer.digest][layer.size // 2 :]
