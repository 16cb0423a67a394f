"""Copy reports of the tests out: files and folders that they wrote into the app's folder.

The tests are the app's own code, perhaps a stranger's proposal. So links, devices and names that lead elsewhere are
left out, and the size is bounded.
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
from deployer.engines.engine import LARGEST_READ, ReadFile, TooLargeError
from deployer.errors import ci as errors
from deployer.text import plural, size_text


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
    """Return True if a link leads a relative folder out of the current one: a checkout's links are its author's."""
    inside = not folder.is_absolute() and ".." not in folder.parts
    return inside and not _real(folder).is_relative_to(_real(Path.cwd()))


def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))


def collect(asked: Collect, read: ReadFile, *, say: Callable[[str], object]) -> None:
    """Copy what `read` finds at the path; `say` how much it was, or why it is nothing."""
    try:
        with tempfile.TemporaryFile() as archive:
            size = 0
            pieces = read(asked.path)
            for piece in pieces or ():
                size += len(piece)
                if size > LARGEST_READ:
                    raise TooLargeError
                archive.write(piece)
            say(_nothing(asked) if pieces is None else _unpack(archive, asked))
    except TooLargeError:
        say(f"{asked.path} is not collected: it has more than {size_text(LARGEST_READ)}")


def _unpack(archive: BinaryIO, asked: Collect) -> str:
    """Copy the files of an archive, and return how much it was. Raises TooLargeError."""
    if _real(asked.folder) != asked.real:  # the checkout may belong to the user that ran the tests
        return f"{asked.path} is not collected: {asked.folder} led to {asked.real} until the tests ran"
    archive.seek(0)
    count = size = 0
    with tarfile.open(fileobj=archive, mode="r:") as tar:
        for member, path in _files(tar):
            size += member.size
            if size > LARGEST_READ:
                raise TooLargeError
            content = tar.extractfile(member)
            assert content is not None
            with content, _open_new(asked.real, path) as file:
                shutil.copyfileobj(content, file)
            count += 1
    if not count:
        return _nothing(asked)
    return f"collected {asked.path} into {asked.folder}: {plural(count, 'file')}, {size_text(size)}"


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
    """Yield the regular files with their paths; names that lead elsewhere are left out."""
    for member in tar:
        path = PurePosixPath(member.name)
        if member.isreg() and path.parts and not path.is_absolute() and ".." not in path.parts:
            yield member, path


def _nothing(asked: Collect) -> str:
    return f"nothing to collect at {asked.path}: the tests wrote no file there"
