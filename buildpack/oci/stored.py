"""Reads images back from the store, where this tool wrote them: nothing is checked that a digest vouches for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from buildpack.bounded import parse_json
from buildpack.oci.digest import Digest
from buildpack.oci.image import DOCKER_LAYERS, LAYER_GZIP, Image, Layer, Platform

if TYPE_CHECKING:
    from buildpack.oci.index import ImageIndex

_OCI_LAYERS = {docker: kind for kind, docker in DOCKER_LAYERS.items()}

ReadBlob = Callable[[Digest], bytes]
"""Returns a small blob, verified; raises MachineError where it is absent or damaged."""


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
    """Read the image, or the index's for this platform; None where it is absent, damaged, or the index has none."""
    from buildpack.errors import MachineError

    try:
        raw = read(digest)
        manifest = parse_json(raw)
        if "manifests" in manifest:
            found = _choose(manifest["manifests"], platform)
            return None if found is None else _read_one(read(found), read)
        return _read_one(raw, read)
    except (MachineError, AttributeError, KeyError, TypeError, ValueError):
        return None


def read_index(digest: Digest, read: ReadBlob) -> ImageIndex | None:
    """Read an index and its images; None where this is none, or something of it is absent or damaged."""
    from buildpack.errors import MachineError
    from buildpack.oci.index import ImageIndex

    try:
        raw = read(digest)
        listed = parse_json(raw).get("manifests")
        if listed is None:
            return None
        images = tuple(_read_one(read(Digest.parse(item["digest"])), read) for item in listed)
        return ImageIndex(manifest=raw, images=images)
    except (MachineError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _read_one(raw: bytes, read: ReadBlob) -> Image:
    manifest = parse_json(raw)
    config = read(Digest.parse(manifest["config"]["digest"]))
    diff_ids = parse_json(config)["rootfs"]["diff_ids"]
    pairs = zip(manifest["layers"], diff_ids, strict=True)
    return Image(manifest=raw, config=config, layers=tuple(parse_layer(*pair) for pair in pairs))


def _choose(listed: list[dict[str, Any]], platform: Platform | None) -> Digest | None:
    from buildpack.oci.manifest import serves

    for item in listed:
        offered = {name: text for name, text in item["platform"].items() if name in {"os", "architecture", "variant"}}
        if platform is not None and serves(Platform(**offered), platform):
            return Digest.parse(item["digest"])
    return None
