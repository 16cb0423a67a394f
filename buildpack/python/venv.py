"""The virtual environment: its layout, the files of an empty one, and the files that an installer adds to a wheel's.

An image's environment is `/opt/venv` on the stack's interpreter. `deploy local` uses the same layout in a folder of
this machine and writes the same entries to disk.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import posixpath
import shlex
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from buildpack.dataclass import dataclass
from buildpack.oci.content import ContentDamagedError, Sources
from buildpack.oci.entry import Entry, Inline, file, symlink
from buildpack.system.temporary import make_folder

SHEBANG_LIMIT = 127
"""Bytes of a first line that every Linux kernel reads (BINPRM_BUF_SIZE was 128 before 5.1)."""

Row = tuple[str, str, str]
"""Path, hash (``sha256=...``) and size; the last two may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenvLayout:
    """A virtual environment's folders, as paths from the root of the file system without the leading slash.

    `python_version` is the full one (``3.11.7``); `stack_python` is the absolute path of the environment's base
    interpreter. The properties are named as in sysconfig's ``venv`` scheme.
    """

    python_version: str
    stack_python: str
    root: str = "opt/venv"

    @property
    def short_version(self) -> str:
        """``3.11`` of ``3.11.7``."""
        return ".".join(self.python_version.split(".")[:2])

    @property
    def site_packages(self) -> str:
        """The folder of pure and platform-dependent modules alike: ``lib64`` is a link to ``lib``."""
        return f"{self.root}/lib/python{self.short_version}/site-packages"

    @property
    def scripts(self) -> str:
        """The folder of commands."""
        return f"{self.root}/bin"

    @property
    def interpreter(self) -> str:
        """The absolute path that scripts name in their first line."""
        return f"/{self.scripts}/python"

    def headers(self, name: str) -> str:
        """Return the folder of a distribution's C headers, where pip puts them in a virtual environment."""
        return f"{self.root}/include/site/python{self.short_version}/{name}"


def venv_entries(layout: VenvLayout) -> list[Entry]:
    """Return an empty environment: that of `python -m venv --without-pip`, without the scripts that activate it.

    The first wheel brings the folder `site-packages`.
    """
    home = posixpath.dirname(layout.stack_python)
    settings = {
        "home": home,
        "include-system-site-packages": "false",
        "version": layout.python_version,
        "executable": layout.stack_python,
    }
    config = "".join(f"{key} = {value}\n" for key, value in settings.items())
    return [
        file(f"{layout.root}/pyvenv.cfg", config.encode()),
        symlink(f"{layout.scripts}/python", layout.stack_python),
        symlink(f"{layout.scripts}/python3", "python"),
        symlink(f"{layout.scripts}/python{layout.short_version}", "python"),
        symlink(f"{layout.root}/lib64", "lib"),
    ]


def install_entries(entries: Iterable[Entry], folder: Path) -> None:
    """Write the entries, whose paths are all inside `folder`, to disk: all of them or none.

    Of two entries with one path the later counts. They are written beside `folder`, which appears by a rename; a folder
    that another process made meanwhile stays. Raises ValueError for a path outside and for damaged content.
    """
    import shutil
    import tempfile

    folder = folder.absolute()
    prefix = f"{str(folder).lstrip('/')}/"
    chosen = {entry.path: entry for entry in entries}
    make_folder(folder.parent)
    building = tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)
    try:
        with Sources() as sources:
            write_entries(chosen.values(), building, prefix, sources)
        os.rename(building, folder)  # noqa: PTH104
    except BaseException as error:
        shutil.rmtree(building, ignore_errors=True)
        if not (isinstance(error, OSError) and folder.is_dir()):
            raise


