"""A stack in a registry: manifest and config are looked up, layers only where their contents must be known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from buildpack.errors import BuildpackError
from buildpack.errors import stacks as errors
from buildpack.oci.digest import Digest
from buildpack.oci.image import Image, Layer, Platform
from buildpack.oci.reference import Reference, parse_reference
from buildpack.oci.store import Store
from buildpack.stacks.image_stack import make_stack
from buildpack.stacks.platforms import parse_platform
from buildpack.stacks.stack import Stack

if TYPE_CHECKING:
    from buildpack.oci.registry import Registry
    from buildpack.oci.transport import Transport

_KIND = "stack-reference"
_TAG_LASTS = 24 * 3600
_AT_ONCE = 4


def resolve_registry(
    value: str,
    *,
    python: str | None,
    store: Store,
    platform: str,
    pull: bool,
    offline: bool,
    now: float,
    known_facts: Callable[[Digest], Any] | None,
    environ: Mapping[str, str],
    transport: Transport | None,
) -> Stack:
    """Return the stack that this reference means for `platform`; raises StackError where the registry refuses.

    A digest never changes, so what it names is asked for once. A tag is asked for again after 24 hours, or on `pull`;
    where that fails, what it meant last is used, with a warning. Without a `transport` there is one of its own, from
    `environ`.
    """
    reference = parse_reference(value)
    chosen = parse_platform(platform)
    key = f"{reference} {chosen}"
    pinned, image, at, warnings = _look_up(
        value,
        reference,
        key,
        chosen,
        store,
        pull=pull,
        offline=offline,
        now=now,
        connect=lambda: _connect(reference, environ, transport),
    )
    if reference.digest is None:
        warnings = [errors.unpinned(value, pinned), *warnings]
    return make_stack(
        image,
        name=value,
        reference=pinned,
        platform=chosen,
        python=python,
        warnings=warnings,
        store=store,
        known_facts=known_facts,
        get_layers=lambda layers: pull_layers(pinned, layers, store, environ, transport),
        witnesses=(str(store.fact_path(_KIND, key)),),
        expires=at + _TAG_LASTS if reference.digest is None else None,
    )


def _look_up(
    value: str,
    reference: Reference,
    key: str,
    platform: Platform,
    store: Store,
    *,
    pull: bool,
    offline: bool,
    now: float,
    connect: Callable[[], Registry],
) -> tuple[str, Image, float, list[str]]:
    """Return the reference with its digest, the image, when it was looked up, and warnings."""
    known: Any = store.recall(_KIND, key)
    image = _known_image(known, store)
    if image is not None:
        age = now - known["at"]
        fresh = reference.digest is not None or (0 <= age < _TAG_LASTS and not pull)
        if fresh or offline:
            return known["reference"], image, known["at"], []
    if offline:
        raise errors.offline_base(value)
    try:
        with connect() as registry:
            pulled = registry.fetch_image(platform)
    except BuildpackError as error:
        if image is None or pull:
            raise
        return (
            known["reference"],
            image,
            known["at"],
            [errors.stale_tag(value, int((now - known["at"]) // 3600), error.what)],
        )
    store.write(pulled.image.manifest)
    store.write(pulled.image.config)
    pinned = str(pulled.reference)
    found = {
        "reference": pinned,
        "manifest": str(pulled.image.digest),
        "config": str(pulled.image.config_digest),
        "at": int(now),
    }
    store.remember(_KIND, key, found)
    return pinned, pulled.image, now, []


def _known_image(known: Any, store: Store) -> Image | None:
    """Return the image that was looked up before, if the store still has its manifest and config whole."""
    if not isinstance(known, Mapping):
        return None
    from buildpack.oci.manifest import parse_image

    try:
        manifest = store.read(Digest.parse(known["manifest"]))
        config = store.read(Digest.parse(known["config"]))
        return parse_image(manifest, config, origin=known["reference"])
    except (BuildpackError, KeyError, ValueError):
        return None


def pull_layers(
    pinned: str, layers: Sequence[Layer], store: Store, environ: Mapping[str, str], transport: Transport | None = None
) -> None:
    """Fetch those blobs that the store lacks, several at once, each verified; raises StackError."""
    from concurrent.futures import ThreadPoolExecutor

    missing = {layer.digest: layer for layer in layers if not store.has(layer.digest, layer.size)}
    if not missing:
        return
    with (
        _connect(parse_reference(pinned), environ, transport) as registry,
        ThreadPoolExecutor(max_workers=_AT_ONCE) as pool,
    ):

        def fetch(layer: Layer) -> None:
            with store.blob(hashed=False) as blob:
                registry.fetch_blob(layer.digest, layer.size, blob)
                blob.commit(layer.digest)

        list(pool.map(fetch, missing.values()))


def _connect(reference: Reference, environ: Mapping[str, str], transport: Transport | None) -> Registry:
    from buildpack.oci.registry import Registry

    return Registry(reference, transport=transport, environ=environ)
