"""Reads and writes how the store lists its images, and reads them back: a digest vouches for what it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from buildpack.errors import BuildpackError
from buildpack.oci.digest import Digest
from buildpack.oci.image import DOCKER_LAYERS, LAYER_GZIP, Image, Layer, Platform

if TYPE_CHECKING:
    from buildpack.oci.index import ImageIndex

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"


_OCI_LAYERS = {docker: kind for kind, docker in DOCKER_LAYERS.items()}

ReadBlob = Callable[[Digest], bytes]
"""Returns a small blob, verified; raises MachineError if it is absent or damaged."""


def reference_of(descriptor: Mapping[str, Any]) -> str:
    """Return the name that a descriptor of the index has, "" if it has none."""
    annotations = descriptor.get("annotations")
    return str(annotations.get(REF_NAME, "")) if isinstance(annotations, dict) else ""


def digest_of(descriptor: Mapping[str, Any]) -> Digest | None:
    """Return a descriptor's digest, None for nonsense and for other tools' algorithms."""
    try:
        return Digest.parse(str(descriptor.get("digest")))
    except ValueError:
        return None


def describe(image: Image | ImageIndex, reference: str) -> dict[str, Any]:
    """Return the descriptor under which the index lists an image by this name."""
    return {
        "mediaType": image.media_type,
        "digest": str(image.digest),
        "size": len(image.manifest),
        "annotations": {REF_NAME: reference, CONTAINERD_NAME: reference},
    }


def parse_layer(descriptor: Mapping[str, Any], diff_id: str) -> Layer:
    """Read a layer's descriptor; raises KeyError or ValueError for nonsense."""
    media_type = descriptor.get("mediaType", LAYER_GZIP)
    return Layer(
        digest=Digest.parse(descriptor["digest"]),
        diff_id=Digest.parse(diff_id),
        size=descriptor["size"],
        media_type=_OCI_LAYERS.get(media_type, media_type),
        annotations=descriptor.get("annotations", {}),
    )


def read_image(digest: Digest, platform: Platform | None, read: ReadBlob) -> Image | None:
    """Read the image, or the index's for this platform; None if it is absent or damaged, or the index has none."""
    from buildpack.oci import manifest

    try:
        raw = read(digest)
        if manifest.is_index(raw, media_type="", origin=""):
            if platform is None:
                return None
            raw = read(manifest.select_platform(manifest.parse_index(raw, origin=""), platform, origin="").digest)
        return _read_one(raw, read)
    except BuildpackError:
        return None


def read_index(digest: Digest, read: ReadBlob) -> ImageIndex | None:
    """Read an index and its images; None if this is not an index, or a part of it is absent or damaged."""
    from buildpack.oci import manifest
    from buildpack.oci.index import ImageIndex

    try:
        raw = read(digest)
        if not manifest.is_index(raw, media_type="", origin=""):
            return None
        listed = manifest.parse_index(raw, origin="")
        return ImageIndex(manifest=raw, images=tuple(_read_one(read(item.digest), read) for item in listed))
    except BuildpackError:
        return None


def _read_one(raw: bytes, read: ReadBlob) -> Image:
    from buildpack.oci import manifest

    config = read(manifest.parse_manifest_config(raw, origin="").digest)
    return manifest.parse_image(raw, config, origin="")
