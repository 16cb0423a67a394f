"""Asks an engine for its kind and its images, in as few requests as possible, and tags images."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from buildpack.bounded import objects_in, parse_json
from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError
from buildpack.errors import transfer as errors
from buildpack.oci.digest import Digest
from buildpack.oci.engine_host import Endpoint
from buildpack.oci.engine_http import Answer, Connection
from buildpack.oci.image import Image, Layer, Platform
from buildpack.oci.manifest import MANIFEST_LIMIT
from buildpack.oci.reference import full_name, parse_reference

if TYPE_CHECKING:
    from buildpack.oci.archive import OpenBlob

Kind = Literal["classic", "containerd", "podman"]
"""How an engine stores images: as chains of layers (Docker's own store), as blobs (Docker on containerd), or Podman."""

_CLASSIC_BEFORE = 23
"""Docker's first version that can store images in containerd."""
_MANIFESTS_SINCE = (1, 48)
"""Docker's first API version that reports missing blobs of an image."""
_SIBLINGS = 3
_PATIENCE = 2.0
"""Seconds to wait for a list of images, because some engines measure every image first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An engine's kind, and the parts of its images that may share layers with ours.

    `chains` are the images' diff_ids, the likeliest image first. `blobs` are digests of blobs that the engine has.
    `likely` are diff_ids of layers whose blobs it may have: it reports a missing blob once it has the image.
    """

    kind: Kind
    chains: tuple[tuple[str, ...], ...] = ()
    blobs: frozenset[str] = frozenset()
    likely: frozenset[str] = frozenset()

    def may_have(self, layer: Layer) -> bool:
        """Return True if a layer need not be sent at first, at any position in an image."""
        return str(layer.digest) in self.blobs or str(layer.diff_id) in self.likely


def inspect_engine(
    connection: Connection,
    endpoint: Endpoint,
    reference: str,
    candidates: Sequence[str],
    *,
    open_blob: OpenBlob,
    kind: Kind | None = None,
) -> Known:
    """Return the engine's kind, unless `kind` gives it, and the parts of its images.

    The images are `reference`, `candidates` (references or IDs) and, if the engine has none of them, other tags of the
    same repository. `open_blob` may have their manifests.
    """
    answer = _inspect(connection, reference)
    kind = kind or kind_of(connection, answer.headers)
    found = [answer.object(), *(_inspect(connection, name).object() for name in candidates)]
    if not any(_diff_ids(image) for image in found):
        found = [_inspect(connection, name).object() for name in _siblings(endpoint, reference)]
    chains = tuple(chain for chain in map(_diff_ids, found) if chain)
    blobs: set[str] = set()
    likely: set[str] = set()
    for image in found:
        stored = _stored_layers(image, open_blob) if kind == "containerd" else ()
        if stored:
            blobs.update(stored)
        elif kind == "podman" or _checks_blobs(answer.headers):
            likely.update(_diff_ids(image))
    return Known(kind=kind, chains=chains, blobs=frozenset(blobs), likely=frozenset(likely))


def find_image(connection: Connection, image: Image, kind: Kind) -> dict[str, Any] | None:
    """Return the engine's description of this image; None if it lacks the image or some of its blobs.

    The image's ID is the config's digest, and with containerd the manifest's. An image that lacks blobs can run, but
    cannot be pushed or saved.
    """
    digest = image.digest if kind == "containerd" else image.config_digest
    found = _inspect(connection, str(digest), "?manifests=1" if kind == "containerd" else "").object()
    if str(found.get("Id", "")).removeprefix("sha256:") != digest.hex:
        return None
    return None if _lacks_blobs(found, image.digest) else found


def _lacks_blobs(found: dict[str, Any], digest: Digest) -> bool:
    return any(
        (item.get("Descriptor") or {}).get("digest") == str(digest) and item.get("Available") is False
        for item in objects_in(found.get("Manifests"))
    )


def _checks_blobs(headers: Mapping[str, str]) -> bool:
    version = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", headers.get("api-version", ""), re.ASCII)
    return version is not None and (int(version[1]), int(version[2])) >= _MANIFESTS_SINCE


def _stored_layers(image: dict[str, Any], open_blob: OpenBlob) -> tuple[str, ...]:
    """Return the digests of an image's layers, if `open_blob` has the manifest that is the image's ID."""
    try:
        with open_blob(Digest.parse(str(image.get("Id")))) as file:
            layers = parse_json(file.read(MANIFEST_LIMIT))["layers"]
        return tuple(str(layer["digest"]) for layer in layers)
    except (BuildpackError, OSError, ValueError, LookupError, TypeError):
        return ()


def name_image(connection: Connection, endpoint: Endpoint, found: dict[str, Any], references: Iterable[str]) -> None:
    """Give an image the names that it lacks; raises EngineError."""
    have = {full_name(name) for name in found.get("RepoTags") or []}
    for reference in references:
        if reference in have:
            continue
        wanted = parse_reference(reference)
        query = f"repo={quote(wanted.name, safe='')}&tag={quote(wanted.tag or '', safe='')}"
        answer = connection.ask("POST", f"/images/{found['Id']}/tag?{query}")
        if answer.failure:
            raise errors.engine_refused(str(endpoint), answer.failure)


def engine_platform(connection: Connection) -> Platform | None:
    """Return the platform of the engine; None if it does not say."""
    said = connection.ask("GET", "/version").object()
    system, architecture = said.get("Os"), said.get("Arch")
    return Platform(os=str(system), architecture=str(architecture)) if system and architecture else None


def remove_image(connection: Connection, identity: Digest) -> None:
    """Remove an image without a name; layers of other images stay. A failure does not matter."""
    connection.ask("DELETE", f"/images/{identity}")


def _inspect(connection: Connection, name: str, query: str = "") -> Answer:
    return connection.ask("GET", f"/images/{quote(name, safe='/:@')}/json{query}")


def kind_of(connection: Connection, headers: Mapping[str, str]) -> Kind:
    """Return how the engine stores images, by the headers of any of its answers; ask it if they do not say."""
    server = headers.get("server", "")
    if "libpod-api-version" in headers or "Libpod" in server:
        return "podman"
    version = re.match(r"Docker/(\d{1,6})\.", server)
    if version and int(version[1]) < _CLASSIC_BEFORE:
        return "classic"
    status = connection.ask("GET", "/info").object().get("DriverStatus") or []
    return "containerd" if any("io.containerd.snapshotter" in str(row) for row in status) else "classic"


def _siblings(endpoint: Endpoint, reference: str) -> list[str]:
    """Return the newest images of the same repository, because pipelines give each build a new tag."""
    repository = parse_reference(reference).name.removeprefix("docker.io/").removeprefix("library/")
    asked = quote(json.dumps({"reference": [repository]}))
    try:
        with closing(Connection(endpoint, timeout=_PATIENCE)) as connection:
            listed = objects_in(parse_json(connection.ask("GET", f"/images/json?filters={asked}").body))
    except (BuildpackError, ValueError):
        return []
    return [str(item["Id"]) for item in listed[:_SIBLINGS] if "Id" in item]


def _diff_ids(image: dict[str, Any]) -> tuple[str, ...]:
    rootfs = image.get("RootFS")
    layers = rootfs.get("Layers") if isinstance(rootfs, dict) else None
    return tuple(str(layer) for layer in layers) if isinstance(layers, list) else ()
