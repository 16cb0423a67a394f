"""Make the planned layers: take each from the store by its key, or write it from wheels, launcher or app files."""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Literal

from buildpack.dataclass import dataclass, replace
from buildpack.errors import oci as oci_errors
from buildpack.errors import wheels as errors
from buildpack.oci.entry import EPOCH, Entry, FileSlice, Inline, directory, file, symlink
from buildpack.oci.image import Layer
from buildpack.oci.layer import LAYER_FORMAT
from buildpack.oci.store import Store
from buildpack.plan import APP_ROOT, LAUNCH_FILE, USER, AppFile, PlannedLayer, layer_annotations
from buildpack.progress import Progress
from buildpack.session import SILENT, Listener, Session
from buildpack.steps.stack_compiler import StackCompiler

if TYPE_CHECKING:
    from buildpack.app.indexes import Source
    from buildpack.app.source import SourceFile
    from buildpack.python.files import WheelFile
    from buildpack.python.venv import VenvLayout
    from buildpack.python.wheel import WheelContents

ENTRIES_FORMAT = 2
"""A part of the keys of layers: raise it when the same wheels, launcher or app give other entries."""
FORMAT = f"{LAYER_FORMAT}+{ENTRIES_FORMAT}"

_HELD = 64 << 10
"""Bytes. A larger file of the app is read twice: for its hash, and for the layer ..."""
_HELD_TOGETHER = 32 << 20
"""... and so are further files when the ones in memory have this size together."""

Origin = Literal["built", "store", "engine", "registry"]
Entries = Callable[[PlannedLayer], Iterable[Entry]]
"""Makes the entries of a planned layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeLayer:
    """A layer of the image, and its origin."""

    planned: PlannedLayer
    layer: Layer
    source: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContent:
    """The app's files in order of their paths: `files` with hashes for the key, and `entries` for the layer."""

    files: tuple[AppFile, ...]
    entries: tuple[Entry, ...]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_content(root: Path, sources: Sequence[SourceFile], *, mtime: int = EPOCH) -> AppContent:
    """Read and hash the app's files below `root`.

    Everything below ``/app`` belongs to `USER`, so that a process may write beside its code, as on Heroku. Group 0 may
    write too, because a cluster such as OpenShift runs processes as a random user of that group.
    """
    files: list[AppFile] = []
    entries: list[Entry] = [app_folder(mtime)]
    room = _HELD_TOGETHER
    for source in sources:
        place = f"{APP_ROOT}/{source.path}"
        if source.kind == "symlink":
            files.append(AppFile(path=source.path, kind="symlink", executable=False, content=source.target))
            entries.append(_own(symlink(place, source.target), mtime))
        else:
            digest, content = _read_file(root / source.path, held=min(_HELD, room))
            room -= content.size if isinstance(content, Inline) else 0
            files.append(AppFile(path=source.path, kind="file", executable=source.executable, content=digest))
            entries.append(_own(file(place, content, executable=source.executable), mtime))
    return AppContent(files=tuple(files), entries=tuple(entries))


def app_folder(mtime: int = EPOCH) -> Entry:
    """Return the app's folder."""
    return _own(directory(APP_ROOT), mtime)


def _own(entry: Entry, mtime: int = EPOCH) -> Entry:
    """Return the entry as a file of the app: the group has the permissions of the user."""
    return replace(entry, uid=USER, gid=0, mode=entry.mode | (entry.mode & 0o700) >> 3, mtime=mtime)


def _read_file(path: Path, *, held: int) -> tuple[str, Inline | FileSlice]:
    try:
        # Since the file was listed, a link out of the app or a pipe without a writer may have replaced it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb", buffering=0) as raw:  # noqa: PTH123  a descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise oci_errors.file_changed(path)
            first = raw.read(held + 1)
            if len(first) <= held:
                # A short read means the end of a regular file.
                return _hash(first), Inline(first)
            hasher, crc, size = hashlib.sha256(first), zlib.crc32(first), len(first)
            while piece := raw.read(1 << 20):
                hasher.update(piece)
                crc = zlib.crc32(piece, crc)
                size += len(piece)
    except OSError as error:
        raise oci_errors.content_unreadable(path, error) from error
    # The file is read again for the layer. The checksum verifies that the key's hash is of the same bytes.
    return hasher.hexdigest(), FileSlice(path, size, crc32=crc)


def app_entries(content: AppContent, launch: bytes, *, mtime: int) -> Iterator[Entry]:
    """Yield the app's layer: its files, their folders, and the file that the launcher reads."""
    seen = {entry.path for entry in content.entries}
    for entry in content.entries:
        parent = entry.path.rpartition("/")[0]
        while parent and parent not in seen:
            seen.add(parent)
            yield _own(directory(parent), mtime)
            parent = parent.rpartition("/")[0]
        yield entry
    yield file(LAUNCH_FILE, launch)


def dependency_entries(
    planned: PlannedLayer, fetcher: WheelFetcher, *, layout: VenvLayout, compiler: StackCompiler | None
) -> list[Entry]:
    """Return the entries of a dependency layer, with byte code if there is a `compiler`.

    If two members ship the same path, the later one by name wins.
    """
    read = [fetcher.read(member.sha256, layout=layout) for member in planned.members]
    if compiler is not None:
        for member, contents in zip(planned.members, read, strict=True):
            compiler.submit(member.sha256, contents.sources)  # submit all before waiting for the first
    entries: dict[str, Entry] = {}
    for member, contents in zip(planned.members, read, strict=True):
        entries.update((entry.path, entry) for entry in contents.entries)
        if compiler is not None:
            made = compiler.entries(member.sha256, contents.sources)
            entries.update((entry.path, entry) for entry in made)
    return list(entries.values())


