"""An image index names the images of one app for several platforms (OCI image specification 1.1, image-index.md).

An `ImageIndex` offers what an `Image` does to whoever stores or sends one: documents, layers, a digest.
"""

from __future__ import annotations

from collections.abc import Iterable

from buildpack.dataclass import dataclass
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import DOCKER_INDEX, INDEX, Format, Image, Layer, Platform, canonical_json, convert
from buildpack.oci.manifest import parse_config_platform


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """The index's bytes, called `manifest` as an image's are, and the images it names, in its order."""

    manifest: bytes
    images: tuple[Image, ...]

    @property
    def digest(self) -> Digest:
        """The index's digest: what registries and `deploy build` call the digest of all its images together."""
        return sha256(self.manifest)

    @property
    def media_type(self) -> str:
        """The index's media type: OCI's, or Docker's if all its images are in Docker's format."""
        return _media_type(self.images)

    @property
    def documents(self) -> tuple[bytes, ...]:
        """Configs, manifests and the index, each after what it names."""
        return (*(document for image in self.images for document in image.documents), self.manifest)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of all images; one that several have is here once."""
        return tuple({layer.digest: layer for image in self.images for layer in image.layers}.values())

    @property
    def size(self) -> int:
        """Bytes of all documents and layers, as sent."""
        return sum(map(len, self.documents)) + sum(layer.size for layer in self.layers)


def assemble_index(images: Iterable[Image]) -> ImageIndex:
    """Make the index of these images, one for each platform; in which order they come is no matter."""
    listed = sorted(images, key=lambda image: str(platform_of_image(image)))
    manifests = [
        {
            "mediaType": image.media_type,
            "digest": str(image.digest),
            "size": len(image.manifest),
            "platform": _rendered(platform_of_image(image)),
        }
        for image in listed
    ]
    kind = _media_type(listed)
    document = {"schemaVersion": 2, "mediaType": kind, "manifests": manifests}
    return ImageIndex(manifest=canonical_json(document), images=tuple(listed))


def convert_index(index: ImageIndex, format_: Format) -> ImageIndex:
    """Return the index of the same images with manifests in this format."""
    return assemble_index(convert(image, format_) for image in index.images)


def platform_of_image(image: Image) -> Platform:
    """Return the platform that the image's config names."""
    return parse_config_platform(image.config, origin=str(image.digest))


def _media_type(images: Iterable[Image]) -> str:
    return DOCKER_INDEX if all(image.format == "docker" for image in images) else INDEX


def _rendered(platform: Platform) -> dict[str, str]:
    parts = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
    return {name: value for name, value in parts.items() if value}
