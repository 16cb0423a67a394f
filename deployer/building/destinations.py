"""Where a built image goes besides the store: an engine, a registry, an OCI layout, an archive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Self

from buildpack.dataclass import dataclass
from buildpack.oci.image import Image, Layer, Platform
from buildpack.oci.store import Store
from buildpack.progress import Progress
from buildpack.session import Listener, Session
from deployer.errors.building import destination_in_app, engine_of_another_platform, unknown_destination
from deployer.text import plural, size_text

if TYPE_CHECKING:
    from buildpack.oci.engine_load import Loading
    from buildpack.oci.index import ImageIndex
    from buildpack.oci.warm_up import HeadStart
    from deployer.building.made import Made


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One `--to`: `path` is the folder or file, None for the engine and for the registries of the references."""

    kind: Literal["docker", "registry", "oci", "archive"]
    path: Path | None = None

    def __str__(self) -> str:
        return self.kind if self.path is None else f"{self.kind}:{self.path}"


def parse_destinations(texts: Sequence[str]) -> tuple[Destination, ...]:
    """Read the operands of `--to`, each once; raises UsageError."""
    found: dict[str, Destination] = {}
    for text in texts:
        kind, _, path = text.partition(":")
        if text == "docker":
            made = Destination(kind="docker")
        elif text == "registry":
            made = Destination(kind="registry")
        elif kind == "oci" and path:
            made = Destination(kind="oci", path=Path(path))
        elif kind == "archive" and path:
            made = Destination(kind="archive", path=Path(path))
        else:
            raise unknown_destination(text)
        found[str(made)] = made
    return tuple(found.values())


def shipped_next(destinations: Sequence[Destination], folder: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return a warning for each destination among the app's files: the next image would hold this one."""
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
        destination_in_app(str(destination))
        for destination, place in inside.items()
        if any(path.is_relative_to(place) for path in shipped)
    )


class Delivery(Listener):
    """Listens to a build, and begins to load its image into the engine while later layers are still being made.

    `gone` are the blobs that a registry turned out to lack. `platform` is that of the image for the engine. Leaving
    this context before the image is complete removes what the engine got so far.
    """

    def __init__(
        self,
        destinations: Sequence[Destination],
        session: Session,
        head_start: HeadStart | None = None,
        *,
        gone: frozenset[str] = frozenset(),
    ) -> None:
        self.destinations = destinations
        self.session = session
        self._gone = gone
        self._head_start = head_start
        self._lock = threading.Lock()
        self._made: dict[int, tuple[Layer, BinaryIO | None]] = {}
        self._offered = 0
        self._exits = ExitStack()
        self.platform: Platform | None = None
        self.loading: Loading | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._exits.close()

    def begin(self, references: Sequence[str], platform: Platform, stack: Sequence[Layer], *, unknown: bool) -> None:
        """Connect to the engine, and offer it the stack's layers."""
        if not any(destination.kind == "docker" for destination in self.destinations):
            return
        from buildpack.oci.engine_host import require_engine
        from buildpack.oci.engine_load import Loading

        self.platform = platform
        self.loading = self._exits.enter_context(
            Loading(
                require_engine(self.session.environ),
                references,
                self.session.store.open,
                platform=platform,
                observer=lambda sent: self.session.observer(Progress(stage="load", done=sent, unit="bytes")),
                head_start=self._head_start,
            )
        )
        if unknown:
            self.loading.expect()
        for layer in stack:
            self.loading.offer(layer)

    @property
    def wants_tars(self) -> bool:
        """An engine unpacks a tar in three quarters of the time that a compressed one takes it."""
        return self.loading is not None

    def layer(self, position: int, layer: Layer, tar: BinaryIO | None) -> None:
        """Offer the layers in their order, each as soon as those below it are there."""
        if self.loading is None:
            return
        with self._lock:
            self._made[position] = (layer, tar)
            while self._offered in self._made:
                self.loading.offer(*self._made.pop(self._offered))
                self._offered += 1

    def push(self, made: Made) -> str:
        """Push what was made under its references; return what was sent, in words. Raises StackError."""
        from deployer.building.pushing import parse_targets, push_made, pushed_text

        return pushed_text(push_made(made, parse_targets(made.references), self.session, gone=self._gone), made.image)


def deliver(delivery: Delivery, made: Made, *, meanwhile: Callable[[Made], object] = lambda _made: None) -> list[str]:
    """Send what was made to each destination; return what was sent to each, in words. Raises as the destinations do.

    `meanwhile` is called while an engine is at work.
    """
    said = []
    for destination in delivery.destinations:
        if destination.kind == "docker":
            assert delivery.loading is not None
            assert delivery.platform is not None
            delivery.loading.send(made.image_for(delivery.platform).image)
            meanwhile(made)
            loaded = delivery.loading.result()
            said.append(loaded_text(loaded.sent_layers, loaded.sent_bytes, loaded.reason))
        elif destination.kind == "registry":
            said.append(delivery.push(made))
        else:
            said.append(write_to_disk(made.image, destination, delivery.session.store, made.references))
    return said


def loaded_text(layers: int, size: int, reason: str) -> str:
    """Say how much was sent to the engine, and why so much."""
    return f"to the engine: {plural(layers, 'layer')}, {size_text(size)} ({reason})"


def write_to_disk(image: Image | ImageIndex, destination: Destination, store: Store, references: Sequence[str]) -> str:
    """Write the image into a layout or an archive; return that in words. Raises MachineError or UsageError."""
    from buildpack.oci.archive import write_archive_file, write_oci_dir

    assert destination.path is not None
    if destination.kind == "oci":
        write_oci_dir(image, store.open, destination.path, references)
        return f"to the layout {destination.path}"
    size = write_archive_file(image, store.open, destination.path, references)
    return f"to the archive {destination.path}, {size_text(size)}"


def platform_of_engine(platforms: Sequence[Platform], environ: Mapping[str, str]) -> Platform:
    """Return the one of several platforms that the engine runs; raises EngineError if it runs none of them."""
    from buildpack.oci.engine_host import require_engine
    from buildpack.oci.engine_http import Connection
    from buildpack.oci.engine_images import engine_platform
    from buildpack.oci.manifest import serves
    from buildpack.stacks.platforms import native_platform

    connection = Connection(require_engine(environ))
    try:
        engine = engine_platform(connection) or native_platform()
    finally:
        connection.close()
    found = next((platform for platform in platforms if serves(platform, engine)), None)
    if found is None:
        raise engine_of_another_platform(str(engine), [str(platform) for platform in platforms])
    return found
