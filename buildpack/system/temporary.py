"""Temporary files and folders, each with a lock that shows if its process still lives.

Process ids do not show that: containers that share a store do not share process ids.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUFFIX = ".part"


def create_temporary(folder: Path, *, prefix: str = "") -> tuple[int, Path]:
    """Create a file in `folder`; returns its descriptor, which holds the lock, and its path.

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
    """Create a folder and its parents with this mode, whose bits the umask does not remove."""
    try:
        path.mkdir()
        path.chmod(mode)
    except FileExistsError:
        if not path.is_dir():
            raise
    except FileNotFoundError:
        make_folder(path.parent, mode)
        path.mkdir(exist_ok=True)  # this would fail for ever below /proc, so it does not call itself again
        path.chmod(mode)


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Make a folder in `folder`, and remove it with all its files at the end of the block."""
    descriptor, path = _create_folder(folder)
    try:
        yield path
    finally:
        remove_folder(path)
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
    """Lock a new file; False if a sweep came first and removed it as one of a dead process."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def sweep(folder: Path, *, prefix: str = "") -> None:
    """Remove the files and folders of dead processes in `folder` whose names begin with `prefix`."""
    for path in folder.glob(f"{prefix}*{_SUFFIX}"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # renamed since it was listed, or another user's
        # Its writer may rename it before this has the lock: then there is nothing at this path to remove.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.is_dir():
                remove_folder(path)
            else:
                path.unlink()
        os.close(descriptor)


def hold(folder: Path) -> int:
    """Mark a folder as used until the descriptor is closed; waits while another process prunes it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock on a folder, whose files then have one writer; do nothing if the file system has no such locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Keep others from using a folder within the block; yields False if a process uses it already."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Remove a folder. Tries again if another process still writes into it, or if there are no descriptors left."""
    import shutil
    import time

    for pause in (0, 0.01, 0.05, 0.2, 0.5):
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
