"""Finds an image by its name, in the store or in its registry, and opens its layers; all content is verified."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Literal

from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError
from buildpack.oci import manifest as manifests
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import Image, Layer, Platform
from buildpack.oci.manifest import Descriptor
from buildpack.oci.reference import Reference, parse_reference
from buildpack.oci.store import Store
from deployer.errors import proof as errors

if TYPE_CHECKING:
    from buildpack.oci.registry import Registry

Origin = Literal["store", "registry"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image and its place; its layers can be opened until `find_image` is left.

    `name` is the full name, and `digest` its digest. With several `platforms` that is the digest of the index, and
    `image` is for the platform that was asked for, or for this machine's.
    """

    name: str
    digest: Digest
    platforms: tuple[Platform, ...]
    image: Image
    source: Source
    store: Store

    @property
    def origin(self) -> Origin:
        """The place in which the image was found."""
        return self.source.origin

    @property
    def platform(self) -> Platform:
        """The platform in the image's config."""
        return manifests.parse_config_platform(self.image.config, origin=self.name)

    def open_layer(self, layer: Layer) -> BinaryIO:
        """Open a layer's blob; a registry's is fetched and verified first."""
        return self.source.open_layer(layer)


@contextmanager
def find_image(
    text: str, *, platform: Platform | None, remote: bool, store: Store, environ: Mapping[str, str], app: str = ""
) -> Iterator[Found]:
    """Find what `text` names: a reference, or the digest alone of an image in the store.

    The store comes first, unless `remote`. `app` is the folder if the image was named by its app. Raises UsageError,
    StackError or MachineError.
    """
    bare = Digest.parse(text) if _DIGEST.fullmatch(text) else None
    reference = None if bare else parse_reference(text)
    name = str(reference or bare)
    digest = bare or (reference and reference.digest) or store.images().get(name)
    here = digest if digest is not None and not remote and store.has(digest) else None
    with ExitStack() as exits:
        source = Source("registry" if here is None else "store", reference, store, environ, exits)
        if here is not None:
            raw = source.read(here)
        elif reference is None:
            raise errors.digest_not_stored(text, store.root)
        elif app and not remote and name.startswith("docker.io/library/"):
            # No user has images there, so a request would only reveal the app's name.
            raise errors.not_built(app, name, store.root)
        else:
            try:
                raw = source.read(None)
            except BuildpackError as error:
                raise errors.nowhere(store.root, error, remote=remote) from error
        yield _read(name, here or sha256(raw), raw, source, platform, store)


class Source:
    """The place of an image's documents and layers, all verified: the store, or the registry of its name.

    Some layers of a stored image may be in its registry only. The first request there connects to it.
    """

    def __init__(
        self, origin: Origin, reference: Reference | None, store: Store, environ: Mapping[str, str], exits: ExitStack
    ) -> None:
        self.origin = origin
        self._reference, self._store, self._environ, self._exits = reference, store, environ, exits
        self._registry: Registry | None = None

    def read(self, digest: Digest | None) -> bytes:
        """Return a manifest or an index; without a digest the one of the image's name."""
        if self.origin == "store" and digest is not None:
            return self._store.read(digest)
        return self._connected().fetch_manifest(digest).raw

    def read_config(self, config: Descriptor) -> bytes:
        """Return an image's config."""
        if self.origin == "store":
            return self._store.read(config.digest)
        out = BytesIO()
        self._connected().fetch_blob(config.digest, config.size, out)
        return out.getvalue()

    def open_layer(self, layer: Layer) -> BinaryIO:
        """Open a layer's blob; a registry's is fetched first."""
        if self.origin == "store" and (self._reference is None or self._store.has(layer.digest)):
            return self._store.open(layer.digest)
        scratch = self._store.scratch()
        try:
            self._connected().fetch_blob(layer.digest, layer.size, scratch)
            scratch.seek(0)
        except BaseException:
            scratch.close()
            raise
        return scratch

    def _connected(self) -> Registry:
        from buildpack.oci.registry import Registry
        from buildpack.oci.transport import Transport

        if self._registry is None:
            assert self._reference is not None
            transport = self._exits.enter_context(Transport(self._environ, homes=[self._reference]))
            self._registry = Registry(self._reference, transport)
        return self._registry


def _read(name: str, digest: Digest, raw: bytes, source: Source, platform: Platform | None, store: Store) -> Found:  # noqa: PLR0917
    platforms: tuple[Platform, ...] = ()
    if manifests.is_index(raw, media_type="", origin=name):
        listed = [item for item in manifests.parse_index(raw, origin=name) if not item.attestation]
        platforms = tuple(item.platform for item in listed if item.platform is not None)
        chosen = _choose(listed, platform, name)
        raw = source.read(chosen.digest)
        if manifests.is_index(raw, media_type=chosen.media_type, origin=name):
            raise errors.nested_index(name)
    config = source.read_config(manifests.parse_manifest_config(raw, origin=name))
    own = manifests.parse_config_platform(config, origin=name)
    if platform is not None and not manifests.serves(own, platform):
        raise errors.other_platform(name, str(platform), str(own))
    return Found(
        name=name,
        digest=digest,
        platforms=platforms or (own,),
        image=manifests.parse_image(raw, config, origin=name),
        source=source,
        store=store,
    )


def _choose(listed: list[Descriptor], platform: Platform | None, name: str) -> Descriptor:
    """Choose the wanted platform, else this machine's, else the first."""
    from buildpack.stacks.platforms import native_platform

    if platform is not None:
        return manifests.select_platform(listed, platform, origin=name)
    if not listed:
        raise errors.empty_index(name)
    native = native_platform()
    fitting = (item for item in listed if item.platform is not None and manifests.serves(item.platform, native))
    return next(fitting, listed[0])
