"""Frees space in the store and in the folder beside it: drops the least recently used items that nothing needs.

An image that `index.json` names needs its manifest, its config and its layers. Everything else in the store only saves
time: blobs of earlier builds, and the entries of other modules' folders (`shelves`, such as ``wheels`` or
``facts/wheel``).
"""

from __future__ import annotations

import heapq
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from buildpack.bounded import objects_in
from buildpack.dataclass import dataclass, replace
from buildpack.errors import oci as errors
from buildpack.oci.index import digest_of, name_of
from buildpack.oci.lease import GRACE, excluding_uses, oldest_lease, scan
from buildpack.oci.store import Store
from buildpack.system.temporary import remove_folder, sweep, unused

IMAGES = "images"
BLOBS = "blobs"
_DAY = 24 * 3600
_PART = ".part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item that can be dropped: `name` is a reference or a path below the store, `used` the time of its last use.

    An image's own `size` is 0, because its blobs are items too.
    """

    kind: str
    name: str
    size: int
    used: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of the store: at most `keep` bytes, and no item last used before `cutoff`, in seconds since 1970.

    Images are dropped only if `images` is True.
    """

    keep: int | None = None
    cutoff: float | None = None
    images: bool = False

    def reach(self, item: Item, total: int) -> bool:
        """Return True if an item must be dropped while the store has `total` bytes."""
        return (self.keep is not None and total > self.keep) or (self.cutoff is not None and item.used < self.cutoff)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """The items `dropped`, those `spared` because a build relies on them, and the bytes `left` in the store."""

    dropped: tuple[Item, ...]
    spared: tuple[Item, ...]
    left: int

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(item.size for item in self.dropped)


def prune_store(store: Store, limits: Limits, *, shelves: Sequence[str], now: float, dry_run: bool = False) -> Pruned:
    """Drop items until `limits` hold, least recently used first; raises MachineError if the system refuses.

    Items that a process with a lease may rely on stay. Images and their blobs stay too, unless `limits` include images.
    Layer keys without a blob and abandoned work in progress are removed. `now` is in seconds since 1970.
    """
    if not (store.root / "oci-layout").is_file():
        # This folder is not a store: its `wheels` or `tmp` may belong to the user.
        return Pruned(dropped=(), spared=(), left=0)
    try:
        with store.index_lock():
            pruning = _Pruning(store, limits, shelves, dry_run=dry_run)
            pruning.run()
            if not dry_run:
                _tidy(store.root, now)
    except OSError as error:
        raise errors.store_failed(store.root, error) from error
    return Pruned(dropped=tuple(pruning.dropped), spared=tuple(pruning.spared), left=pruning.total)


def prune_folder(folder: Path, limits: Limits, *, shelves: Sequence[str], dry_run: bool = False) -> Pruned:
    """Drop items of a folder that several stores share until `limits` hold; none while a process uses the folder.

    Raises MachineError if the system refuses.
    """
    doomed: list[Path] = []
    try:
        with unused(folder) as free:
            items = sorted(measure_folder(folder, shelves), key=lambda item: item.used)
            total = left = sum(item.size for item in items)
            due = []
            for item in items:
                if limits.reach(item, left):
                    due.append(item)
                    left -= item.size
            if not free:
                return Pruned(dropped=(), spared=tuple(due), left=total)
            for item in () if dry_run else due:
                # Renamed first, so that nobody takes a half removed folder for a whole one.
                place = folder / item.name
                doomed.append(place.rename(place.with_name(f"{os.urandom(8).hex()}{_PART}")))
        for place in doomed:
            remove_folder(place)
    except OSError as error:
        raise errors.store_failed(folder, error) from error
    return Pruned(dropped=tuple(due), spared=(), left=left)


def measure_folder(folder: Path, shelves: Sequence[str]) -> Iterator[Item]:
    """Yield the items of a folder that several stores share."""
    for shelf in shelves:
        yield from _shelf(folder, shelf)


class _Pruning:
    """One run: the items by age, and the number of images that need each blob."""

    def __init__(self, store: Store, limits: Limits, shelves: Sequence[str], *, dry_run: bool) -> None:
        self._store = store
        self._limits = limits
        self._dry_run = dry_run
        self._needs = _needs(store)
        self._wanted = Counter(blob for blobs in self._needs.values() for blob in blobs)
        measured = list(measure(store, shelves))
        self._blobs = {item.name: replace(item, kind=BLOBS) for item in measured if item.kind in {IMAGES, BLOBS}}
        self.total = sum(item.size for item in measured)
        self.dropped: list[Item] = []
        self.spared: list[Item] = []
        items = [item for item in measured if item.kind in {BLOBS, *shelves}]
        if limits.images:
            named = store.images().items()
            items += [Item(kind=IMAGES, name=name, size=0, used=_used(store.path(digest))) for name, digest in named]
        self._heap = [(item.used, item.kind, item.name, item) for item in items]
        heapq.heapify(self._heap)

    def run(self) -> None:
        while self._heap:
            *_, item = heapq.heappop(self._heap)
            if not self._limits.reach(item, self.total):
                return
            if self._drop(item):
                self.dropped.append(item)
                self.total -= item.size
                self._release(item)
            else:
                self.spared.append(item)

    def _release(self, item: Item) -> None:
        """Add the blobs that only this image needed to the items that can be dropped."""
        if item.kind != IMAGES:
            return
        for name in self._needs.pop(item.name, ()):
            self._wanted[name] -= 1
            if not self._wanted[name] and name in self._blobs:
                blob = self._blobs[name]
                heapq.heappush(self._heap, (blob.used, blob.kind, blob.name, blob))

    def _drop(self, item: Item) -> bool:
        root = self._store.root
        place = self._place(item)
        with excluding_uses(root):
            began = oldest_lease(root, own=self._store.lease.path)
            if began is not None and item.used >= began - GRACE:
                return False
            if place is not None and _used(place) > item.used:
                return False  # used since it was measured
            if self._dry_run:
                return True
            if item.kind == IMAGES:
                kept = [each for each in self._store.descriptors() if name_of(each) != item.name]
                self._store.write_descriptors(kept)
                return True
            doomed = _set_aside(root, place) if place is not None else None
        if doomed is not None:
            remove_folder(doomed)
        return True

    def _place(self, item: Item) -> Path | None:
        """Return the path whose time is the item's last use."""
        if item.kind != IMAGES:
            return self._store.root / item.name
        digest = self._store.images().get(item.name)
        return None if digest is None else self._store.path(digest)


