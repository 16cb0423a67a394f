"""Make room in the store: drop what nothing refers to any more."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildpack.oci.digest import Digest

__all__ = ["Pruned", "prune_store"]

_HOUR = 3600
_DAY = 24 * _HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How many blobs were dropped, and how many bytes they took."""

    blobs: int
    size: int


def prune_store(root: Path, manifests: Iterable[Digest], *, budget: int, now: float) -> Pruned:
    """Drop the blobs that `manifests` do not reach; `Store.prune` says which, and holds the lock meanwhile."""
    blobs = root / "blobs" / "sha256"
    needed = _reachable(blobs, manifests)
    keyed = {digest for _, digest in _keyed(root / "layers")}
    spare = []
    for entry in os.scandir(blobs):
        found = entry.stat()
        if entry.name not in needed and found.st_mtime < now - _HOUR:
            spare.append((entry.name in keyed, found.st_mtime, entry.name, found.st_size))
    left = sum(size for *_, size in spare)
    dropped = freed = 0
    for _, _, name, size in sorted(spare):
        if left - freed <= budget:
            break
        (blobs / name).unlink(missing_ok=True)
        dropped, freed = dropped + 1, freed + size
    for path, digest in _keyed(root / "layers"):
        if not (blobs / digest).exists():
            path.unlink(missing_ok=True)
    for path in (root / "records").glob("*"):  # what builds answered while everything was there
        path.unlink(missing_ok=True)
    _remove_abandoned(root / "tmp", now)
    return Pruned(blobs=dropped, size=freed)


def _reachable(blobs: Path, manifests: Iterable[Digest]) -> set[str]:
    """Return the names of the manifests' blobs, and of all that they name."""
    reached: set[str] = set()
    waiting = [digest.hex for digest in manifests]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        document = _read_object(blobs / name)
        # An index lists manifests; a manifest names its config and its layers.
        waiting += [_hex(each) for each in document.get("manifests", [])]
        reached |= {_hex(each) for each in (document.get("config", {}), *document.get("layers", []))}
    return reached


def _keyed(folder: Path) -> list[tuple[Path, str]]:
    return [(path, _hex(_read_object(path))) for path in folder.iterdir()]


def _hex(descriptor: dict[str, Any]) -> str:
    return str(descriptor.get("digest", "")).removeprefix("sha256:")


def _read_object(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_bytes())
        if isinstance(found, dict):
            return found
    return {}


def _remove_abandoned(folder: Path, now: float) -> None:
    import shutil

    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            if entry.stat(follow_symlinks=False).st_mtime < now - _DAY:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink()
