"""What running builds rely on, told to `prune`: no process may lose a file that it has just found.

Whoever finds a file in the store *uses* it: its time is set to now, unless it is of the last hour anyway. And whoever
uses files holds a *lease*, a locked file that tells since when, and whose lock ends with its process however that ends.
`prune` drops nothing that was used since an hour before the oldest lease began. It looks at the leases and at a file's
time, and drops the file, under an exclusive lock; a use, and the beginning of a lease, take that lock shared. So a
file is either gone when it is looked for, or it stays.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from buildpack.system.temporary import create_temporary, sweep

FOLDER = "leases"
GRACE = 3600.0
"""Seconds: what was used that long ago counts as used now, so that most uses cost no more than a look."""
_LOCK = "use.lock"


class Lease:
    """Tells that this process relies on what it uses of the store at `root`; it begins with the first use.

    A store that does not exist, or that may not be written, has none.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._held: tuple[int, Path] | None = None
        self._refused = False
        self._owner = 0
        self._alone = Lock()

    @property
    def path(self) -> Path | None:
        """The file that is the lease, once it has begun."""
        return self._held[1] if self._held else None

    def begin(self) -> None:
        """Begin, unless that has happened."""
        if self._held is not None or self._refused:
            return
        with self._alone:
            if self._held is None and not self._refused and self._root.is_dir():
                self._begin(self._root / FOLDER)

    def _begin(self, folder: Path) -> None:
        try:
            with suppress(FileExistsError):
                folder.mkdir()
                folder.chmod(0o755)
            with _locked(self._root, fcntl.LOCK_SH):
                self._held = create_temporary(folder)
        except OSError:
            self._refused = True
        self._owner = os.getpid()
        sweep(folder)

    def use(self, path: Path) -> os.stat_result | None:
        """Use a file or folder of the store; None where it is not there."""
        self.begin()
        return use(path, self._root)

    def survive_exec(self) -> None:
        """Let the lease go on where this process becomes another program: it ends with that."""
        if self._held is not None:
            os.set_inheritable(self._held[0], True)  # noqa: FBT003  the function takes it by its place alone

    def __del__(self, *, getpid: Callable[[], int] = os.getpid, close: Callable[[int], None] = os.close) -> None:
        # A forked process has the same object, and not the same lease. Names of modules may be gone by now.
        if self._held is not None and self._owner == getpid():
            descriptor, path = self._held
            try:
                path.unlink()
            except Exception:  # noqa: BLE001  whoever sweeps removes it
                close(descriptor)
            else:
                close(descriptor)


def use(path: Path, root: Path, *, clock: Callable[[], float] = time.time) -> os.stat_result | None:
    """Use a file or folder of the store at `root`, for a process that has a lease; None where it is not there."""
    try:
        found = path.stat()
        if found.st_mtime > clock() - GRACE:
            return found
        with _locked(root, fcntl.LOCK_SH):
            os.utime(path)
            return path.stat()
    except PermissionError:
        return found  # another user's store: what is in it is not ours to keep
    except OSError as error:
        import errno

        return found if error.errno == errno.EROFS else None


@contextmanager
def excluding_uses(root: Path) -> Iterator[None]:
    """Let nobody use anything meanwhile."""
    with _locked(root, fcntl.LOCK_EX):
        yield


def oldest_lease(root: Path, *, own: Path | None) -> float | None:
    """Return when the oldest lease began that still runs, in seconds since 1970; those of the dead are removed.

    `own` is not counted.
    """
    began: list[float] = []
    for entry in _entries(root / FOLDER):
        path = Path(entry.path)
        if path == own:
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            began.append(os.fstat(descriptor).st_mtime)
        finally:
            os.close(descriptor)
    return min(began, default=None)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


@contextmanager
def _locked(root: Path, kind: int) -> Iterator[None]:
    try:
        descriptor = os.open(root / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        descriptor = os.open(root / _LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.fchmod(descriptor, 0o644)  # whatever the umask
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
