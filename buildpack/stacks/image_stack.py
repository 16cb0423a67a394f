"""Makes a stack of an image in a registry or on disk, and reads the image's layers as rarely as possible."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.bounded import parse_json, series_of
from buildpack.dataclass import dataclass, replace
from buildpack.errors import stacks as errors
from buildpack.errors.build import facts_contradicted
from buildpack.oci.digest import Digest
from buildpack.oci.image import Image, Layer, Platform
from buildpack.oci.store import Store
from buildpack.stacks.facts import FACTS_FORMAT, read_facts
from buildpack.stacks.platforms import platform_of
from buildpack.stacks.stack import Facts, Stack

if TYPE_CHECKING:
    from buildpack.oci.layout import DiskImages

_KIND = "stack"
_UNPACKED = "unpacked"
_APP = "dev.deploy.lock"
"""The label of an app's image, which has packages of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An image that was looked up for a stack; `fetch` brings layers of it into the store.

    The other fields are those of the stack.
    """

    image: Image
    name: str
    reference: str
    platform: Platform
    fetch: Callable[[Sequence[Layer]], None]
    warnings: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = ()
    expires: float | None = None


def make_stack(
    base: Base, python: str | None, *, store: Store, known_facts: Callable[[Digest], Facts | None] | None
) -> Stack:
    """Make the stack of a base; its layers are fetched only if its facts are not known yet.

    Raises StackError if the image cannot be a base, AppError if it has another Python than the app asks for.
    """
    image = base.image
    config = parse_json(image.config).get("config") or {}
    if _APP in (config.get("Labels") or {}):
        raise errors.app_as_base(base.name)
    key = f"{image.digest}+{FACTS_FORMAT}"
    facts = Facts.parse(store.recall(_KIND, key))
    claim = known_facts(image.digest) if facts is None and known_facts is not None else None
    if claim is not None and platform_of(claim.machine).architecture != base.platform.architecture:
        claim = None
    if facts is None and claim is None:
        base.fetch(image.layers)
        facts = read_facts(unpacked(image.digest, image.layers, store, stack=base.name), config, stack=base.name)
        store.remember(_KIND, key, facts.render())
    known = facts or claim
    assert known is not None
    return Stack(
        name=base.name,
        reference=base.reference,
        digest=image.digest,
        platform=base.platform,
        layers=image.layers,
        config=config,
        facts=known,
        warnings=(*base.warnings, *_compare(base.name, python, known.python.version, known.python.series)),
        witnesses=base.witnesses,
        expires=base.expires,
        claimed=facts is None,
    )


def confirm_facts(stack: Stack, root: Path, store: Store) -> None:
    """Compare an earlier image's facts about this base with the base below `root`; raises FactsContradicted."""
    if Facts.parse(store.recall(_KIND, f"{stack.digest}+{FACTS_FORMAT}")) is not None:
        return
    facts = read_facts(root, stack.config, stack=stack.name)
    if replace(facts, sonames=stack.facts.sonames) != stack.facts:
        raise facts_contradicted(stack.name, str(stack.digest))
    store.remember(_KIND, f"{stack.digest}+{FACTS_FORMAT}", facts.render())


def _compare(name: str, asked: str | None, version: str, series: str) -> list[str]:
    if asked is None or asked in (version, series):
        return []
    if series_of(asked) != series:
        raise errors.wrong_python(name, asked, version)
    return [errors.other_patch_level(asked, version)]


def unpacked(digest: Digest, layers: Sequence[Layer], store: Store, *, stack: str) -> Path:
    """Return the folder with the base's interpreter and libraries; unpack it from the store if necessary.

    The folder of an earlier build is used again only if it still has its hash.
    """
    from buildpack.stacks.extract import Tree, apply_layer, hash_tree

    place = store.folder("stacks") / digest.hex
    found = store.lease.use(place)
    if found:
        known = store.recall(_UNPACKED, digest.hex)
        if known and known == hash_tree(place):
            return place
    with store.temporary_folder() as scratch:
        tree = Tree(scratch, stack)
        for layer in layers:
            with store.open(layer.digest) as blob:
                apply_layer(tree, blob, layer.media_type)
        tree.settle(scratch / "root")
        # Remembered before the folder exists. Each build that unpacks this base remembers the same hash.
        store.remember(_UNPACKED, digest.hex, hash_tree(scratch / "root"))
        with suppress(OSError):
            # Another build's new folder stays: its interpreter may run from it.
            if found and place.stat().st_ino == found.st_ino:
                place.rename(scratch / "damaged")
        try:
            (scratch / "root").rename(place)
        except OSError:
            # Another build was faster.
            if not place.is_dir():
                raise
    return place


# Images on disk


@contextmanager
def open_base(value: str, platform: Platform, store: Store) -> Iterator[Base]:
    """Open the image that a folder (``oci:DIR``) or file (``archive:FILE``) holds for `platform`.

    Either may end in ``:NAME`` if it holds several images. Each build reads it again. Raises StackError if that fails.
    """
    from buildpack.oci.layout import open_layout, split_name

    path, name = split_name(value.partition(":")[2])
    with open_layout(path, scratch=store.folder("tmp"), origin=value) as images:
        image = images.image(platform, name)
        yield Base(
            image=image,
            name=value,
            reference=f"{value}@{image.digest}",
            platform=platform,
            fetch=lambda layers: _copy(images, layers, store),
            witnesses=tuple(_witnesses(value)),
        )


def copy_layers(value: str, layers: Sequence[Layer], store: Store) -> None:
    """Copy the blobs that the store lacks, verified; raises StackError."""
    from buildpack.oci.layout import open_layout, split_name

    path, _ = split_name(value.partition(":")[2])
    with open_layout(path, scratch=store.folder("tmp"), origin=value) as images:
        _copy(images, layers, store)


def _witnesses(value: str) -> list[str]:
    """List the paths whose change gives another stack: the archive, or the layout's files with all blobs."""
    found = [value.partition(":")[2]]
    # The longest path that exists counts; the rest is an image's name.
    while not os.path.exists(found[-1]) and ":" in found[-1]:
        found.append(found[-1].rpartition(":")[0])
    path = Path(found[-1])
    if os.path.isdir(path):
        blobs = path / "blobs" / "sha256"
        found += [str(path / name) for name in ("index.json", "oci-layout", "manifest.json")]
        found += [str(blobs), *(str(blob) for blob in sorted(blobs.iterdir()))] if os.path.isdir(blobs) else []
    return found


def _copy(images: DiskImages, layers: Sequence[Layer], store: Store) -> None:
    for layer in store.missing(layers):
        with store.blob() as blob:
            images.fetch_blob(layer.digest, layer.size, blob)
            blob.commit(layer.digest)