def write_entries(entries: Iterable[Entry], building: str, prefix: str, sources: Sources) -> None:
    """Write the entries, whose paths all begin with `prefix`, below the folder `building`.

    Raises ValueError for a path outside and for damaged content.
    """
    made: set[str] = {""}
    _make(building, made)
    for entry in entries:
        if not entry.path.startswith(prefix) or "/../" in f"/{entry.path}/":
            raise ValueError(f"{entry.path} is outside of /{prefix}")
        target = f"{building}/{entry.path[len(prefix) :]}"
        parent = target if entry.kind == "directory" else target.rpartition("/")[0]
        if parent not in made:
            _make(parent, made)
        if entry.kind == "symlink":
            os.symlink(entry.target, target)  # noqa: PTH211
        elif entry.kind == "file":
            _write(target, entry, sources)


def _make(folder: str, made: set[str]) -> None:
    """Make a folder and its parents with mode 755 under any umask, so that another user can enter them."""
    parent = folder.rpartition("/")[0]
    if parent not in made and not os.path.isdir(parent):
        _make(parent, made)
    with suppress(FileExistsError):
        os.mkdir(folder)  # noqa: PTH102
    if not os.path.islink(folder):  # a wheel may name `bin/python/x`, and that link leads to the stack
        os.chmod(folder, 0o755)  # noqa: PTH101, S103
    made.add(folder)


def _write(target: str, entry: Entry, sources: Sources) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for piece in sources.pieces(entry.content or Inline(b"")):
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        os.fchmod(descriptor, entry.mode)
    except ContentDamagedError as error:
        error.args = (f"{entry.path}: {error}",)
        raise
    finally:
        os.close(descriptor)


# RECORD and commands


def parse_record(text: str) -> dict[str, Row]:
    """Read the rows of a RECORD, by path; raises ValueError if a line does not have three fields."""
    from installer.records import InvalidRecordEntry, parse_record_file

    try:
        return {row[0]: row for row in parse_record_file(text.splitlines())}
    except (InvalidRecordEntry, csv.Error) as error:
        raise ValueError(str(error)) from error


def record_row(path: str, body: bytes) -> Row:
    """Make the row of a file that was not in the wheel, or not with these bytes."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")
    return path, f"sha256={digest}", str(len(body))


def render_record(rows: Iterable[Row]) -> bytes:
    """Write the rows sorted by path, so that equal contents have equal bytes."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    return text.getvalue().encode()


def write_wheel(out: Path | IO[bytes], files: Iterable[tuple[str, bytes, int]], record: str) -> None:
    """Write a wheel of these files, each with its path, content and attributes, and its RECORD.

    Nothing is compressed, since what zlib makes of a file differs between its versions. All files have the oldest time
    that a zip can hold.
    """
    from zipfile import ZipFile, ZipInfo

    rows = [(record, "", "")]
    with ZipFile(out, "w") as archive:
        for path, body, attributes in files:
            rows.append(record_row(path, body))
            info = ZipInfo(path)
            info.external_attr = attributes
            archive.writestr(info, body)
        archive.writestr(ZipInfo(record), render_record(rows))


def shebang(interpreter: str) -> bytes:
    """Return the first line (or lines) that start this interpreter.

    If the path is too long or holds a space, `sh` starts it: the lines are a shell command and at the
    same time a Python string, as distlib, pip and installer write them.
    """
    line = f"#!{interpreter}\n".encode()
    if len(line) <= SHEBANG_LIMIT and b" " not in line:
        return line
    return f"#!/bin/sh\n'''exec' {shlex.quote(interpreter)} \"$0\" \"$@\"\n' '''\n".encode()


def entry_point_scripts(text: str, interpreter: str) -> dict[str, bytes]:
    """Return the scripts that an ``entry_points.txt`` asks for, by name.

    The template is installer's, which is pip's. Raises ValueError for a file that does not parse.
    """
    from configparser import Error

    from installer.scripts import Script
    from installer.utils import parse_entrypoints

    try:
        points = list(parse_entrypoints(text))
    except (Error, AssertionError, AttributeError) as error:
        # installer asserts if a line names no `module:function`.
        raise ValueError("entry_points.txt does not parse") from error
    made: dict[str, bytes] = {}
    for name, module, attribute, section in points:
        script = Script(name, module, attribute, section)
        # The empty interpreter gives a first line that is replaced.
        made[name] = shebang(interpreter) + script.generate("", "posix")[1].partition(b"\n")[2]
    return made
