"""Build an app and send the image to its destinations: `build`, `run`, `ci` and `verify` share this."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from buildpack.dataclass import replace
from buildpack.errors import LostError
from buildpack.errors import delivery as errors
from buildpack.errors.registry import BlobVanished
from buildpack.oci.image import Layer, Platform
from buildpack.oci.store import Store
from buildpack.options import Destination, Options
from buildpack.pipeline import build
from buildpack.progress import Progress
from buildpack.session import Listener, Session
from buildpack.steps.built import Built, Delivered

if TYPE_CHECKING:
    from buildpack.oci.engine_load import Loading
    from buildpack.oci.warm_up import WarmUp

_T = TypeVar("_T")
_ALONE: Mapping[str, Any] = {"pushed": False, "cache_from": ()}


def parse_destinations(texts: Sequence[str]) -> tuple[Destination, ...]:
    """Read the operands of `--to`, each once; raises UsageError."""
    found: dict[str, Destination] = {}
    for text in texts:
        kind: Any
        kind, _, path = text.partition(":")
        if text not in {"docker", "registry"} and not (kind in {"oci", "archive"} and path):
            raise errors.unknown_destination(text)
        destination = Destination(kind=kind, path=Path(path) if path else None)
        found[str(destination)] = destination
    return tuple(found.values())


def fit_options(options: Options, destinations: Sequence[Destination]) -> Options:
    """Return the options of a build for these destinations: layers that only a registry needs may stay in one."""
    kinds = {destination.kind for destination in destinations}
    return replace(options, pushed="registry" in kinds, whole=kinds != {"registry"})


def warn_of_shipping(destinations: Sequence[Destination], folder: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return a warning for each destination among the app's files, because the next image would contain this one."""
    root = folder.resolve()
    inside = {
        destination: place.relative_to(root)
        for destination in destinations
        if destination.path is not None and (place := destination.path.resolve()).is_relative_to(root)
    }
    if not inside:
        return ()
    from buildpack.app.source import read_source

    shipped = [Path(file.path) for file in read_source(folder, environ=environ).files]
    return tuple(
        errors.destination_in_app(str(destination))
        for destination, place in inside.items()
        if any(path.is_relative_to(place) for path in shipped)
    )


def platform_of_engine(platforms: Sequence[Platform], environ: Mapping[str, str]) -> Platform:
    """Return the platform, of several, that the engine runs; raises EngineError if it runs none of them."""
    from buildpack.oci.engine_host import require_engine
    from buildpack.oci.engine_http import Connection
    from buildpack.oci.engine_images import engine_platform
    from buildpack.oci.manifest import serves
    from buildpack.stacks.platforms import native_platform

    with closing(Connection(require_engine(environ))) as connection:
        engine = engine_platform(connection) or native_platform()
    found = next((platform for platform in platforms if serves(platform, engine)), None)
    if found is None:
        raise errors.engine_of_another_platform(str(engine), [str(platform) for platform in platforms])
    return found


def build_and_deliver(
    app: Path,
    *,
    options: Options,
    session: Session,
    platforms: Sequence[Platform] = (),
    destinations: Sequence[Destination] = (),
    warm_up: WarmUp | None = None,
    meanwhile: Callable[[Built], object] = lambda _built: None,
) -> Built:
    """Build the app in this folder, and deliver the image to each destination; raises BuildpackError.

    A build for several platforms makes an index; an engine gets the image of its own platform. `warm_up` is
    connected to the engine among the destinations. `meanwhile` is called while that engine is at work. A registry can
    be a destination only if the session has a transport. A blob that is damaged in the store, or that a registry lost,
    is made again, once.
    """
    for_engine = any(destination.kind == "docker" for destination in destinations)
    chosen = platform_of_engine(platforms, session.environ) if for_engine and len(platforms) > 1 else None

    def attempt(options: Options) -> Built:
        with Delivery(destinations, session, warm_up, chosen=chosen, gone=options.gone) as delivery:
            built = build(app, options=options, session=session, platforms=platforms, listener=delivery)
            return replace(built, delivered=delivery.deliver(built, meanwhile=meanwhile))

    built, warnings = until_whole(attempt, options, session.store)
    shipped = warn_of_shipping(destinations, app, session.environ)
    return replace(built, warnings=(*built.warnings, *shipped, *warnings))


