"""Push what was built or stored. Only blobs that a registry lacks are sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from buildpack.dataclass import replace
from buildpack.errors import delivery as errors
from buildpack.oci.digest import Digest
from buildpack.oci.image import Image
from buildpack.oci.reference import Reference, parse_reference
from buildpack.oci.store import Store

if TYPE_CHECKING:
    from buildpack.oci.index import ImageIndex
    from buildpack.oci.push import Pushed
    from buildpack.oci.transport import Transport
    from buildpack.session import Session
    from buildpack.steps.built import Built, BuiltImage


def parse_targets(texts: Sequence[str]) -> tuple[Reference, ...]:
    """Read the names that an image is to be pushed to; raises UsageError for a name that nobody may push to."""
    references = tuple(dict.fromkeys(map(parse_reference, texts)))
    for reference in references:
        if reference.digest is not None:
            raise errors.digest_asked(str(reference))
        if reference.registry == "docker.io" and reference.repository.startswith("library/"):
            raise errors.pushed_to_library(str(reference), reference.repository.removeprefix("library/"))
    return references


def connect(
    references: Sequence[str], cache_from: Sequence[str], environ: Mapping[str, str], *, pushed: bool
) -> Transport:
    """Begin to connect to the registries of these images; with `pushed` an image will be pushed to the references.

    Raises UsageError for a name that is not an image's, or that nobody may push to.
    """
    from buildpack.oci.transport import Transport

    homes = parse_targets(references) if pushed else tuple(map(parse_reference, references))
    if pushed and not homes:
        raise errors.push_unnamed()
    transport = Transport(environ, homes=(*homes, *map(parse_reference, cache_from)))
    transport.warm()
    return transport


def push_built(
    built: Built, references: Sequence[Reference], session: Session, *, gone: frozenset[str] = frozenset()
) -> Pushed:
    """Push what was built under these references.

    A layer that only a registry has is mounted, or copied from there. Images of an index are pushed by their digests,
    before the index. `gone` are blobs that the first repository turned out to lack. Raises BlobVanished if it lacks a
    blob that the store lacks too, StackError if it refuses.
    """
    images = {one.image.digest: one for one in built.images}
    assert session.transport is not None
    return _push_all(
        built.image,
        references,
        lambda image, names: _push_image(images[image.digest], names, session, gone),
        transport=session.transport,
    )


def _push_image(built: BuiltImage, references: Sequence[Reference], session: Session, gone: frozenset[str]) -> Pushed:
    from buildpack.oci.push import push_image

    assert session.transport is not None
    home = references[0].name
    named = frozenset(digest for digest in built.previous.named_in(home) if str(digest) not in gone)
    written = {made.layer.digest for made, _ in built.layers if made.source == "built"} | {built.image.config_digest}
    return push_image(
        built.image,
        references,
        session.store.open,
        transport=session.transport,
        present=named,
        # No registry has a layer that was written just now and that an image of the same app lacks.
        absent=frozenset(written - named) if named else frozenset(),
        mounts={digest: place for digest, place in _places(built).items() if place.name != home},
        observer=session.observer,
    )


def _places(built: BuiltImage) -> Mapping[Digest, Reference]:
    """Return, for layers of the base and of earlier images, an image in a registry that has each."""
    places = dict(built.elsewhere)
    if built.stack.name != "host" and not built.stack.name.startswith(("oci:", "archive:")):
        base = parse_reference(built.stack.reference)
        places |= {layer.digest: base for layer in built.stack.layers}
    return places


def find_stored(name: str, store: Store) -> Image | ImageIndex:
    """Return the image or index that the store has under this full name; raises StackError if it is not complete."""
    image = store.image_index(name) or store.image(name)
    if image is None:
        raise errors.not_stored(name, store.root)
    if missing := store.missing(image.layers):
        raise errors.not_complete(name, len(missing))
    return image


def push_stored(image: Image | ImageIndex, references: Sequence[Reference], session: Session) -> Pushed:
    """Push an image that the store has completely, or an index after its images.

    Raises StackError, and LostError if the store is damaged. Then every damaged blob is dropped, so that one build
    makes all of them again.
    """
    from buildpack.errors import LostError
    from buildpack.oci.push import push_image

    store, transport, observer = session.store, session.transport, session.observer
    assert transport is not None

    def push(each: Image, names: Sequence[Reference]) -> Pushed:
        bases = _bases(each, names[0].registry, store)
        return push_image(each, names, store.open, transport=transport, mounts=bases, observer=observer)

    try:
        return _push_all(image, references, push, transport=transport)
    except LostError as lost:
        store.drop_damaged()
        raise errors.more_lost(lost, len(store.missing(image.layers))) from None


def _bases(image: Image, registry: str, store: Store) -> dict[Digest, Reference]:
    """Return the name under which this registry has the base, for each layer of the base: they need not be sent."""
    from buildpack.stacks.registry import names_of
    from buildpack.steps.reuse import parse_claims

    base = parse_claims(image).stack
    names = map(parse_reference, names_of(base, store) if base is not None else ())
    found = next((name for name in names if name.registry == registry), None)
    return {layer.digest: found for layer in image.layers if not layer.key} if found is not None else {}


def _push_all(
    image: Image | ImageIndex,
    references: Sequence[Reference],
    push: Callable[[Image, Sequence[Reference]], Pushed],
    *,
    transport: Transport,
) -> Pushed:
    """Push an image, or the images of an index and then the index; add up the fates of their blobs."""
    if isinstance(image, Image):
        return push(image, references)
    from buildpack.oci.push import push_index

    members = []
    for each in image.images:
        by_digest = [replace(reference, tag=None, digest=each.digest) for reference in references]
        members.append(push(each, list(dict.fromkeys(by_digest))))
    sent, mounted, present = (
        tuple(dict.fromkeys(digest for member in members for digest in getattr(member, fate)))
        for fate in ("sent", "mounted", "present")
    )
    pushed = push_index(image.manifest, references, transport=transport, media_type=image.media_type)
    # Blobs that the first image sent were present for the next one.
    moved = {*sent, *mounted}
    return replace(pushed, sent=sent, mounted=mounted, present=tuple(each for each in present if each not in moved))
