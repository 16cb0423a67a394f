"""Work in progress on the disk: files and folders that tell by a lock whether their process still lives.

Process ids would not do, since containers that share a store do not share their numbers.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUFFIX = ".part"


def create_temporary(folder: Path, *, prefix: str = "") -> tuple[int, Path]:
    """Create a file that no one else uses in `folder`; its descriptor, which holds the lock, and its path.

    The mode does not depend on the umask.
    """
    while True:
        path = _name(folder, prefix)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            held = _hold(descriptor)
            os.fchmod(descriptor, 0o644)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        if held:
            return descriptor, path
        os.close(descriptor)


def make_folder(path: Path, mode: int = 0o755) -> None:
    """Create a folder and its parents, with this mode whatever the umask."""
    try:
        path.mkdir()
        path.chmod(mode)
    except FileExistsError:
        if not path.is_dir():
            raise
    except FileNotFoundError:
        make_folder(path.parent, mode)
        path.mkdir(exist_ok=True)  # below /proc it fails for ever, so this does not call itself again
        path.chmod(mode)


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Make a folder in `folder` that no one else uses; it is removed with all that is in it."""
    descriptor, path = _create_folder(folder)
    try:
        yield path
    finally:
        _remove(path)
        os.close(descriptor)


def _create_folder(folder: Path) -> tuple[int, Path]:
    while True:
        path = _name(folder)
        path.mkdir(mode=0o700)
        try:
            path.chmod(0o700)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # a sweep was faster
            continue
        except OSError:  # no more open files, say
            path.rmdir()
            raise
        if _hold(descriptor):
            return descriptor, path
        os.close(descriptor)


def _name(folder: Path, prefix: str = "") -> Path:
    return folder / f"{prefix}{os.urandom(8).hex()}{_SUFFIX}"


def _hold(descriptor: int) -> bool:
    """Lock what was just created, unless a sweep was faster, and took it for a dead process's."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def sweep(folder: Path, *, prefix: str = "") -> None:
    """Remove what processes that died have left in `folder`, under names that begin with `prefix`."""
    for path in folder.glob(f"{prefix}*{_SUFFIX}"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # renamed since it was listed, or another user's
        # Its writer may rename it before the lock is ours: then nothing is left under this path to remove.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.is_dir():
                _remove(path)
            else:
                path.unlink()
        os.close(descriptor)


def hold(folder: Path) -> int:
    """Say that this process uses a folder, until the descriptor is closed; waits for one that makes room in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Keep others from using a folder meanwhile; False if a process uses it already."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """Remove a folder; again if something still writes into it, or if other threads have all descriptors."""
    import shutil
    import time

    for pause in (0, 0.01, 0.05, 0.2, 0.5):
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
