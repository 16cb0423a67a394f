"""What the `index.json` of a store says of an image: its name, its digest, and how a new one is entered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from buildpack.oci.digest import Digest
from buildpack.oci.image import Image

if TYPE_CHECKING:
    from buildpack.oci.index import ImageIndex

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"


def reference_of(descriptor: Mapping[str, Any]) -> str:
    """Return the name that a descriptor of the index has, empty where it has none."""
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
