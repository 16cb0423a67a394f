"""The virtual environment's layout: where each kind of file goes, and what is there before any wheel.

An image's environment is `/opt/venv` on the stack's interpreter. `deploy local` uses the same layout at a folder of
this machine and writes the same entries to disk.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from buildpack.dataclass import dataclass
from buildpack.oci.content import Sources
from buildpack.oci.entry import Entry, Inline, file, symlink
from buildpack.system.temporary import make_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class VenvLayout:
    """A virtual environment's folders, as paths from the root of the file system without the leading slash.

    `python_version` is the full one (``3.11.7``); `stack_python` the absolute path of the interpreter it
    stands on. Schemes are named as in sysconfig's ``venv`` scheme.
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
    """Return the environment without any package: what `python -m venv --without-pip` makes, less its activation.

    `site-packages` itself comes with the first wheel; an environment without wheels has none.
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
    """Write the entries, whose paths all lie in `folder`, to disk: all of them or none.

    A later entry takes the place of an earlier one with the same path. They are written beside `folder`,
    which appears by a rename; where it exists already, made by another process meanwhile, it is left
    alone. Raises ValueError for a path outside of it and for a stream that does not hold what its entry
    says.
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
            _write_all(building, prefix, chosen.values(), sources)
        os.rename(building, folder)  # noqa: PTH104
    except BaseException as error:
        shutil.rmtree(building, ignore_errors=True)
        if not (isinstance(error, OSError) and folder.is_dir()):
            raise


def _write_all(building: str, prefix: str, entries: Iterable[Entry], sources: Sources) -> None:
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
    """Make a folder and those above it, with the same mode under any umask: another user may have to get there."""
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
    except ValueError as error:
        raise ValueError(f"{entry.path}: {error}") from error
    finally:
        os.close(descriptor)
