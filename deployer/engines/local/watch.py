"""Notice that an app's files change, by looking at them twice a second: no library, on any file system.

It watches the shipped files that are code, templates or settings. An app's own database or uploads beside its code must
not start it again and again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping

from buildpack.dataclass import dataclass, field

INTERVAL = 0.5
"""Seconds between two looks; a change is reported once a look finds nothing further."""

_SUFFIXES = (
    *(".py", ".html", ".htm", ".jinja", ".jinja2", ".j2", ".mako", ".mo"),
    *(".toml", ".yaml", ".yml", ".ini", ".cfg", ".conf", ".sql"),
)
_NAMES = frozenset({"Procfile", "Pipfile.lock", ".env", ".flaskenv"})

Snapshot = Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The files to watch: all in `folder` but `left_out`, the relative paths of files that are not the app's."""

    folder: str
    left_out: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, folder: str, files: Iterable[str]) -> Scope:
        """Leave out all that is there now and is neither one of the app's `files` nor on the way to one.

        Only git knows which files are the app's, and twice a second is too often to start it.
        """
        known = set(files)
        for path in tuple(known):
            while (path := path.rpartition("/")[0]) and path not in known:
                known.add(path)
        foreign: set[str] = set()
        todo = [""]
        while todo:
            for path, is_folder in _list(folder, todo.pop()):
                if path not in known:
                    foreign.add(path)
                elif is_folder:
                    todo.append(path)
        return cls(folder=folder, left_out=frozenset(foreign))


def take_snapshot(scope: Scope) -> Snapshot:
    """Return size, time and inode of each watched file that can be read."""
    found: dict[str, tuple[int, int, int]] = {}
    todo = [""]
    while todo:
        for path, is_folder in _list(scope.folder, todo.pop()):
            if path in scope.left_out:
                continue
            name = path.rpartition("/")[2]
            if is_folder:
                if name != "__pycache__" and not name.startswith("."):
                    todo.append(path)
            elif name.endswith(_SUFFIXES) or name in _NAMES:
                try:
                    status = os.stat(f"{scope.folder}/{path}")  # noqa: PTH116 - hundreds of them twice a second
                except OSError:
                    continue
                found[path] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def _list(folder: str, below: str) -> list[tuple[str, bool]]:
    prefix = f"{below}/" if below else ""
    try:
        with os.scandir(f"{folder}/{below}") as entries:
            return [(prefix + entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except OSError:
        return []


def changed_paths(before: Snapshot, after: Snapshot) -> list[str]:
    """Return what was added, removed or written, sorted."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


class Watcher:
    """Watches in a thread of its own, from `start` to `stop`; `report` is called there with the paths that changed."""

    def __init__(self, scope: Scope, report: Callable[[Collection[str]], None], *, interval: float = INTERVAL) -> None:
        self._scope = scope
        self._report = report
        self._interval = interval
        self._stopped = threading.Event()
        self._first: Snapshot = {}
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        """Begin, and compare with the files that are there now."""
        self._first = take_snapshot(self._scope)
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        known = last = self._first
        while not self._stopped.wait(self._interval):
            now = take_snapshot(self._scope)
            settled, last = now == last, now
            # An editor writes a file in several steps, git many files: wait until a look finds them at rest.
            if settled and now != known:
                changed = changed_paths(known, now)
                known = now
                self._report(changed)
