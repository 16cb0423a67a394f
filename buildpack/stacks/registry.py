"""Finds a stack in a registry: looks up manifest and config, and fetches layers only if their contents are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from buildpack.errors import BuildpackError
from buildpack.errors import stacks as errors
from buildpack.oci.blobs import parse_sealed
from buildpack.oci.digest import Digest
from buildpack.oci.image import Image, Layer
from buildpack.oci.reference import Reference, parse_reference
from buildpack.oci.store import Store
from buildpack.stacks.image_stack import Base
from buildpack.stacks.stack import StackRequest

if TYPE_CHECKING:
    from buildpack.oci.registry import Registry
    from buildpack.oci.transport import Transport

_KIND = "stack-reference"
_TAG_LASTS = 24 * 3600
_AT_ONCE = 4


def find_base(request: StackRequest, *, store: Store, environ: Mapping[str, str], transport: Transport | None) -> Base:
    """Look up the image of a reference; raises StackError if the registry refuses.

    The image of a digest is looked up once, because it never changes. A tag is looked up again after 24 hours, or on
    `pull`; if that fails, its last image is used, with a warning. Without a `transport`, a new one is made from
    `environ`.
    """
    reference = parse_reference(request.name)
    key = f"{reference} {request.platform}"
    connect = partial(_connect, reference, environ, transport)
    pinned, image, at, warnings = _look_up(request, reference, key, store, connect=connect)
    if reference.digest is None:
        warnings = [errors.unpinned(request.name, pinned), *warnings]
    return Base(
        image=image,
        name=request.name,
        reference=pinned,
        platform=request.platform,
        fetch=lambda layers: pull_layers(pinned, layers, store, environ, transport),
        warnings=tuple(warnings),
        witnesses=(str(store.fact_path(_KIND, key)),),
        expires=at + _TAG_LASTS if reference.digest is None else None,
    )


def _look_up(
    request: StackRequest,
    reference: Reference,
    key: str,
    store: Store,
    *,
    connect: Callable[[], AbstractContextManager[Registry]],
) -> tuple[str, Image, float, list[str]]:
    """Return the reference with its digest, the image, the time of its look-up, and warnings."""
    known: Any = store.recall(_KIND, key)
    image = _known_image(known, store)
    if image is not None:
        age = request.now - known["at"]
        if reference.digest is not None or (0 <= age < _TAG_LASTS and not request.pull):
            return known["reference"], image, known["at"], []
    try:
        with connect() as registry:
            pulled = registry.fetch_image(request.platform)
    except BuildpackError as error:
        if image is None or request.pull:
            raise
        hours = int((request.now - known["at"]) // 3600)
        return known["reference"], image, known["at"], [errors.stale_tag(request.name, hours, error.what)]
    store.write(pulled.image.manifest)
    store.write(pulled.image.config)
    pinned = str(pulled.reference)
    found = {
        "reference": pinned,
        "manifest": str(pulled.image.digest),
        "config": str(pulled.image.config_digest),
        "at": int(request.now),
    }
    store.remember(_KIND, key, found)
    return pinned, pulled.image, request.now, []


def _known_image(known: Any, store: Store) -> Image | None:
    """Return the image that an earlier build looked up; None if the store no longer has its manifest and config."""
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
    """Fetch the blobs that the store lacks, several at once, each verified; raises StackError."""
    from concurrent.futures import ThreadPoolExecutor

    missing = store.missing(layers)
    if not missing:
        return
    with (
        _connect(parse_reference(pinned), environ, transport) as registry,
        ThreadPoolExecutor(max_workers=_AT_ONCE) as pool,
    ):

        def fetch(layer: Layer) -> None:
            with store.blob() as blob:
                registry.fetch_blob(layer.digest, layer.size, blob)
                blob.commit(layer.digest)

        list(pool.map(fetch, missing))


def names_of(digest: Digest, store: Store) -> tuple[str, ...]:
    """Return the references, with digests, of this base that builds with this store looked up."""
    names = set()
    for path in (store.root / "facts" / _KIND).glob("*.json"):
        try:
            found = parse_sealed(path.read_bytes())
        except OSError:
            continue
        if found and found["value"].get("manifest") == str(digest):
            names.add(str(found["value"]["reference"]))
    return tuple(sorted(names))


@contextmanager
def _connect(reference: Reference, environ: Mapping[str, str], transport: Transport | None) -> Iterator[Registry]:
    from buildpack.oci.registry import Registry
    from buildpack.oci.transport import Transport

    with nullcontext(transport) if transport is not None else Transport(environ) as chosen:
        yield Registry(reference, chosen)
