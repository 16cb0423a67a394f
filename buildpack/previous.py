"""The earlier images that a build may take layers from: looked up in their registries while the app is read.

An image that is not there, cannot be read, is for another platform or lost its annotations is a reason to build, told
as such, and never an error; except where the new one has to be pushed to a registry that does not let us in.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buildpack.claims import NOTHING, Claims, find_layers, parse_claims
from buildpack.errors import BuildpackError
from buildpack.errors import previous as errors
from buildpack.oci.digest import Digest
from buildpack.oci.image import Image, Layer, Platform
from buildpack.oci.reference import Reference
from buildpack.plan import PlannedLayer

if TYPE_CHECKING:
    from buildpack.oci.transport import Transport
    from buildpack.stacks.stack import Stack

__all__ = ["NONE", "Earlier", "Lookup", "Previous", "Taken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """One image that was looked up: `image` is None, and `reason` says why, where it is of no use.

    `reference` is as it was named; `claims` is what the image says of itself.
    """

    reference: Reference
    image: Image | None = None
    claims: Claims = NOTHING
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A layer of an earlier image, and the image's name."""

    layer: Layer
    reference: Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """The earlier images in the order they were named; of two that have a layer the first one counts."""

    images: tuple[Earlier, ...] = ()

    def facts(self, digest: Digest) -> Any:
        """Return what an image says of the base with this digest, as `Facts.parse` reads it; None for nothing."""
        found = (each.claims.facts for each in self.images if each.claims.stack == digest)
        facts = next((facts for facts in found if facts is not None), None)
        return None if facts is None else facts.render()

    def claims(self, stack: Stack) -> Claims:
        """Return what is believed of the first image that stood on this stack, or on one like it."""
        believed = [each.claims.on(stack) for each in self.images]
        same = [claims for claims in believed if claims.stack == stack.digest]
        return next((claims for claims in (*same, *believed) if claims is not NOTHING), NOTHING)

    def take(
        self, planned: Sequence[PlannedLayer], *, excluded: frozenset[Digest]
    ) -> tuple[dict[str, Taken], dict[str, str]]:
        """Return, by key, the layers that fit the plan, and why others that claim to are not taken.

        `excluded` are blobs that turned out to be gone.
        """
        taken: dict[str, Taken] = {}
        doubts: dict[str, str] = {}
        for each in self.images:
            if each.image is None:
                continue
            found = find_layers(planned, each.image)
            for key, layer in found.layers.items():
                if layer.digest in excluded:
                    doubts.setdefault(key, errors.vanished(str(each.reference)))
                else:
                    taken.setdefault(key, Taken(layer=layer, reference=each.reference))
            for key, doubt in found.doubts.items():
                doubts.setdefault(key, errors.doubted(str(each.reference), doubt))
        return taken, doubts

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the first image that could be read."""
        return next((each.image.layers for each in self.images if each.image is not None), ())

    @property
    def reason(self) -> str:
        """Why no layer could be taken at all; empty where one could."""
        if not self.images or any(each.image is not None and not each.reason for each in self.images):
            return ""
        return "; ".join(each.reason for each in self.images)

    def named_in(self, repository: str) -> frozenset[Digest]:
        """Return the blobs that manifests name which were read just now from this repository."""
        return frozenset(
            digest
            for each in self.images
            if each.image is not None and each.reference.name == repository
            for digest in (each.image.config_digest, *(layer.digest for layer in each.image.layers))
        )


NONE = Previous()


class Lookup:
    """Fetches manifests and configs in threads of its own from the start; `result` waits for them.

    `pushed` is among the references where the new image goes there: then a refusal to let us in is an error at once,
    and not after an hour of building.
    """

    def __init__(
        self,
        references: Sequence[Reference],
        *,
        platform: Platform,
        transport: Transport,
        pushed: Reference | None = None,
    ) -> None:
        self._references = tuple(references)
        self._platform = platform
        self._transport = transport
        self._pushed = pushed
        self._found: dict[Reference, Earlier | BaseException] = {}
        self._threads = [
            threading.Thread(target=self._look_up, args=(reference,), daemon=True) for reference in self._references
        ]
        for thread in self._threads:
            thread.start()

    def result(self) -> Previous:
        """Return what was found; raises StackError where a registry that we push to refuses."""
        for thread in self._threads:
            thread.join()
        images = []
        for reference in self._references:
            found = self._found[reference]
            if isinstance(found, BaseException):
                raise found
            images.append(found)
        return Previous(images=tuple(images))

    def _look_up(self, reference: Reference) -> None:
        try:
            self._found[reference] = self._fetch(reference)
        except BaseException as error:  # noqa: BLE001  it is raised where the result is asked for
            self._found[reference] = error

    def _fetch(self, reference: Reference) -> Earlier:
        from buildpack.errors.registry import NotFound
        from buildpack.oci.registry import Registry

        name = str(reference)
        try:
            with Registry(reference, transport=self._transport, writes=reference == self._pushed) as registry:
                image = registry.fetch_image(self._platform).image
        except NotFound:
            return Earlier(reference=reference, reason=errors.not_there(name, own=reference == self._pushed))
        except BuildpackError as error:
            return Earlier(reference=reference, reason=errors.not_readable(name, error))
        claims = parse_claims(image)
        told = any(layer.key for layer in image.layers)
        return Earlier(reference=reference, image=image, claims=claims, reason="" if told else errors.no_keys(name))
