"""Attaches an image's bill of materials to it in the registry, as a referrer (distribution specification 1.1).

It comes after the image and its tags, so that nothing waits for it, and a failure does not fail the push.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import MANIFEST, Image, canonical_json
from buildpack.oci.reference import Reference
from buildpack.steps.sbom import MEDIA_TYPE, make_sbom

if TYPE_CHECKING:
    from buildpack.oci.index import ImageIndex
    from buildpack.oci.transport import Transport

_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """A manifest whose subject is an image, and its blobs; the same bytes for the same image."""

    subject: Digest
    manifest: bytes
    blobs: dict[Digest, bytes]

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return sha256(self.manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The outcome for one bill of materials in one repository: `sent`, or there already, or `trouble` says why neither.

    `note` says why the registry's own list of referrers could not be read, so that a tag lists it.
    """

    sent: bool
    trouble: str = ""
    note: str = ""


def make_referrer(image: Image) -> Referrer:
    """Make the manifest that carries the bill of materials of an image (OCI image specification 1.1, manifest.md)."""
    sbom = make_sbom(image)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": MEDIA_TYPE,
        "config": {"mediaType": _EMPTY_TYPE, "digest": str(sha256(_EMPTY)), "size": len(_EMPTY)},
        "layers": [{"mediaType": MEDIA_TYPE, "digest": str(sha256(sbom)), "size": len(sbom)}],
        "subject": {"mediaType": image.media_type, "digest": str(image.digest), "size": len(image.manifest)},
    }
    return Referrer(
        subject=image.digest,
        manifest=canonical_json(manifest),
        blobs={sha256(_EMPTY): _EMPTY, sha256(sbom): sbom},
    )


def attach_sboms(
    images: Sequence[Image], references: Sequence[Reference], *, transport: Transport
) -> tuple[Attached, ...]:
    """Attach to each image its bill of materials, in each repository that lacks it; the images must be there.

    A registry's refusal is returned, not raised.
    """
    repositories = list({(each.registry, each.repository): each for each in references}.values())
    referrers = [make_referrer(image) for image in images]

    def attach(repository: Reference) -> list[Attached]:
        # One after the other, because they share a blob, and some registries confuse two uploads of it at once.
        return [_attach(referrer, repository, transport) for referrer in referrers]

    if len(repositories) == 1:
        return tuple(attach(repositories[0]))
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="sbom") as pool:
        return tuple(done for each in pool.map(attach, repositories) for done in each)


def attached_text(image: Image | ImageIndex, references: Sequence[Reference], *, transport: Transport) -> str:
    """Attach the bills of materials to an image, or to all images of an index, and return a text on the outcome."""
    images = (image,) if isinstance(image, Image) else image.images
    done = attach_sboms(images, references, transport=transport)
    troubles = [each.trouble for each in done if each.trouble]
    if troubles:
        return f"no bill of materials: {troubles[0]}"
    text = f"bill of materials {'attached' if any(each.sent for each in done) else 'there already'}"
    notes = [each.note for each in done if each.note]
    return f"{text}, listed by a tag ({notes[0].rstrip('.')})" if notes else text


def _attach(referrer: Referrer, repository: Reference, transport: Transport) -> Attached:
    from buildpack.oci.referrers import fetch_referrers, push_referrer
    from buildpack.oci.registry import Registry

    trouble = ""
    found = fetch_referrers(Registry(repository, transport, writes=True), referrer.subject, MEDIA_TYPE)
    there, note = found.has(referrer.digest), found.trouble
    try:
        if not there:
            push_referrer(referrer.manifest, referrer.blobs, repository, transport=transport)
    except BuildpackError as error:
        trouble = f"{error.what} ({error.why.partition(chr(10))[0].rstrip('.')})"
    return Attached(sent=not there and not trouble, trouble=trouble, note=note)
