"""Writes exported files, each as a whole, and never over files that somebody else wrote."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from buildpack.bounded import open_regular
from buildpack.dataclass import dataclass
from buildpack.errors.transfer import cannot_write
from buildpack.system.temporary import make_folder
from deployer.errors.files import foreign_file
from deployer.text import BIDI

MARK = "written by `deploy export"
"""In the first line of each file, so that the next export recognises its own files."""

STOP_SECONDS = 30
"""Time from TERM to KILL, longer than the 25 s that the launcher may take."""

TURNING = "".join(map(chr, BIDI))
"""For a class of a regular expression: such a character would make a command look like another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """One file to write; `secret` if it holds config vars, which only its owner should read."""

    name: str
    content: str
    secret: bool = False


def load_templates(program: str, **filters: Callable[..., str]) -> Environment:
    """Return the templates of a program's files, with these filters."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates" / program),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  not web pages
    )
    templates.filters.update(filters)
    return templates


def write_files(files: Sequence[ExportedFile], folder: Path, *, force: bool = False) -> list[Path]:
    """Write files to a folder, which is created if it is missing, and return their paths.

    Files of an earlier export, which begin with the same line, are replaced; other files only with `force`. Raises
    UsageError, without writing anything, if there are other files and `force` is false.
    """
    targets = [folder / file.name for file in files]
    foreign = [
        path
        for file, path in zip(files, targets, strict=True)
        if os.path.lexists(path) and not _begins_with(path, file.content.partition("\n")[0])
    ]
    if foreign and not force:
        raise foreign_file(foreign)
    try:
        make_folder(folder)
    except OSError as error:
        raise cannot_write(str(folder), error.strerror or str(error)) from None
    for file, path in zip(files, targets, strict=True):
        _write(file, path)
    return targets


def _write(file: ExportedFile, path: Path) -> None:
    import tempfile

    # mkstemp creates it for the owner only, so that nobody else can read a secret at any moment.
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.write(file.content)
            os.fchmod(out.fileno(), 0o600 if file.secret else 0o644)
        os.replace(temporary, path)  # noqa: PTH105  a string, as mkstemp gave it
    except BaseException:
        os.unlink(temporary)  # noqa: PTH108
        raise


def find_leftovers(files: Sequence[ExportedFile], folder: Path, app: str) -> list[Path]:
    """Return the units of this app that only an earlier export wrote, such as ``web.3`` if there are two now."""
    written = {file.name for file in files}
    found = (path for pattern in (f"{app}-*.service", f"{app}-*.target") for path in folder.glob(pattern))
    return sorted(
        path
        for path in found
        if path.name not in written and _begins_with(path, f"# {path.name} of {app}: {MARK} systemd`")
    )


def _begins_with(path: Path, line: str) -> bool:
    try:
        with open_regular(path) as lines:
            return lines.readline(1000).rstrip(b"\n") == line.encode()
    except OSError:
        return False
