"""Keep strangers' code (hooks, package builds, trials without an engine) away from the files of the user who builds.

No other process may look into this one, and root runs such code as a user that owns nothing here. An ordinary user
cannot become another one, so then only the first holds.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from errno import EPERM
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from buildpack.system.processes import User
from buildpack.system.temporary import create_temporary, hold, sweep, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_APP = 1000
"""The user of images. If an account of this machine has this number, strangers' code must not run as it."""
_NOBODY = 65534
_NEEDED = (0, 6, 7)
"""CAP_CHOWN, CAP_SETGID, CAP_SETUID (capabilities(7))."""
_COUNT = ".count"
_held: dict[Path, int] = {}
"""Descriptors whose lock keeps `deploy cache prune` from removing folders that this process uses."""
_TEMPORARY = ("/var/tmp", "/tmp")  # noqa: S108


def choose_user(
    *, accounts: Path = Path("/etc/passwd"), process: Path = Path("/proc/self"), folder: Path = Path()
) -> User | None:
    """Return the user that root runs strangers' code as; None if this is not root, or may not change its user.

    That user has no account, and does not own `folder` or a folder above it. A checkout that is mounted into a
    container may belong to a user of the host, who could put links there for root to follow.
    """
    if os.geteuid() != 0 or not _may_change(process):
        return None
    known = {line.split(":")[2] for line in _lines(accounts) if line.count(":") >= 3}
    for number in (_NOBODY,) if str(_APP) in known | _owners(folder) else (_APP, _NOBODY):
        if all(_is_mapped(number, process / name) for name in ("uid_map", "gid_map")):
            return User(uid=number, gid=number)
    return None


def _owners(folder: Path) -> set[str]:
    place = Path(os.path.realpath(folder))
    found = set()
    for each in (place, *place.parents):
        with suppress(OSError):
            found.add(str(each.stat().st_uid))
    return found


def is_reachable(path: str | Path) -> bool:
    """Return True if another user can reach this file or folder, links followed."""
    real = os.path.realpath(path)
    try:
        if not os.stat(real).st_mode & 0o004:  # noqa: PTH116
            return False
        return all(parent.stat().st_mode & 0o001 for parent in Path(real).parents)
    except OSError:
        return False


def reachable_folder(own: Path, user: User | None) -> Path:
    """Return a folder to work in: `own`, of the store, if `user` can reach it, else one in the temporary folder.

    That one lasts as well, belongs to this user, and no other user may list it. No other user can replace either.
    Raises PermissionError if there is no such folder.
    """
    own = own.absolute()
    if user is None or (is_reachable(own.parent) and own.stat().st_mode & 0o001 and _stays(own)):
        return own
    place = next(filter(_make_ours, _shared_places()), None)
    if place is None:
        raise PermissionError(EPERM, "other users can take the place of every folder there", _TEMPORARY[-1])
    if place not in _held:
        _held[place] = hold(place)
    folder = place / own.name
    _make_ours(folder)
    sweep(folder)
    return folder


def shared_folder() -> Path | None:
    """Return the folder in the temporary one that all stores of this user share; None if there is none."""
    return next(filter(_is_ours, _shared_places()), None)


def _shared_places() -> Iterator[Path]:
    import tempfile

    for temporary in (tempfile.gettempdir(), *_TEMPORARY):
        if is_reachable(temporary) and _stays(Path(temporary)):
            for suffix in ("", *(f"-{number}" for number in range(1, 100))):
                yield Path(temporary).resolve() / f"deploy-work-{os.geteuid()}{suffix}"
            return


def _stays(folder: Path) -> bool:
    """Return True if no other user can rename files in this folder, or in one above it, links followed.

    If others may write there, the sticky bit keeps them from that (inode(7)). In a user namespace, 65534 stands for all
    users that it does not have, root among them (user_namespaces(7)).
    """
    place = folder.resolve()
    whole = [line.split() for line in _lines(Path("/proc/self/uid_map"))] == [["0", "0", "4294967295"]]
    trusted = {0, os.geteuid(), *(() if whole else (_NOBODY,))}
    for found in (each.stat() for each in (place, *place.parents)):
        writable = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if writable or found.st_uid not in trusted:
            return False
    return True


def _make_ours(folder: Path) -> bool:
    """Make a folder; False if another user has made it before."""
    with suppress(FileExistsError):
        folder.mkdir()
    ours = _is_ours(folder)
    if ours:
        folder.chmod(0o711)
    return ours


