"""Lists and pushes manifests that refer to another one, such as bills of materials.

A registry keeps a list of referrers, or the tag ``sha256-<hex>`` of the subject is that list (distribution
specification 1.1, "Listing Referrers" and "Referrers Tag Schema").
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from buildpack.bounded import objects_in, parse_object
from buildpack.dataclass import dataclass
from buildpack.errors import StackError
from buildpack.errors import registry as errors
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import INDEX, MANIFEST
from buildpack.oci.index import render_index
from buildpack.oci.push import Push
from buildpack.oci.reference import Reference
from buildpack.oci.registry import Registry
from buildpack.oci.transport import Transport

_PAGES = 100
"""How many pages of a list of referrers are read."""
_TRIES = 3
"""How often a tag of referrers is written until it lists the new one: other writers may replace it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrers:
    """The descriptors of manifests that refer to another one.

    `trouble` says why the registry's own list could not be read; "" if it could, or if there is none.
    """

    listed: tuple[dict[str, Any], ...] = ()
    trouble: str = ""

    def has(self, digest: Digest) -> bool:
        """Return True if the manifest with this digest is among them."""
        return any(item.get("digest") == str(digest) for item in self.listed)

    def of_type(self, artifact_type: str | None) -> Referrers:
        """Return those of one type; all if it is None."""
        listed = tuple(item for item in self.listed if artifact_type in {None, item.get("artifactType")})
        return Referrers(listed=listed, trouble=self.trouble)


def fetch_referrers(registry: Registry, digest: Digest, artifact_type: str | None = None) -> Referrers:
    """Return the referrers of a manifest, all or those of one type.

    They come from the registry's own list, or from the tag if that list cannot be read or is empty. Raises nothing:
    without either list there are no referrers.
    """
    query = {"artifactType": artifact_type} if artifact_type else None
    trouble = ""
    try:
        listed = _read_pages(registry, registry.url(f"/referrers/{digest}", query), look=True)
    except StackError as error:
        listed, trouble = (), error.why.partition("\n")[0]
    # A registry may ignore the type, and the tag always lists all types.
    found = Referrers(listed=listed, trouble=trouble).of_type(artifact_type)
    if found.listed:
        return found
    try:
        listed = _fetch_tagged(registry, digest, look=True).listed
    except StackError:
        return found
    return Referrers(listed=listed, trouble=trouble).of_type(artifact_type)


def push_referrer(raw: bytes, blobs: Mapping[Digest, bytes], repository: Reference, *, transport: Transport) -> Digest:
    """Push a manifest with a ``subject``, and its blobs, so that a list of the subject's referrers has it.

    If the registry keeps no list of referrers, or its list lacks the new one afterwards, the tag lists it. Raises
    StackError if the tag does not list it afterwards either.
    """
    digest, manifest = sha256(raw), json.loads(raw)
    subject = Digest.parse(manifest["subject"]["digest"])
    push = Push(reference=repository, transport=transport, open_blob=lambda each: io.BytesIO(blobs[each]))
    push.run({each: len(content) for each, content in blobs.items()})
    registry = Registry(repository, transport, writes=True)
    listed = registry.push_manifest(raw, MANIFEST, digest)
    if not (listed and fetch_referrers(registry, subject).has(digest)):
        _add_to_tag(registry, subject, _descriptor(raw, manifest))
    return digest


def _descriptor(raw: bytes, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the descriptor that a list of referrers has for this manifest."""
    kind = manifest.get("artifactType") or manifest.get("config", {}).get("mediaType", "")
    made = {"mediaType": manifest.get("mediaType", MANIFEST), "digest": str(sha256(raw)), "size": len(raw)}
    annotations = manifest.get("annotations")
    return {**made, "artifactType": kind, **({"annotations": annotations} if annotations else {})}


def _add_to_tag(registry: Registry, subject: Digest, referrer: Mapping[str, Any]) -> None:
    """Add a referrer to the tag, and again until the tag lists it, because tags have no locks."""
    digest = Digest.parse(referrer["digest"])
    found = _fetch_tagged(registry, subject)
    for _ in range(_TRIES):
        if found.has(digest):
            return
        registry.push_manifest(render_index([*found.listed, referrer]), INDEX, f"sha256-{subject.hex}")
        found = _fetch_tagged(registry, subject)
    if not found.has(digest):
        raise errors.not_listed(str(registry.reference), str(digest), str(subject))


def _fetch_tagged(registry: Registry, digest: Digest, *, look: bool = False) -> Referrers:
    """Return the referrers that the tag lists."""
    try:
        url = registry.url(f"/manifests/sha256-{digest.hex}")
        return Referrers(listed=_read_pages(registry, url, look=look))
    except errors.AccessDenied:
        # Some registries answer 403 for a missing tag. It is missing only if we may read the subject.
        if registry.find_digest(digest) != digest:
            raise
        return Referrers()


def _read_pages(registry: Registry, url: str, *, look: bool) -> tuple[dict[str, Any], ...]:
    """Return the descriptors on all pages of an index; an empty list if the registry has no index."""
    listed: list[dict[str, Any]] = []
    for _ in range(_PAGES):
        found = registry.read(url, accept=[INDEX], optional=True, look=look)
        if found is None or found[1].get("Content-Type", "").partition(";")[0].strip() != INDEX:
            # Some servers answer every request with a web page.
            break
        listed += objects_in(parse_object(found[0]).get("manifests"))
        following = _next_page(found[1].get("Link", ""))
        target = registry.resolved(url, following) if following else None
        if target is None:
            break
        url = target
    return tuple(listed)


def _next_page(link: str) -> str | None:
    """Return the next page of a list by its Link field (RFC 8288); None at its end."""
    if not link:
        return None
    from requests.utils import parse_header_links

    return next((each["url"] for each in parse_header_links(link) if each.get("rel") == "next"), None)
