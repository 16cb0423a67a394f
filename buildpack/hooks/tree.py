"""Write the copy that hooks work on from the hashed files, and read it back as the files to ship."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from buildpack.app.links import leads_out, never_enters
from buildpack.app.source import SourceFile
from buildpack.dataclass import dataclass
from buildpack.errors import app as app_errors
from buildpack.errors import hooks as errors
from buildpack.oci.content import ContentDamagedError, Sources
from buildpack.plan import APP_ROOT
from buildpack.python.venv import write_entries
from buildpack.steps.assembly import AppContent, read_content
from buildpack.system.processes import User
from buildpack.system.unprivileged import give

_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The files that the hooks left, which are shipped, and the paths that they changed, sorted."""

    content: AppContent
    changed: tuple[str, ...]
    warnings: tuple[str, ...]


def write_copy(content: AppContent, folder: Path, user: User | None) -> None:
    """Write the app's files below `folder`, which exists and is empty; they belong to `user`.

    Raises MachineError if a file changed since it was hashed.
    """
    with Sources() as sources:
        try:
            write_entries(content.entries[1:], str(folder), f"{APP_ROOT}/", sources)
        except ContentDamagedError as error:
            raise error.as_machine_error() from None
    give(folder, user)


def read_result(folder: Path, before: AppContent, *, steps: Sequence[str], mtime: int) -> Result:
    """Hash the files in the copy now, without those that never enter an image; `steps` names the hooks that ran.

    Ignore files do not count here: git often ignores the files that hooks make. Raises AppError for links that lead
    out of the app, and for names that no image can hold.
    """
    others: list[str] = []
    found = sorted(_walk(folder, steps, others), key=lambda file: file.path)
    links = {file.path: file.target for file in found if file.kind == "symlink"}
    known = {file.path: file for file in before.files}
    escaping = [path for path in links if leads_out(path, links)]
    if escaping:
        raise errors.escaping_links(steps, [(path, links[path]) for path in escaping])
    content = read_content(folder, found, mtime=mtime)
    now = {file.path: file for file in content.files}
    changed = sorted(path for path in known.keys() | now.keys() if known.get(path) != now.get(path))
    warnings = [app_errors.neither_file_nor_link(path) for path in sorted(others)]
    holding = [path for path in changed if path in now and _names(folder / path, folder)]
    if holding:
        warnings.append(errors.names_the_copy(steps, holding))
    return Result(content=content, changed=tuple(changed), warnings=tuple(warnings))


def _walk(folder: Path, steps: Sequence[str], others: list[str]) -> Iterator[SourceFile]:
    """Yield the files and links in the copy; `others` gets the paths that are neither."""
    waiting = [""]
    while waiting:
        above = waiting.pop()
        place = f"{folder}/{above}"
        try:
            with os.scandir(place) as entries:
                here = list(entries)
        except PermissionError:
            os.chmod(place, 0o700)  # noqa: PTH101  a hook may leave a folder that its owner may not list
            with os.scandir(place) as entries:
                here = list(entries)
        if above and any(entry.name == "pyvenv.cfg" for entry in here):
            continue
        for entry in here:
            path = above + entry.name
            if never_enters(entry.name, path):
                continue
            try:
                path.encode()
            except UnicodeEncodeError:
                raise errors.undecodable_name(steps, path) from None
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                waiting.append(f"{path}/")
            elif stat.S_ISLNK(status.st_mode):
                yield SourceFile(path=path, kind="symlink", target=os.readlink(entry.path))  # noqa: PTH115
            elif stat.S_ISREG(status.st_mode):
                yield SourceFile(path=path, kind="file", executable=bool(status.st_mode & stat.S_IXUSR))
            else:
                others.append(path)


def _names(path: Path, folder: Path) -> bool:
    """Return True if a file holds the copy's own path, which does not exist after the build."""
    if path.is_symlink():
        return False
    wanted = os.fsencode(folder)
    kept = b""
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            if wanted in kept + piece:
                return True
            kept = piece[-len(wanted) :]
    return False