def _is_ours(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def reachable_path(path: str, user: User | None) -> str:
    """Return a PATH without the folders that `user` may not enter: the search for a program fails in such a folder."""
    return path if user is None else ":".join(filter(is_reachable, path.split(":")))


def bring_python(executable: str, own: Path, user: User | None) -> str | None:
    """Return an interpreter that `user` can start: this one, else a copy of it; None if it cannot be copied.

    The copy lasts in `reachable_folder`. It has the standard library and the headers, and no packages. Root often needs
    it, because pyenv and uv install root's Pythons in root's home.
    """
    real = Path(executable).resolve()
    if user is None or is_reachable(real):
        return executable
    prefix, library = real.parents[1], f"lib/{real.name}"
    if not (prefix / library / "os.py").is_file():
        return None
    found = real.stat()
    key = hashlib.sha256(repr((str(real), found.st_size, found.st_mtime_ns)).encode()).hexdigest()[:32]
    place = reachable_folder(own, user) / key
    keep_copy(place, lambda folder: _copy_python(prefix, real.name, folder))
    return str(place / "bin" / real.name)


def keep_copy(place: Path, make: Callable[[Path], object]) -> None:
    """Let `make` fill the folder that becomes `place`, unless that is there and complete."""
    if not is_complete(place):
        import shutil

        with temporary_folder(place.parent) as making:
            make(making / place.name)
            mark_complete(making / place.name)
            shutil.rmtree(place, ignore_errors=True)
            with suppress(OSError):  # another process was faster
                (making / place.name).rename(place)
    with suppress(OSError):
        os.utime(place)  # `deploy cache prune` reads the date of its last use


def _copy_python(prefix: Path, name: str, place: Path) -> None:
    import shutil

    folders = {f"lib/{name}": ("site-packages", "test", "idlelib", "__pycache__"), f"include/{name}": ()}
    for path, left_out in folders.items():
        if (prefix / path).is_dir():
            shutil.copytree(prefix / path, place / path, symlinks=True, ignore=shutil.ignore_patterns(*left_out))
    (place / "bin").mkdir()
    for file in (prefix / "bin" / name, *(prefix / "lib").glob("*.so*")):
        copied = place / file.relative_to(prefix)
        shutil.copy2(file, copied, follow_symlinks=False)
        if not copied.is_symlink():
            _lead_to_copy(copied, f"{prefix}/lib".encode())
    for folder, _, _ in os.walk(place):
        os.chmod(folder, 0o755)  # noqa: PTH101, S103


def _lead_to_copy(file: Path, libraries: bytes) -> None:
    """Let a program find its libraries beside the copy, although it names their folder by its absolute path."""
    beside = b"$ORIGIN/../lib"
    content = file.read_bytes()
    if len(libraries) >= len(beside) and libraries + b"\0" in content:
        file.write_bytes(content.replace(libraries + b"\0", beside.ljust(len(libraries) + 1, b"\0")))


def mark_complete(folder: Path) -> None:
    """Record the number of files in a folder, since other programs remove files from temporary folders."""
    descriptor, temporary = create_temporary(folder)
    try:
        os.write(descriptor, str(_count(folder) - 1).encode())
    finally:
        os.close(descriptor)
    temporary.rename(folder / _COUNT)


def is_complete(folder: Path) -> bool:
    """Return True if a folder still has all files that it had when it was marked."""
    try:
        return _count(folder) > int((folder / _COUNT).read_text())
    except (OSError, ValueError):
        return False


def _count(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


@contextmanager
def workplace(own: Path, user: User | None) -> Iterator[Path]:
    """Make a folder for the block in `reachable_folder`; `user` can enter it but not list it."""
    with temporary_folder(reachable_folder(own, user)) as place:
        if user:
            place.chmod(0o711)
        yield place.resolve()


def give(folder: Path, user: User | None) -> None:
    """Give a folder with all its files to `user`. Call it only before code of that user runs in it."""
    if user is None:
        return
    for place, folders, files in os.walk(folder):
        os.chown(place, user.uid, user.gid)
        for name in (*folders, *files):
            os.chown(f"{place}/{name}", user.uid, user.gid, follow_symlinks=False)


def open_left(path: Path) -> BinaryIO:
    """Open a file that strangers' code left; raises OSError if it is a link, or does not belong to its folder's owner.

    Otherwise root could read, through a link, a file that this code may not read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != path.parent.stat().st_uid:
        file.close()
        raise PermissionError(EPERM, "it is a file of another user", str(path))
    return file


def _may_change(process: Path) -> bool:
    row = next((line for line in _lines(process / "status") if line.startswith("CapEff:")), "CapEff: 0")
    held = int(row.split()[1], 16)
    return all(held >> number & 1 for number in _NEEDED)


def _is_mapped(number: int, table: Path) -> bool:
    """Return True if this user namespace has the number (user_namespaces(7))."""
    rows = [[int(word) for word in line.split()] for line in _lines(table)]
    return any(first <= number < first + count for first, _, count in rows)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
