"""An image is an immutable view: layers, a config and a manifest, as in the OCI image specification."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass, field
from buildpack.oci.digest import Digest, sha256

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYERS = {
    LAYER_GZIP: "application/vnd.docker.image.rootfs.diff.tar.gzip",
    LAYER_TAR: "application/vnd.docker.image.rootfs.diff.tar",
    LAYER_ZSTD: "application/vnd.docker.image.rootfs.diff.tar.zstd",
}
"""Docker's media types (schema 2) of the layers that have the same bytes in OCI's format."""
EPOCH = "1980-01-01T00:00:00Z"
"""The time of everything that has no time of its own: the earliest that zip files can hold."""
Format = Literal["oci", "docker"]
ANNOTATION = "dev.deploy."
"""Prefix of our annotations: ``dev.deploy.key``, ``dev.deploy.kind``, ``dev.deploy.members``, ``dev.deploy.size``."""
_PACKED = "z"
"""The first character of a packed text; JSON begins with another one."""
_PACKED_LEVEL = 12
_UNPACKED_LIMIT = 1 << 20
"""Bytes of JSON that a packed text may unpack to."""


def canonical_json(value: object) -> bytes:
    """Serialise with sorted keys and no spaces, so that equal values have equal digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def pack(raw: bytes) -> str:
    """Return JSON for an annotation, as DEFLATE (RFC 1951) in base 85, because every push sends it.

    The text is the same on every machine.
    """
    import deflate

    return _PACKED + base64.b85encode(deflate.deflate_compress(raw, _PACKED_LEVEL)).decode()


def unpack(text: str) -> Any:
    """Return the value of packed or plain JSON, which earlier versions wrote; raises ValueError."""
    if not text.startswith(_PACKED):
        return parse_json(text)
    inflater = zlib.decompressobj(wbits=-15)
    try:
        raw = inflater.decompress(base64.b85decode(text[1:]), _UNPACKED_LIMIT)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not inflater.eof:
        raise ValueError("it is cut short, or too long")
    return parse_json(raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """As in the image index's ``platform``: Go's names (``linux``, ``amd64``, ``arm64``)."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: `digest` and `size` (bytes) are of the blob as stored, `diff_id` of the tar."""

    digest: Digest
    diff_id: Digest
    size: int
    media_type: str = LAYER_GZIP
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The layer key; "" if the layer is a stack's."""
        return self.annotations.get(ANNOTATION + "key", "")

    def descriptor(self) -> dict[str, Any]:
        """Return the OCI content descriptor."""
        made: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.annotations:
            made["annotations"] = dict(self.annotations)
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A manifest and a config, as bytes, and the layers they name."""

    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]

    @property
    def digest(self) -> Digest:
        """The manifest's digest: what registries and `deploy build` call the image's digest."""
        return sha256(self.manifest)

    @property
    def config_digest(self) -> Digest:
        """The config's digest: what classic engines call the image's ID."""
        return sha256(self.config)

    @property
    def media_type(self) -> str:
        """The manifest's media type: OCI's or Docker's."""
        return str(json.loads(self.manifest).get("mediaType", MANIFEST))

    @property
    def platform(self) -> Platform:
        """The platform that the config names."""
        config = json.loads(self.config)
        return Platform(os=config["os"], architecture=config["architecture"], variant=config.get("variant", ""))

    @property
    def format(self) -> Format:
        """The format of the manifest."""
        return "docker" if self.media_type == DOCKER_MANIFEST else "oci"

    @property
    def images(self) -> tuple[Image, ...]:
        """The image itself; an `ImageIndex` has several."""
        return (self,)

    @property
    def documents(self) -> tuple[bytes, ...]:
        """Config and manifest."""
        return self.config, self.manifest

    @property
    def size(self) -> int:
        """Bytes of manifest, config and all layers, as sent."""
        return len(self.manifest) + len(self.config) + sum(layer.size for layer in self.layers)


def assemble(
    layers: Iterable[Layer],
    *,
    platform: Platform,
    created: str,
    config: Mapping[str, Any],
    annotations: Mapping[str, str],
) -> Image:
    """Make the image of these layers.

    `created` is RFC 3339; `config` is the image config's ``config`` object. Follows the OCI image
    specification 1.1, config.md and manifest.md. The history names each layer's kind and packages, for
    ``docker history``. Each entry has a time because Podman 5 crashes without.
    """
    stacked = tuple(layers)
    body = {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": created,
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in stacked]},
        "history": [{"created": EPOCH, "created_by": _created_by(layer)} for layer in stacked],
    }
    if platform.variant:
        body["variant"] = platform.variant
    raw = canonical_json(body)
    return Image(manifest=render_manifest(raw, stacked, annotations), config=raw, layers=stacked)


def render_manifest(config: bytes, layers: Iterable[Layer], annotations: Mapping[str, str] | None = None) -> bytes:
    """Return the manifest of a config and its layers."""
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": str(sha256(config)), "size": len(config)},
        "layers": [layer.descriptor() for layer in layers],
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    return canonical_json(manifest)


def _created_by(layer: Layer) -> str:
    """Return the layer's kind, and name and version of each wheel in it: ``deploy build: dependencies: six 1.16.0``."""
    made = f"deploy build: {layer.annotations.get(ANNOTATION + 'kind', 'stack')}"
    try:
        rows = unpack(layer.annotations.get(ANNOTATION + "members", "[]"))
        wheels = ", ".join(" ".join(row[0].split("-")[:2]) for row in rows)
    except (AttributeError, LookupError, TypeError, ValueError):  # an earlier image may have a damaged one
        return made
    return f"{made}: {wheels}" if wheels and wheels.isprintable() else made


def convert(image: Image, format_: Format) -> Image:
    """Return the image with a manifest in this format; the config and the layers stay the same bytes.

    Docker's format is "Image Manifest Version 2, Schema 2". Its schema has no annotations, but registries ignore them
    and later builds find layers by them, so they stay.
    """
    if image.format == format_:
        return image
    manifest = json.loads(image.manifest)
    docker = format_ == "docker"
    manifest["mediaType"] = DOCKER_MANIFEST if docker else MANIFEST
    manifest["config"]["mediaType"] = DOCKER_CONFIG if docker else CONFIG
    for described, layer in zip(manifest["layers"], image.layers, strict=True):
        described["mediaType"] = DOCKER_LAYERS[layer.media_type] if docker else layer.media_type
    return Image(manifest=canonical_json(manifest), config=image.config, layers=image.layers)
