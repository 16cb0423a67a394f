"""Pushes what was built: what a registry lacks of it, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from buildpack.build import Built
from buildpack.errors import previous as errors
from buildpack.oci.digest import Digest
from buildpack.oci.image import Image
from buildpack.oci.reference import Reference, parse_reference
from buildpack.oci.store import Store
from buildpack.progress import Observer
from deployer.cli.messages import plural, size_text

if TYPE_CHECKING:
    from buildpack.oci.push import Pushed
    from buildpack.oci.transport import Transport

__all__ = ["parse_targets", "push_built", "push_stored", "pushed_text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Opens blobs for a push: those of the store, verified as they are read."""

    store: Store

    def __call__(self, digest: Digest) -> BinaryIO:
        if not self.store.has(digest):
            raise FileNotFoundError(str(digest))
        return self.store.open(digest)


def parse_targets(texts: Sequence[str]) -> tuple[Reference, ...]:
    """Read the names that an image is to be pushed to; raises UsageError for one that nobody may push to."""
    references = tuple(dict.fromkeys(map(parse_reference, texts)))
    for text, reference in zip(texts, references, strict=False):
        if reference.registry == "docker.io" and reference.repository.startswith("library/"):
            raise errors.pushed_to_library(text, reference.repository.removeprefix("library/"))
    return references


def push_built(
    built: Built,
    references: Sequence[Reference],
    *,
    store: Store,
    transport: Transport,
    observer: Observer,
    gone: frozenset[str] = frozenset(),
) -> Pushed:
    """Push the image under these references; a layer that only a registry has is mounted or passed on from there.

    `gone` are blobs that the first repository turned out to lack. Raises BlobVanished where it lacks one that is not
    here, StackError where it refuses.
    """
    from buildpack.oci.push import push_image

    home = references[0].name
    named = frozenset(digest for digest in built.previous.named_in(home) if str(digest) not in gone)
    written = {made.layer.digest for made, _ in built.layers if made.source == "built"} | {built.image.config_digest}
    return push_image(
        built.image,
        references,
        _Source(store=store),
        transport=transport,
        present=named,
        # What was written just now, and an image of the same app lacks, no registry has.
        absent=frozenset(written - named) if named else frozenset(),
        mounts={digest: place for digest, place in _places(built).items() if place.name != home},
        observer=observer,
    )


def _places(built: Built) -> Mapping[Digest, Reference]:
    """Return which images in registries have which layers: the base, and earlier images."""
    places = dict(built.elsewhere)
    if not built.stack.name.startswith(("host", "oci:", "archive:")):
        base = parse_reference(built.stack.reference)
        places |= {layer.digest: base for layer in built.stack.layers}
    return places


def push_stored(
    image: Image, name: str, references: Sequence[Reference], *, store: Store, transport: Transport, observer: Observer
) -> Pushed:
    """Push an image of the store, which is called `name` there; raises StackError where it lacks layers."""
    from buildpack.oci.push import push_image

    if missing := store.missing(image):
        raise errors.not_complete(name, len(missing))
    return push_image(image, references, _Source(store=store), transport=transport, observer=observer)


def pushed_text(pushed: Pushed, image: Image) -> str:
    """Say in words what was sent, and what was not."""
    sizes = {layer.digest: layer.size for layer in image.layers}
    sent = [digest for digest in pushed.sent if digest in sizes]
    names = ", ".join(_without_digest(reference) for reference in pushed.references)
    parts = [
        f"{plural(len(sent), 'layer')}, {size_text(sum(sizes[digest] for digest in sent))}" if sent else "no layer"
    ]
    for word, digests in (("mounted", pushed.mounted), ("there already", pushed.present)):
        if count := sum(digest in sizes for digest in digests):
            parts.append(f"{count} {word}")
    return f"to {names}: {'; '.join(parts)}"


def _without_digest(reference: Reference) -> str:
    return f"{reference.name}:{reference.tag}" if reference.tag else str(reference)
