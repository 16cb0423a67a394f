"""Look up the earlier images that a build may take layers from, in their registries, while the app is read.

An image that is missing, unreadable, for another platform or without annotations is a reason to build, and never an
error. If a registry that the new image goes to refuses the look-up, the build asks it for an upload. If it refuses that
too, the build ends at once, and not after an hour.
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError, StackError
from buildpack.errors import build as errors
from buildpack.oci.digest import Digest
from buildpack.oci.image import Image, Layer, Platform
from buildpack.oci.reference import Reference
from buildpack.oci.store import Store
from buildpack.plan import PlannedLayer
from buildpack.steps.reuse import NOTHING, Claims, find_host_layers, find_layers, parse_claims

if TYPE_CHECKING:
    from buildpack.oci.blobs import BlobWriter
    from buildpack.oci.transport import Transport
    from buildpack.stacks.stack import Facts, Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """One image that was looked up. If it does not help, `image` is None and `reason` says why.

    `reference` is the name that was given. `claims` are parsed from the image's annotations.
    """

    reference: Reference
    image: Image | None = None
    claims: Claims = NOTHING
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """The earlier images in the order of their names on the command line. The first one that has a layer counts.

    `contradicted` says why none of them is believed.
    """

    images: tuple[Earlier, ...] = ()
    contradicted: str = ""

    def facts(self, digest: Digest) -> Facts | None:
        """Return the facts about the base with this digest, from the first image that has them; None without one."""
        found = (each.claims.facts for each in self.images if each.claims.stack == digest)
        return next((facts for facts in found if facts is not None), None)

    def claims(self, stack: Stack) -> Claims:
        """Return the claims that are believed of the first image on this stack, or on a similar one."""
        believed = [each.claims.on(stack) for each in self.images]
        same = [claims for claims in believed if claims.stack == stack.digest]
        return next((claims for claims in (*same, *believed) if claims is not NOTHING), NOTHING)

    def take(
        self, planned: Sequence[PlannedLayer], *, gone: Mapping[str, str]
    ) -> tuple[dict[str, Layer], dict[str, str]]:
        """Return the layers that fit the plan, and why other layers with its keys are not taken; both by key.

        `gone` maps the digests of blobs that are not available to the reason, which may be empty.
        """
        taken: dict[str, Layer] = {}
        doubts: dict[str, str] = {}
        for each in self.images:
            name = str(each.reference)
            for key, layer in find_layers(planned, each.image).items() if each.image else ():
                if isinstance(layer, str):
                    doubts.setdefault(key, errors.doubted(name, layer))
                elif (why := gone.get(str(layer.digest))) is not None:
                    doubts.setdefault(key, why or errors.vanished(name))
                else:
                    taken.setdefault(key, layer)
        return taken, doubts

    def host_layers(self, identity: str, *, gone: Collection[str]) -> tuple[Layer, ...]:
        """Return the layers of a host stack with this identity, if an image has them; none that are `gone`."""
        for each in self.images:
            found = find_host_layers(each.image, each.claims, identity) if each.image is not None else ()
            if found and not any(str(layer.digest) in gone for layer in found):
                return found
        return ()

    def place_of(self, digest: Digest) -> Reference | None:
        """Return the name of the first image that has this layer; None if no image has it."""
        layers = ((layer, each.reference) for each in self.images if each.image for layer in each.image.layers)
        return next((place for layer, place in layers if layer.digest == digest), None)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the first image that could be read."""
        return next((each.image.layers for each in self.images if each.image is not None), ())

    @property
    def reason(self) -> str:
        """The reason why no layer can be taken at all; empty if there is none."""
        if self.contradicted:
            return self.contradicted
        if not self.images or any(each.image is not None and not each.reason for each in self.images):
            return ""
        return "; ".join(dict.fromkeys(each.reason for each in self.images))

    def named_in(self, repository: str) -> frozenset[Digest]:
        """Return the blobs of the manifests that were just read from this repository."""
        return frozenset(
            digest
            for each in self.images
            if each.image is not None and each.reference.name == repository
            for digest in (each.image.config_digest, *(layer.digest for layer in each.image.layers))
        )


