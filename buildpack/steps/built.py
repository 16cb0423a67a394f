"""The outcome of a build: an image for each of its platforms, and what the references name."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from buildpack.app.read import App
from buildpack.dataclass import dataclass, field
from buildpack.oci.digest import Digest
from buildpack.oci.image import Image, Layer, Platform
from buildpack.oci.reference import Reference
from buildpack.oci.store import Store
from buildpack.options import Destination
from buildpack.stacks.stack import Stack
from buildpack.steps.assembly import MadeLayer, Origin
from buildpack.steps.earlier_images import NONE, Previous

if TYPE_CHECKING:
    from buildpack.oci.index import ImageIndex
    from buildpack.oci.push import Pushed


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """The image for one platform, and the origin of each part.

    `stack_layers` and `layers` (ours) are in order, each with its origin and the reason why it was not reused.
    `previous` are the earlier images that the build looked at. `elsewhere` names, for each layer that is not in the
    store, an image in a registry that has it. An image with such layers is not in the store under its references.
    """

    app: App
    stack: Stack
    image: Image
    references: tuple[str, ...]
    stack_layers: tuple[tuple[Layer, Origin, str], ...]
    layers: tuple[tuple[MadeLayer, str], ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float
    unchanged: bool
    previous: Previous = NONE
    elsewhere: Mapping[Digest, Reference] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """An image's way to one destination.

    `layers` and `size`, in bytes, are those that an engine was sent, and `reason` says why so many; `size` is also that
    of an archive. `pushed` has the fate of each blob that a registry needed.
    """

    destination: Destination
    layers: int = 0
    size: int = 0
    reason: str = ""
    pushed: Pushed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The outcome of a build: an image for each of its platforms.

    `image` is the value that the references name: the image of the only platform, or the index of all `images`, which
    are in the index's order. `warnings` are those of all platforms. `unchanged` is true if an equal build came before.
    `delivered` has an entry for each destination.
    """

    image: Image | ImageIndex
    images: tuple[BuiltImage, ...]
    warnings: tuple[str, ...]
    seconds: float
    unchanged: bool

    delivered: tuple[Delivered, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """The full names of the image or index."""
        return self.images[0].references

    @property
    def kept(self) -> bool:
        """True if the store has every layer, and knows the image by its references."""
        return not any(one.elsewhere for one in self.images)

    def image_for(self, platform: Platform) -> BuiltImage:
        """Return the image for a platform."""
        return next(one for one in self.images if one.stack.platform == platform)


def alone(one: BuiltImage) -> Built:
    """Return the outcome of a build for one platform."""
    return Built(image=one.image, images=(one,), warnings=one.warnings, seconds=one.seconds, unchanged=one.unchanged)


def indexed(images: Sequence[BuiltImage], store: Store, begin: float) -> Built:
    """Name the index of these images, one for each platform, by their references."""
    from buildpack.oci.index import assemble_index

    index = assemble_index(one.image for one in images)
    if any(one.elsewhere for one in images):
        changed = not all(one.unchanged for one in images)
    else:
        changed = store.put_image(index, images[0].references)
    order = {image.digest: position for position, image in enumerate(index.images)}
    ordered = tuple(sorted(images, key=lambda one: order[one.image.digest]))
    return Built(
        image=index,
        images=ordered,
        warnings=_joined_warnings(ordered),
        seconds=time.perf_counter() - begin,
        unchanged=not changed,
    )


def _joined_warnings(images: Sequence[BuiltImage]) -> tuple[str, ...]:
    """Return each warning once. One that only concerns some platforms begins with their names."""
    platforms: dict[str, list[str]] = {}
    for one in images:
        for text in one.warnings:
            platforms.setdefault(text, []).append(str(one.stack.platform))
    everywhere = len(images)
    return tuple(
        text if len(names) == everywhere else f"{', '.join(names)}: {text}" for text, names in platforms.items()
    )