class WheelFetcher:
    """The wheels of one build by their SHA-256. A wheel that is missing from the store is fetched again."""

    def __init__(self, wheels: Sequence[WheelFile], sources: Sequence[Source], session: Session) -> None:
        self._wheels = {wheel.sha256: wheel for wheel in wheels}
        self._sources = sources
        self._session = session

    def path(self, sha256: str) -> Path:
        """Return a verified wheel; raises DependencyError or LostError if it is not available any more."""
        from buildpack.python.files import verified_path

        folder = self._session.store.folder("wheels")
        wheel = self._wheels[sha256]
        if path := verified_path(folder, wheel):
            return path
        if not wheel.url:
            raise errors.wheel_lost(wheel.filename, folder)
        from buildpack.python.fetch import fetch_file
        from buildpack.python.http import Client

        with Client(self._sources, self._session.environ) as client:
            return fetch_file(wheel, client, folder)

    def read(self, sha256: str, *, layout: VenvLayout) -> WheelContents:
        """Return what a wheel puts into a virtual environment of this layout; raises as `path` does."""
        from buildpack.python.wheel import read_wheel

        return read_wheel(self.path(sha256), layout=layout)


def known_layers(planned: Sequence[PlannedLayer], store: Store) -> dict[str, Layer]:
    """Return the layers that the store has, by key, with the annotations of the plan."""
    found = ((layer, store.layer(layer.key)) for layer in planned)
    return {
        layer.key: replace(known, annotations=layer_annotations(layer)) for layer, known in found if known is not None
    }


def make_layers(
    planned: Sequence[PlannedLayer],
    known: Mapping[str, Layer],
    entries: Entries,
    session: Session,
    *,
    taken: Mapping[str, Layer] = MappingProxyType({}),
    listener: Listener = SILENT,
    give_up: Callable[[], None] = lambda: None,
) -> tuple[MadeLayer, ...]:
    """Return the layers in the plan's order. Those that are neither `known` nor `taken` are written, several at a time.

    `known` layers of the store and `taken` layers of a registry are by key; the store need not have the latter.
    `listener` gets each layer as soon as it exists. If a layer fails, or the build is stopped, `give_up` ends the work
    that other threads wait for, so that all threads end before this function returns.
    """
    made: dict[int, MadeLayer] = {}
    for position, layer in enumerate(planned):
        if (there := known.get(layer.key) or taken.get(layer.key)) is not None:
            source: Origin = "store" if layer.key in known else "registry"
            made[position] = MadeLayer(planned=layer, layer=there, source=source)
            listener.layer(position, there, None)
    missing = [position for position in range(len(planned)) if position not in made]
    spool = bool(missing) and listener.wants_tars

    def write(position: int) -> None:
        tar = session.store.scratch() if spool else None
        try:
            layer = _write(planned[position], entries, session.store, tar)
        except BaseException:
            if tar is not None:
                tar.close()
            raise
        listener.layer(position, layer, tar)
        made[position] = MadeLayer(planned=planned[position], layer=layer, source="built")

    if len(missing) == 1:
        write(missing[0])
    elif missing:
        _in_threads(write, missing, planned, session, give_up)
    return tuple(made[position] for position in range(len(planned)))


def _in_threads(
    write: Callable[[int], None],
    missing: Sequence[int],
    planned: Sequence[PlannedLayer],
    session: Session,
    give_up: Callable[[], None],
) -> None:
    from concurrent.futures import ThreadPoolExecutor, as_completed

    # There are more threads than processors, because some wait for byte code while others write.
    with ThreadPoolExecutor(min(len(missing), 2 + (os.cpu_count() or 1)), thread_name_prefix="layer") as pool:
        try:
            futures = {pool.submit(write, position): position for position in missing}
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                item = planned[futures[future]].slot
                session.observer(Progress(stage="layers", done=done, total=len(missing), item=item))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            give_up()
            raise


def _blame(error: oci_errors.ContentError, planned: PlannedLayer) -> Exception:
    """Return another error for a wheel with the locked hash, because its publisher packed it wrongly; else the same."""
    member = next((member for member in planned.members if error.path.name == member.filename), None)
    with suppress(OSError):
        with error.path.open("rb") as wheel:
            found = hashlib.file_digest(wheel, "sha256").hexdigest()
        if member is not None and found == member.sha256:
            from buildpack.errors.wheels import wheel_damaged

            return wheel_damaged(member.filename, error.reason)
    return error


def _write(planned: PlannedLayer, entries: Entries, store: Store, tar: BinaryIO | None) -> Layer:
    from buildpack.oci.layer import write_layer

    with store.blob() as out:
        try:
            written = write_layer(entries(planned), out, tar_out=tar)
        except oci_errors.ContentError as error:
            raise _blame(error, planned) from None
        out.commit(written.digest)
    layer = replace(written, annotations=layer_annotations(planned))
    store.remember_layer(planned.key, layer)
    return layer
