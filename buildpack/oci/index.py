"""Image indexes (OCI image specification 1.1, image-index.md): of one app for several platforms, and ``index.json``.

``index.json`` lists the images of a layout by name; the store is such a layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError
from buildpack.oci import manifest as manifests
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import DOCKER_INDEX, INDEX, Format, Image, Layer, Platform, canonical_json, convert

LAYOUT = canonical_json({"imageLayoutVersion": "1.0.0"})
"""The content of ``oci-layout``, which marks a folder as a layout."""
NAME_KEYS = ("org.opencontainers.image.ref.name", "io.containerd.image.name")
"""The annotations that name an image in ``index.json``, for most tools and for containerd."""

ReadBlob = Callable[[Digest], bytes]
"""Returns a small blob, verified; raises MachineError if it is absent or damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """The images of one app for several platforms. It has the properties of an `Image`, so that both are stored alike.

    `manifest` is the index itself, as bytes.
    """

    manifest: bytes
    images: tuple[Image, ...]

    @property
    def digest(self) -> Digest:
        """The index's digest, which registries and `deploy build` use for all its images together."""
        return sha256(self.manifest)

    @property
    def media_type(self) -> str:
        """The index's media type: OCI's, or Docker's if all its images are in Docker's format."""
        return _media_type(self.images)

    @property
    def documents(self) -> tuple[bytes, ...]:
        """Configs, manifests and the index, each after those that it names."""
        return (*(document for image in self.images for document in image.documents), self.manifest)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of all images, each once."""
        return tuple({layer.digest: layer for image in self.images for layer in image.layers}.values())

    @property
    def size(self) -> int:
        """Bytes of all documents and layers, as sent."""
        return sum(map(len, self.documents)) + sum(layer.size for layer in self.layers)


def assemble_index(images: Iterable[Image]) -> ImageIndex:
    """Make the index of these images, one for each platform; their order does not matter."""
    listed = sorted(images, key=lambda image: str(image.platform))
    entries = [{**describe(image), "platform": _render_platform(image.platform)} for image in listed]
    return ImageIndex(manifest=render_index(entries, media_type=_media_type(listed)), images=tuple(listed))


def convert_index(index: ImageIndex, format_: Format) -> ImageIndex:
    """Return the index of the same images with manifests in this format."""
    return assemble_index(convert(image, format_) for image in index.images)


def render_index(descriptors: Sequence[Mapping[str, Any]], *, media_type: str = INDEX) -> bytes:
    """Return the JSON of an index that lists these descriptors."""
    return canonical_json({"schemaVersion": 2, "mediaType": media_type, "manifests": descriptors})


def describe(image: Image | ImageIndex, name: str = "") -> dict[str, Any]:
    """Return the descriptor of an image for an index, with the annotations that name it."""
    made: dict[str, Any] = {
        "mediaType": image.media_type,
        "digest": str(image.digest),
        "size": len(image.manifest),
    }
    return {**made, "annotations": dict.fromkeys(NAME_KEYS, name)} if name else made


def name_of(descriptor: Mapping[str, Any]) -> str:
    """Return the name that an index gives the image with this descriptor; "" if it has none."""
    annotations = descriptor.get("annotations")
    return str(annotations.get(NAME_KEYS[0], "")) if isinstance(annotations, dict) else ""


def digest_of(descriptor: Mapping[str, Any]) -> Digest | None:
    """Return a descriptor's digest; None if it has none, or one of an algorithm that only other tools use."""
    try:
        return Digest.parse(str(descriptor.get("digest")))
    except ValueError:
        return None


def read_image(digest: Digest, platform: Platform | None, read: ReadBlob) -> Image | None:
    """Read the image with this digest, or the image for this platform if it is an index's digest.

    None if a document is absent or damaged, or the index has no such image.
    """
    try:
        raw = read(digest)
        if manifests.is_index(raw, media_type="", origin=""):
            if platform is None:
                return None
            listed = manifests.parse_index(raw, origin="")
            raw = read(manifests.select_platform(listed, platform, origin="").digest)
        return _read_one(raw, read)
    except BuildpackError:
        return None


def read_index(digest: Digest, read: ReadBlob) -> ImageIndex | None:
    """Read an index and its images; None if this is not an index, or a part of it is absent or damaged."""
    try:
        raw = read(digest)
        if not manifests.is_index(raw, media_type="", origin=""):
            return None
        listed = manifests.parse_index(raw, origin="")
        return ImageIndex(manifest=raw, images=tuple(_read_one(read(item.digest), read) for item in listed))
    except BuildpackError:
        return None


def _read_one(raw: bytes, read: ReadBlob) -> Image:
    config = read(manifests.parse_manifest_config(raw, origin="").digest)
    return manifests.parse_image(raw, config, origin="")


def _media_type(images: Iterable[Image]) -> str:
    return DOCKER_INDEX if all(image.format == "docker" for image in images) else INDEX


def _render_platform(platform: Platform) -> dict[str, str]:
    parts = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
    return {name: value for name, value in parts.items() if value}
