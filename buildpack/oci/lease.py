"""Tells `prune` which files running builds rely on, so that no process loses a file that it has just found.

A process that finds a file in the store *uses* it: it sets the file's time to now, unless that is less than an hour
old. A process that uses files holds a *lease*: a locked file whose time says when the lease began, and whose lock ends
with the process. `prune` drops only files that were last used more than an hour before the oldest lease began. It
compares the times and drops the file under an exclusive lock; a use and the beginning of a lease hold the same lock
shared. So a process either does not find a file, or keeps it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Lock

from buildpack.system.temporary import create_temporary, sweep

FOLDER = "leases"
GRACE = 3600.0
"""Seconds. A file used since then counts as used now, so that most uses write nothing."""
_LOCK = "use.lock"


class Lease:
    """A lease of this process on the store at `root`; it begins with the first use.

    A store that does not exist, or that cannot be written, gets no lease.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._held: tuple[int, Path] | None = None
        self._refused = False
        self._owner = 0
        self._alone = Lock()

    @property
    def path(self) -> Path | None:
        """The lease's file; None before the lease begins."""
        return self._held[1] if self._held else None

    def begin(self) -> None:
        """Begin the lease, unless it has begun."""
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
        """Use a file or folder of the store; None if it is missing."""
        self.begin()
        return use(path, self._root)

    def survive_exec(self) -> None:
        """Keep the lease when this process executes another program; it ends with that program."""
        if self._held is not None:
            os.set_inheritable(self._held[0], True)  # noqa: FBT003  the function takes it by position only

    def __del__(self, *, getpid: Callable[[], int] = os.getpid, close: Callable[[int], None] = os.close) -> None:
        # A forked process has a copy of this object, but not the lease. At exit, modules' names may be gone already.
        if self._held is not None and self._owner == getpid():
            descriptor, path = self._held
            try:
                path.unlink()
            except Exception:  # noqa: BLE001  a sweep removes it
                close(descriptor)
            else:
                close(descriptor)


def use(path: Path, root: Path) -> os.stat_result | None:
    """Use a file or folder of the store at `root`; None if it is missing. The process holds a lease already."""
    found: os.stat_result | None = None
    try:
        found = path.stat()
        if found.st_mtime > time.time() - GRACE:
            return found
        with _locked(root, fcntl.LOCK_SH):
            os.utime(path)
            return path.stat()
    except PermissionError:
        return found  # in another user's store we cannot keep files
    except OSError as error:
        import errno

        return found if error.errno == errno.EROFS else None


def excluding_uses(root: Path) -> AbstractContextManager[None]:
    """Keep all processes from using files of the store."""
    return _locked(root, fcntl.LOCK_EX)


def oldest_lease(root: Path, *, own: Path | None) -> float | None:
    """Return when the oldest running lease began, in seconds since 1970; None if there is none.

    The lease at `own` does not count. Leases of dead processes are removed.
    """
    began: list[float] = []
    for entry in scan(root / FOLDER):
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


def scan(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder; none if it is missing."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def lock_file(path: Path, kind: int) -> int:
    """Lock a file, which is made if it is missing, until the returned descriptor is closed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.fchmod(descriptor, 0o644)  # independent of the umask
    try:
        fcntl.flock(descriptor, kind)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _locked(root: Path, kind: int) -> Iterator[None]:
    descriptor = lock_file(root / _LOCK, kind)
    try:
        yield
    finally:
        os.close(descriptor)
