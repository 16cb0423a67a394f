"""What an engine is and has, asked in as few questions as will do, and names put on its images."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError
from buildpack.errors import transfer as errors
from buildpack.oci.digest import Digest
from buildpack.oci.engine_host import Endpoint
from buildpack.oci.engine_http import Answer, Connection
from buildpack.oci.image import Image, Platform
from buildpack.oci.reference import parse_reference

__all__ = ["Kind", "Known", "engine_platform", "find_image", "kind_of", "meet", "name_image", "remove_image"]

Kind = Literal["classic", "containerd", "podman"]
"""How an engine keeps images: by chains of layers (Docker's own store), as blobs (Docker on containerd), or Podman."""

_CLASSIC_BEFORE = 23
"""Docker's first version that can keep its images in containerd."""
_SIBLINGS = 3
_PATIENCE = 2.0
"""Seconds to wait for a list of images: some engines measure every one of them first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An engine's kind, and the diff_ids of images it has that ours may share layers with, likeliest first."""

    kind: Kind
    chains: tuple[tuple[str, ...], ...]


def meet(connection: Connection, endpoint: Endpoint, reference: str, candidates: Sequence[str]) -> Known:
    """Find out what the engine is, and what it has.

    It is asked for `reference` and `candidates` (references or IDs) and, where it has none of them, for other tags
    of the same repository.
    """
    answer = _inspect(connection, reference)
    kind = kind_of(connection, answer.headers)
    found = [answer.object(), *(_inspect(connection, name).object() for name in candidates)]
    if not any(_diff_ids(image) for image in found):
        found = [_inspect(connection, name).object() for name in _siblings(endpoint, reference)]
    return Known(kind=kind, chains=tuple(chain for chain in map(_diff_ids, found) if chain))


def find_image(connection: Connection, image: Image) -> dict[str, Any] | None:
    """Return what the engine says of this image, None where it lacks it.

    Its ID is the config's digest, and with containerd the manifest's.
    """
    for digest in (image.config_digest, image.digest):
        found = _inspect(connection, str(digest)).object()
        if _is(found, (image.config_digest, image.digest)):
            return found
    return None


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


def _inspect(connection: Connection, name: str) -> Answer:
    return connection.ask("GET", f"/images/{quote(name, safe='/:@')}/json")


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


def _is(found: dict[str, Any], digests: Iterable[Digest]) -> bool:
    return str(found.get("Id", "")).removeprefix("sha256:") in {digest.hex for digest in digests}


def _full(name: str) -> str:
    try:
        return str(parse_reference(name))
    except BuildpackError:
        return name
