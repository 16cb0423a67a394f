"""Where a built image goes besides the store: an engine, a registry, an OCI layout, an archive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Self

from buildpack.build import Built
from buildpack.dataclass import dataclass
from buildpack.oci.image import Image, Layer, Platform
from buildpack.oci.store import Store
from buildpack.progress import Observer, Progress
from buildpack.session import Listener
from deployer.errors.commands import destination_in_app, unknown_destination
from deployer.text import plural, size_text

if TYPE_CHECKING:
    from buildpack.oci.engine_load import Loading
    from buildpack.oci.index import ImageIndex
    from buildpack.oci.transport import Transport
    from buildpack.oci.warm_up import HeadStart


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
    """Word a warning for each destination among the app's files: the next image would hold this one."""
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
    """Listens to a build and starts loading into the engine while later layers are still being made.

    Registries are spoken to through `transport`; `gone` is what one turned out to lack. A context manager: leaving it
    without `finish` takes back what the engine got so far.
    """

    def __init__(
        self,
        destinations: Sequence[Destination],
        store: Store,
        environ: Mapping[str, str],
        observer: Observer,
        head_start: HeadStart | None = None,
        *,
        transport: Transport | None = None,
        gone: frozenset[str] = frozenset(),
    ) -> None:
        self._transport = transport
        self._gone = gone
        self.destinations = destinations
        self.store = store
        self._environ = environ
        self._observer = observer
        self._head_start = head_start
        self._lock = threading.Lock()
        self._made: dict[int, tuple[Layer, BinaryIO | None]] = {}
        self._offered = 0
        self._exits = ExitStack()
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

        self.loading = self._exits.enter_context(
            Loading(
                require_engine(self._environ),
                references,
                self.store.open,
                platform=platform,
                observer=lambda sent: self._observer(Progress(stage="load", done=sent, unit="bytes")),
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

    def push(self, built: Built) -> str:
        """Push the image under its references; what was sent, in words. Raises StackError."""
        from deployer.building.pushing import parse_targets, push_built, pushed_text

        assert self._transport is not None
        pushed = push_built(
            built,
            parse_targets(built.references),
            store=self.store,
            transport=self._transport,
            observer=self._observer,
            gone=self._gone,
        )
        return pushed_text(pushed, built.image)


def deliver(
    delivery: Delivery, built: Built, *, meanwhile: Callable[[Built], object] = lambda _built: None
) -> list[str]:
    """Send the image to each destination; what was sent to each, in words. Raises as the destinations do.

    `meanwhile` is called while an engine is at work.
    """
    said = []
    for destination in delivery.destinations:
        if destination.kind == "docker":
            assert delivery.loading is not None
            delivery.loading.send(built.image)
            meanwhile(built)
            loaded = delivery.loading.result()
            said.append(loaded_text(loaded.sent_layers, loaded.sent_bytes, loaded.reason))
        elif destination.kind == "registry":
            said.append(delivery.push(built))
        else:
            said.append(write_to_disk(built.image, destination, delivery.store, built.references))
    return said


def loaded_text(layers: int, size: int, reason: str) -> str:
    """Say what was sent to the engine, in bytes, and why so much."""
    return f"to the engine: {plural(layers, 'layer')}, {size_text(size)} ({reason})"


def write_to_disk(image: Image | ImageIndex, destination: Destination, store: Store, references: Sequence[str]) -> str:
    """Write the image into a layout or an archive; what was written, in words. Raises MachineError or UsageError."""
    from buildpack.oci.archive import write_archive_file, write_oci_dir

    assert destination.path is not None
    if destination.kind == "oci":
        write_oci_dir(image, store.open, destination.path, references)
        return f"to the layout {destination.path}"
    size = write_archive_file(image, store.open, destination.path, references)
    return f"to the archive {destination.path}, {size_text(size)}"
