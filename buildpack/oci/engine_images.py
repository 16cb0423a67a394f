"""Asks an engine what it is and has, in as few requests as possible, and names its images."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError
from buildpack.errors import transfer as errors
from buildpack.oci.digest import Digest
from buildpack.oci.engine_host import Endpoint
from buildpack.oci.engine_http import Answer, Connection
from buildpack.oci.image import Image, Layer, Platform
from buildpack.oci.manifest import MANIFEST_LIMIT
from buildpack.oci.reference import parse_reference

if TYPE_CHECKING:
    from buildpack.oci.archive import OpenBlob

Kind = Literal["classic", "containerd", "podman"]
"""How an engine keeps images: by chains of layers (Docker's own store), as blobs (Docker on containerd), or Podman."""

_CLASSIC_BEFORE = 23
"""Docker's first version that can keep its images in containerd."""
_MANIFESTS_SINCE = (1, 48)
"""Docker's first API version that says whether it has every blob of an image."""
_SIBLINGS = 3
_PATIENCE = 2.0
"""Seconds to wait for a list of images: some engines measure every one of them first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An engine's kind, and what its images that may share layers with ours consist of.

    `chains` are their diff_ids, likeliest image first. `blobs` are the digests of blobs that the engine has. `likely`
    are diff_ids of layers whose blobs it may have: once it has the image it says whether one is missing.
    """

    kind: Kind
    chains: tuple[tuple[str, ...], ...] = ()
    blobs: frozenset[str] = frozenset()
    likely: frozenset[str] = frozenset()

    def may_have(self, layer: Layer) -> bool:
        """Tell whether a layer need not be sent at first, wherever in an image it is."""
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
    """Find out what the engine is, unless `kind` says so, and what it has.

    It is asked for `reference` and `candidates` (references or IDs) and, if it has none of them, for other tags of the
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
    """Return what the engine says of this image, None if it lacks the image or some of its blobs.

    Its ID is the config's digest, and with containerd the manifest's. An image that lacks blobs can run there, and
    can be neither pushed nor saved.
    """
    digest = image.digest if kind == "containerd" else image.config_digest
    found = _inspect(connection, str(digest), "?manifests=1" if kind == "containerd" else "").object()
    if str(found.get("Id", "")).removeprefix("sha256:") != digest.hex:
        return None
    return None if _lacks_blobs(found, image.digest) else found


def _lacks_blobs(found: dict[str, Any], digest: Digest) -> bool:
    listed = found.get("Manifests")
    return isinstance(listed, list) and any(
        isinstance(item, dict)
        and (item.get("Descriptor") or {}).get("digest") == str(digest)
        and item.get("Available") is False
        for item in listed
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
    have = {_full(name) for name in found.get("RepoTags") or []}
    for reference in references:
        if reference in have:
            continue
        wanted = parse_reference(reference)
        query = f"repo={quote(wanted.name, safe='')}&tag={quote(wanted.tag or '', safe='')}"
        answer = connection.ask("POST", f"/images/{found['Id']}/tag?{query}")
        if answer.failure:
            raise errors.engine_refused(str(endpoint), answer.failure)


def engine_platform(connection: Connection) -> Platform | None:
    """Return the platform that the engine runs images for, None where it does not say."""
    said = connection.ask("GET", "/version").object()
    system, architecture = said.get("Os"), said.get("Arch")
    return Platform(os=str(system), architecture=str(architecture)) if system and architecture else None


def remove_image(connection: Connection, identity: Digest) -> None:
    """Remove an image without a name; its layers stay where others use them. A failure does not matter."""
    connection.ask("DELETE", f"/images/{identity}")


def _inspect(connection: Connection, name: str, query: str = "") -> Answer:
    return connection.ask("GET", f"/images/{quote(name, safe='/:@')}/json{query}")


def kind_of(connection: Connection, headers: Mapping[str, str]) -> Kind:
    """Tell how the engine keeps images, by the headers of any answer of it; where these leave it open it is asked."""
    server = headers.get("server", "")
    if "libpod-api-version" in headers or "Libpod" in server:
        return "podman"
    version = re.match(r"Docker/(\d{1,6})\.", server)
    if version and int(version[1]) < _CLASSIC_BEFORE:
        return "classic"
    status = connection.ask("GET", "/info").object().get("DriverStatus") or []
    return "containerd" if any("io.containerd.snapshotter" in str(row) for row in status) else "classic"


def _siblings(endpoint: Endpoint, reference: str) -> list[str]:
    """Return the newest images of the same repository: pipelines give each build a tag of its own."""
    repository = parse_reference(reference).name.removeprefix("docker.io/").removeprefix("library/")
    asked = quote(json.dumps({"reference": [repository]}))
    connection = Connection(endpoint, timeout=_PATIENCE)
    try:
        listed = parse_json(connection.ask("GET", f"/images/json?filters={asked}").body)
    except (BuildpackError, ValueError):
        return []
    finally:
        connection.close()
    if not isinstance(listed, list):
        return []
    return [str(item["Id"]) for item in listed[:_SIBLINGS] if isinstance(item, dict) and "Id" in item]


def _diff_ids(image: dict[str, Any]) -> tuple[str, ...]:
    rootfs = image.get("RootFS")
    layers = rootfs.get("Layers") if isinstance(rootfs, dict) else None
    return tuple(str(layer) for layer in layers) if isinstance(layers, list) else ()


def _full(name: str) -> str:
    try:
        return str(parse_reference(name))
    except BuildpackError:
        return name
