"""The outcome of a build for one platform or several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildpack.dataclass import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildpack.build import Built
    from buildpack.oci.image import Image, Platform
    from buildpack.oci.index import ImageIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the references of a build name: the image of its only platform, or the index of all its `images`.

    `images` are in the index's order. `warnings` are those of all platforms and of the delivery.
    """

    image: Image | ImageIndex
    images: tuple[Built, ...]
    warnings: tuple[str, ...]
    seconds: float
    unchanged: bool

    @property
    def references(self) -> tuple[str, ...]:
        """The names that the image or index was built for."""
        return self.images[0].references

    @property
    def kept(self) -> bool:
        """True if the store has all of it, and knows it by its references; else a registry alone has some layers."""
        return not any(one.elsewhere for one in self.images)

    def image_for(self, platform: Platform) -> Built:
        """Return the outcome for a platform."""
        return next(one for one in self.images if one.stack.platform == platform)

    def warning(self, texts: Sequence[str]) -> Made:
        """Return the same outcome with further warnings."""
        return replace(self, warnings=(*self.warnings, *texts)) if texts else self


def made_of(built: Built) -> Made:
    """Return the outcome of a build for one platform."""
    return Made(
        image=built.image, images=(built,), warnings=built.warnings, seconds=built.seconds, unchanged=built.unchanged
    )