def measure(store: Store, shelves: Sequence[str]) -> Iterator[Item]:
    """Yield all items of the store; blobs that images need have the kind `IMAGES`."""
    needed = {name for names in _needs(store).values() for name in names}
    for entry in scan(store.root / "blobs" / "sha256"):
        with suppress(FileNotFoundError):
            found, name = entry.stat(follow_symlinks=False), f"blobs/sha256/{entry.name}"
            kind = IMAGES if name in needed else BLOBS
            yield Item(kind=kind, name=name, size=found.st_size, used=found.st_mtime)
    for shelf in shelves:
        yield from _shelf(store.root, shelf)
    known = {"blobs", *shelves}
    around = {shelf.partition("/")[0] for shelf in shelves} - known
    beside = [f"{folder}/{entry.name}" for folder in sorted(around) for entry in scan(store.root / folder)]
    for name in (*(entry.name for entry in scan(store.root) if entry.name not in around), *beside):
        if name not in known:
            size, used = _weigh(store.root / name)
            yield Item(kind=name.partition("/")[0], name=name, size=size, used=used)


def _shelf(root: Path, name: str) -> Iterator[Item]:
    """Yield the entries of a folder, without unfinished ones."""
    for entry in scan(root / name):
        if not entry.name.endswith(_PART) and not entry.name.startswith("."):
            size, used = _weigh(Path(entry.path))
            yield Item(kind=name, name=f"{name}/{entry.name}", size=size, used=used)


def _weigh(path: Path) -> tuple[int, float]:
    """Return the size of a file or folder in bytes, and the time of its last use."""
    size = 0
    if path.is_dir() and not path.is_symlink():
        for folder, _, names in os.walk(path):
            for name in names:
                with suppress(OSError):
                    size += (Path(folder) / name).lstat().st_size
    else:
        with suppress(OSError):
            size = path.lstat().st_size
    return size, _used(path)


def _used(path: Path) -> float:
    """Return the time of the last use of a file, or of a folder and its direct entries."""
    times = [0.0]
    with suppress(OSError):
        times.append(path.lstat().st_mtime)
        if path.is_dir() and not path.is_symlink():
            with os.scandir(path) as entries:
                times += [entry.stat(follow_symlinks=False).st_mtime for entry in entries]
    return max(times)


def _needs(store: Store) -> dict[str, frozenset[str]]:
    """Return the blobs that each image needs, by reference, or by digest for an image without a name."""
    found: dict[str, frozenset[str]] = {}
    for each in store.descriptors():
        digest = digest_of(each)
        if digest is not None:
            name = name_of(each) or str(digest)
            found[name] = found.get(name, frozenset()) | _reachable(store.root, digest.hex)
    return found


def _reachable(root: Path, manifest: str) -> frozenset[str]:
    """Return the blobs of an image or index: its document, and all that this names."""
    reached: set[str] = set()
    waiting = [manifest]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        document = _read_object(root / "blobs" / "sha256" / name)
        # An index lists manifests; a manifest names its config and its layers.
        waiting += _named(document.get("manifests"))
        reached.update(_named([document.get("config")]), _named(document.get("layers")))
    return frozenset(f"blobs/sha256/{name}" for name in reached)


def _named(descriptors: Any) -> list[str]:
    digests = [str(each.get("digest", "")) for each in objects_in(descriptors)]
    return [digest.removeprefix("sha256:") for digest in digests if digest]


def _read_object(path: Path) -> dict[str, Any]:
    with suppress(OSError, RecursionError, ValueError):
        if path.stat().st_size < 4 << 20:
            found = json.loads(path.read_bytes())
            if isinstance(found, dict):
                return found
    return {}


def _set_aside(root: Path, path: Path) -> Path | None:
    """Remove a file; move a folder to where it can be removed later, and return its new path."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return None
    aside = root / "tmp" / f"{os.urandom(8).hex()}{_PART}"
    with suppress(FileNotFoundError):
        path.rename(aside)
        return aside
    return None


def _tidy(root: Path, now: float) -> None:
    """Remove layer keys without a blob, and abandoned work."""
    for entry in scan(root / "layers"):
        path = Path(entry.path)
        for digest in _named([_read_object(path)]):
            if not (root / "blobs" / "sha256" / digest).exists():
                path.unlink(missing_ok=True)
    sweep(root / "tmp")
    for folder in ("tmp", "records"):
        for entry in scan(root / folder):
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < now - _DAY and not entry.name.endswith(_PART):
                    path = Path(entry.path)
                    remove_folder(path) if entry.is_dir(follow_symlinks=False) else path.unlink()