NONE = Previous()


class Lookup:
    """Fetches manifests and configs in threads that start at once; `result` waits for them.

    `pushed` are the references that the new image is pushed to. Without a transport nothing is fetched.
    `contradicted` says why earlier images are not believed.
    """

    def __init__(
        self,
        references: Sequence[Reference],
        *,
        platform: Platform,
        transport: Transport | None,
        pushed: Collection[Reference] = (),
        contradicted: str = "",
    ) -> None:
        self._contradicted = contradicted
        self._references = () if transport is None else tuple(references)
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
        """Return what was found; raises StackError if a registry refuses the look-up, and an upload too."""
        for thread in self._threads:
            thread.join()
        images = []
        for reference in self._references:
            found = self._found[reference]
            if isinstance(found, BaseException):
                raise found
            images.append(found)
        return Previous(images=tuple(images), contradicted=self._contradicted)

    def _look_up(self, reference: Reference) -> None:
        try:
            self._found[reference] = self._fetch(reference)
        except BaseException as error:  # noqa: BLE001  `result` raises it
            self._found[reference] = error

    def _fetch(self, reference: Reference) -> Earlier:
        from buildpack.errors.registry import AccessRefused, NotFound
        from buildpack.oci.registry import Registry

        assert self._transport is not None
        name, own = str(reference), reference in self._pushed
        registry = Registry(reference, self._transport, writes=own)
        try:
            image = registry.fetch_image(self._platform, look=True).image
        except NotFound:
            return Earlier(reference=reference, reason=errors.not_there(name, own=own))
        except BuildpackError as error:
            if own and isinstance(error, AccessRefused):
                from buildpack.oci.upload import may_push

                # Some registries answer 403 for an image that does not exist. Only an upload shows if we may push.
                may_push(registry)
            return Earlier(reference=reference, reason=errors.not_readable(name, error))
        claims = parse_claims(image)
        keyed = any(layer.key for layer in image.layers)
        return Earlier(reference=reference, image=image, claims=claims, reason="" if keyed else errors.no_keys(name))


_AT_ONCE = 4


def pull_layers(layers: Iterable[tuple[Layer, Reference]], store: Store, transport: Transport) -> dict[str, str]:
    """Fetch and verify the layers that the store lacks, each from an image that has it.

    Return, by digest, why some are not available. The store gets them under their digests and not under their keys, so
    no other build trusts them.
    """
    wanted = {layer.digest: (layer, place) for layer, place in layers if not store.has(layer.digest, layer.size)}
    if not wanted:
        return {}
    from concurrent.futures import ThreadPoolExecutor

    from buildpack.oci.registry import Registry

    def pull(each: tuple[Layer, Reference]) -> str:
        layer, place = each
        try:
            with store.blob() as blob:
                Registry(place, transport).fetch_blob(layer.digest, layer.size, blob)
                if _unpacked_digest(blob) != layer.diff_id:
                    return errors.other_content(str(place))
                blob.commit(layer.digest)
        except StackError as error:
            return errors.not_pulled(str(place), error)
        return ""

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        reasons = pool.map(pull, wanted.values())
        return {str(digest): reason for digest, reason in zip(wanted, reasons, strict=True) if reason}


def _unpacked_digest(blob: BlobWriter) -> Digest | None:
    """Return the digest of a layer's tar; None if the bytes are not gzip."""
    from buildpack.oci.compression import gunzip

    unpacked = hashlib.sha256()
    try:
        with blob.reopen() as packed:
            for piece in gunzip(packed):
                unpacked.update(piece)
    except (EOFError, zlib.error):
        return None
    return Digest(unpacked.hexdigest())