def until_whole(attempt: Callable[[Options], _T], options: Options, store: Store) -> tuple[_T, tuple[str, ...]]:
    """Call `attempt` until nothing that it needs is damaged in the store, or gone from a registry.

    Return its result, and warnings. The first damage has every blob of the store verified, so that one more attempt
    makes all damaged blobs again. Raises what `attempt` raises, LostError only if the same thing is lost twice.
    """
    warnings: dict[str, str] = {}
    vanished_once = False
    while True:
        try:
            return attempt(options), tuple(warnings.values())
        except BlobVanished as vanished:
            if vanished_once:
                raise
            vanished_once = True
            # A registry may not say which blobs it lacks. Then the build takes nothing from it.
            lacking = {"gone": frozenset(map(str, vanished.digests))} if vanished.digests else _ALONE
            options = replace(options, **lacking)
        except LostError as lost:
            if lost.what in warnings:
                raise
            others = () if warnings else store.drop_damaged()
            warnings[lost.what] = errors.made_again(lost.what)
            if others:
                warnings["others"] = errors.others_made_again(len(others))


class Delivery(Listener):
    """Listens to a build, and begins to load its image into the engine while later layers are still being made.

    The engine gets the image for the platform `chosen`; None for that of the only image. `gone` are the blobs that a
    registry turned out to lack. If this context ends before the image is complete, the engine removes the layers that
    it got.
    """

    def __init__(
        self,
        destinations: Sequence[Destination],
        session: Session,
        warm_up: WarmUp | None = None,
        *,
        chosen: Platform | None = None,
        gone: frozenset[str] = frozenset(),
    ) -> None:
        self._destinations = destinations
        self._session = session
        self._warm_up = warm_up
        self._chosen = chosen
        self._gone = gone
        self._lock = threading.Lock()
        self._made: dict[int, tuple[Layer, BinaryIO | None]] = {}
        self._offered = 0
        self._exits = ExitStack()
        self._loading: Loading | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._exits.close()

    def hears(self, platform: Platform) -> bool:
        """Listen to the image for the engine only."""
        return self._chosen in {None, platform}

    def begin(self, references: Sequence[str], platform: Platform, stack: Sequence[Layer], *, unknown: bool) -> None:
        """Connect to the engine, and offer it the stack's layers."""
        if not any(destination.kind == "docker" for destination in self._destinations):
            return
        from buildpack.oci.engine_host import require_engine
        from buildpack.oci.engine_load import Loading
        from buildpack.oci.engine_upload import EngineUpload

        upload = EngineUpload(
            require_engine(self._session.environ),
            references,
            self._session.store.open,
            platform=platform,
            observer=lambda sent: self._session.observer(Progress(stage="load", done=sent, unit="bytes")),
            warm_up=self._warm_up,
        )
        self._loading = self._exits.enter_context(Loading(upload))
        if unknown:
            self._loading.expect()
        for layer in stack:
            self._loading.offer(layer)

    @property
    def wants_tars(self) -> bool:
        """True for an engine: it unpacks a tar in three quarters of the time that a compressed layer takes."""
        return self._loading is not None

    def layer(self, position: int, layer: Layer, tar: BinaryIO | None) -> None:
        """Offer the layers in their order, each as soon as those below it exist."""
        if self._loading is None:
            return
        with self._lock:
            self._made[position] = (layer, tar)
            while self._offered in self._made:
                self._loading.offer(*self._made.pop(self._offered))
                self._offered += 1

    def deliver(
        self, built: Built, *, meanwhile: Callable[[Built], object] = lambda _built: None
    ) -> tuple[Delivered, ...]:
        """Send what was built to each destination, in order; raises as the destinations do.

        `meanwhile` is called while an engine is at work.
        """
        return tuple(self._deliver_to(destination, built, meanwhile) for destination in self._destinations)

    def _deliver_to(self, destination: Destination, built: Built, meanwhile: Callable[[Built], object]) -> Delivered:
        if destination.kind == "docker":
            assert self._loading is not None
            self._loading.send((built.image_for(self._chosen) if self._chosen else built.images[0]).image)
            meanwhile(built)
            loaded = self._loading.result()
            return Delivered(
                destination=destination, layers=loaded.sent_layers, size=loaded.sent_bytes, reason=loaded.reason
            )
        if destination.kind == "registry":
            from buildpack.delivery.pushing import parse_targets, push_built

            pushed = push_built(built, parse_targets(built.references), self._session, gone=self._gone)
            return Delivered(destination=destination, pushed=pushed)
        from buildpack.oci.archive import write_archive_file, write_oci_dir

        assert destination.path is not None
        store = self._session.store
        if destination.kind == "oci":
            write_oci_dir(built.image, store.open, destination.path, built.references)
            return Delivered(destination=destination)
        size = write_archive_file(built.image, store.open, destination.path, built.references)
        return Delivered(destination=destination, size=size)
