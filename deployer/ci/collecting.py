"""Brings reports of the tests out: files and folders that they wrote into the app's folder.

The tests are the app's own code, or what a stranger proposes. So links, devices and names that lead elsewhere are left
out, and the size is bounded.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from buildpack.dataclass import dataclass
from buildpack.system.processes import User, acting_as
from deployer.errors import ci as errors
from deployer.text import plural, size_text

LIMIT = 1 << 30
"""Bytes. Reports and coverage of large apps have some 10 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collect:
    """A file or folder to copy: its path in the app's folder, and the folder that it is copied into.

    `real` is where that folder was, links followed, before any code of the app ran.
    """

    path: str
    folder: Path
    real: Path


def parse_collect(texts: Iterable[str]) -> tuple[Collect, ...]:
    """Read ``PATH=DIR`` operands of `--collect`; raises UsageError."""
    found = []
    for text in texts:
        path, _, folder = text.partition("=")
        parts = PurePosixPath(path).parts
        if not path or not folder or "\0" in text:
            raise errors.bad_collect(text, "PATH or DIR is missing")
        if path.startswith("/") or ".." in parts or not parts:
            raise errors.bad_collect(text, "PATH leads out of the app's folder, or names all of it")
        if _is_led_away(Path(folder)):
            raise errors.bad_collect(text, "DIR leads out of the current folder through a link")
        found.append(Collect(path=str(PurePosixPath(path)), folder=Path(folder), real=_real(Path(folder))))
    return tuple(found)


def _is_led_away(folder: Path) -> bool:
    """Tell whether a folder that seems to be in the current one is not: a checkout's links are its author's."""
    inside = not folder.is_absolute() and ".." not in folder.parts
    return inside and not _real(folder).is_relative_to(_real(Path.cwd()))


def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))


def collect_local(asked: Collect, app: Path, *, user: User | None, tell: Callable[[str], object]) -> None:
    """Copy from the folder in which the tests ran as `user`; `tell` is told how much it was, or why it was nothing."""
    place = app / asked.path
    size = 0

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        nonlocal size
        if not (member.isreg() or member.isdir()):
            return None
        size += member.size
        if size > LIMIT:
            raise _TooMuchError
        return member

    with tempfile.TemporaryFile() as archive:
        try:
            with acting_as(user), tarfile.open(fileobj=archive, mode="w") as tar:
                if not _real(place).is_relative_to(_real(app)):
                    raise FileNotFoundError
                tar.add(place, arcname=place.name, filter=plain)
        except _TooMuchError:
            tell(_too_much(asked))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            tell(_nothing(asked))
        else:
            _unpack(archive, asked, tell)


class _TooMuchError(Exception):
    """Raised if the files to collect have more than `LIMIT` bytes together."""


def collect_archive(asked: Collect, pieces: Iterable[bytes] | None, *, tell: Callable[[str], object]) -> None:
    """Copy from a tar that an engine gives, None if there is none; `tell` is told as by `collect_local`."""
    if pieces is None:
        tell(_nothing(asked))
        return
    with tempfile.TemporaryFile() as archive:
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > LIMIT:
                tell(_too_much(asked))
                return
            archive.write(piece)
        _unpack(archive, asked, tell)


def _unpack(archive: BinaryIO, asked: Collect, tell: Callable[[str], object]) -> None:
    if _real(asked.folder) != asked.real:  # the checkout may belong to the user that ran the tests
        tell(f"{asked.path} is not collected: {asked.folder} led to {asked.real} until the tests ran")
        return
    archive.seek(0)
    count = size = 0
    with tarfile.open(fileobj=archive, mode="r:") as tar:
        for member, path in _files(tar):
            size += member.size
            if size > LIMIT:
                tell(_too_much(asked))
                return
            content = tar.extractfile(member)
            assert content is not None
            with content, _open_new(asked.real, path) as file:
                shutil.copyfileobj(content, file)
            count += 1
    if count:
        tell(f"collected {asked.path} into {asked.folder}: {plural(count, 'file')}, {size_text(size)}")
    else:
        tell(_nothing(asked))


def _open_new(folder: Path, path: PurePosixPath) -> BinaryIO:
    """Open a new file in `folder`, in place of what is there: links of a checkout may lead anywhere."""
    place = folder
    place.mkdir(parents=True, exist_ok=True)
    for part in path.parent.parts:
        place /= part
        if place.is_symlink():
            place.unlink()
        place.mkdir(exist_ok=True)
    target = place / path.name
    target.unlink(missing_ok=True)
    return target.open("xb")


def _files(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Yield the regular files with where they belong; names that lead elsewhere are left out."""
    for member in tar:
        path = PurePosixPath(member.name)
        if member.isreg() and path.parts and not path.is_absolute() and ".." not in path.parts:
            yield member, path


def _nothing(asked: Collect) -> str:
    return f"nothing to collect at {asked.path}: the tests wrote no file there"


def _too_much(asked: Collect) -> str:
    return f"{asked.path} is not collected: it has more than {size_text(LIMIT)}"
