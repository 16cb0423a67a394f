"""Reads manifests, indexes and configs from outside, with limits and an error for each mistake, into an `Image`.

Follows the OCI image specification 1.1 (manifest.md, image-index.md, config.md) and Docker's schema 2, which has the
same structure but other media types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass, field
from buildpack.errors import transfer as errors
from buildpack.oci.digest import Digest
from buildpack.oci.image import (
    CONFIG,
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYERS,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    Image,
    Layer,
    Platform,
)

MANIFEST_LIMIT = 4 << 20
"""Bytes. The distribution specification asks registries to accept manifests up to this size."""
CONFIG_LIMIT = 8 << 20
"""Bytes. Docker has the same limit for an image's config."""
_LAYERS_LIMIT = 512

_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+"
ACCEPTED = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX)
"""Media types to ask a registry for."""

_LAYER_TYPES = {name: kind for kind, docker in DOCKER_LAYERS.items() for name in (kind, docker)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """An entry about a blob in an index or a manifest; `platform` is set in indexes that name it."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None

    @property
    def attestation(self) -> bool:
        """True if this is not an image: BuildKit adds such entries to describe images."""
        return "vnd.docker.reference.type" in self.annotations or (
            self.platform is not None and self.platform.os == "unknown"
        )


def is_index(raw: bytes, *, media_type: str, origin: str) -> bool:
    """Return True for an index, False for an image's manifest; raises StackError for anything else.

    The body's own ``mediaType`` decides, then `media_type` (a header or a descriptor), then the shape.
    """
    body = _parse_object(raw, origin)
    kind = str(body.get("mediaType") or media_type.partition(";")[0].strip())
    if body.get("schemaVersion") == 1 or kind.startswith(_SCHEMA1):
        raise errors.schema1_refused(origin)
    if kind in {INDEX, DOCKER_INDEX}:
        return True
    if kind in {MANIFEST, DOCKER_MANIFEST}:
        return False
    if "manifests" in body:
        return True
    if "config" in body and "layers" in body:
        return False
    raise errors.unknown_manifest(origin, kind)


def parse_index(raw: bytes, *, origin: str) -> tuple[Descriptor, ...]:
    """Return the entries of an index, in its order."""
    listed = _list(_parse_object(raw, origin), "manifests", origin)
    return tuple(_descriptor(item, f"manifests[{number}]", origin) for number, item in enumerate(listed))


def parse_manifest_config(raw: bytes, *, origin: str) -> Descriptor:
    """Return the descriptor of a manifest's config."""
    found = _descriptor(_parse_object(raw, origin).get("config"), "config", origin)
    if found.media_type not in {CONFIG, DOCKER_CONFIG}:
        raise errors.not_a_container_image(origin, found.media_type)
    if found.size > CONFIG_LIMIT:
        raise errors.damaged_manifest(origin, f"config is {found.size} bytes long; at most {CONFIG_LIMIT} are read")
    return found


def parse_image(manifest: bytes, config: bytes, *, origin: str) -> Image:
    """Return the image of a manifest and a config; Docker's media types of layers become OCI's for the same bytes."""
    listed = _list(_parse_object(manifest, origin), "layers", origin)
    if len(listed) > _LAYERS_LIMIT:
        raise errors.damaged_manifest(origin, f"it has {len(listed)} layers; at most {_LAYERS_LIMIT} are read")
    diff_ids = _parse_diff_ids(config, origin)
    if len(diff_ids) != len(listed):
        raise errors.damaged_manifest(
            origin, f"the manifest has {len(listed)} layers, the config has {len(diff_ids)} diff_ids"
        )
    layers = []
    for number, (item, diff_id) in enumerate(zip(listed, diff_ids, strict=True)):
        found = _descriptor(item, f"layers[{number}]", origin)
        if found.media_type not in _LAYER_TYPES:
            raise errors.unknown_layer_type(origin, number, found.media_type)
        layers.append(
            Layer(
                digest=found.digest,
                diff_id=diff_id,
                size=found.size,
                media_type=_LAYER_TYPES[found.media_type],
                annotations=found.annotations,
            )
        )
    return Image(manifest=manifest, config=config, layers=tuple(layers))


def parse_config_platform(config: bytes, *, origin: str) -> Platform:
    """Return the platform an image's config names."""
    return _platform(_parse_object(config, origin), origin)


def select_platform(listed: Sequence[Descriptor], platform: Platform, *, origin: str) -> Descriptor:
    """Return the first manifest for `platform`; raises StackError with the platforms that are available.

    Variants differ only if both are named: ``arm64`` and ``arm64/v8`` are the same.
    """
    images = [item for item in listed if not item.attestation]
    for item in images:
        if item.platform is not None and serves(item.platform, platform):
            return item
    raise errors.no_such_platform(
        origin, str(platform), sorted({str(item.platform) for item in images if item.platform is not None})
    )


def serves(offered: Platform, wanted: Platform) -> bool:
    """Return True if an image for `offered` runs on `wanted`."""
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return False
    return not offered.variant or not wanted.variant or offered.variant == wanted.variant


def _parse_object(raw: bytes, origin: str) -> dict[str, Any]:
    try:
        body = parse_json(raw)
    except ValueError:
        raise errors.damaged_manifest(origin, "it is not JSON") from None
    if not isinstance(body, dict):
        raise errors.damaged_manifest(origin, "it is not a JSON object")
    return body


def _list(body: Mapping[str, Any], name: str, origin: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list):
        raise errors.damaged_manifest(origin, f"{name} is not a list")
    return value


def _descriptor(value: Any, where: str, origin: str) -> Descriptor:
    if not isinstance(value, dict):
        raise errors.damaged_manifest(origin, f"{where} is not an object")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise errors.damaged_manifest(origin, f"{where}.size is not a number of bytes")
    try:
        digest = Digest.parse(str(value.get("digest")))
    except ValueError:
        raise errors.damaged_manifest(origin, f"{where}.digest is not a sha256 digest") from None
    annotations = value.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise errors.damaged_manifest(origin, f"{where}.annotations is not an object")
    platform = value.get("platform")
    return Descriptor(
        media_type=str(value.get("mediaType")),
        digest=digest,
        size=size,
        annotations={str(key): str(text) for key, text in annotations.items()},
        platform=_platform(platform, origin) if isinstance(platform, dict) else None,
    )


def _platform(body: Mapping[str, Any], origin: str) -> Platform:
    names = [body.get(name, "") for name in ("os", "architecture", "variant")]
    if not all(isinstance(name, str) for name in names) or not names[0] or not names[1]:
        raise errors.damaged_manifest(origin, "os and architecture are not both named")
    return Platform(os=names[0], architecture=names[1], variant=names[2])


def _parse_diff_ids(config: bytes, origin: str) -> list[Digest]:
    rootfs = _parse_object(config, origin).get("rootfs")
    if not isinstance(rootfs, dict):
        raise errors.damaged_manifest(origin, "rootfs in the config is not an object")
    try:
        return [Digest.parse(str(text)) for text in _list(rootfs, "diff_ids", origin)]
    except ValueError:
        raise errors.damaged_manifest(origin, "rootfs.diff_ids in the config are not all sha256 digests") from None
