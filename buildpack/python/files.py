"""Files of an index as values, and their places in the store.

This is not a part of `fetch`, because a build in which nothing changed needs these values and no connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from buildpack.dataclass import asdict, dataclass, field
from buildpack.oci.lease import use
from buildpack.python.about import About
from buildpack.system.temporary import make_folder, temporary_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """One file that an index offers.

    `link` is absolute and may hold a login or a signature, so it is never printed. `hashes` are by algorithm, in
    lower-case hexadecimal; `size` is in bytes, None if the index does not say; `yanked` is the reason (PEP 592), None
    for a file that is not yanked.
    """

    filename: str
    link: str = field(repr=False)
    hashes: Mapping[str, str]
    size: int | None = None
    requires_python: str = ""
    yanked: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile:
    """A file of an index that the lock allows: values for JSON, without a secret.

    `name` is canonical; `url` has neither login nor query, and is empty for a file that no index has; `source` is the
    index's name in the lock; `sha256` is in hexadecimal, `size` in bytes; `yanked` is the index's reason, None for a
    file that is not yanked.
    """

    name: str
    version: str
    filename: str
    url: str = ""
    sha256: str
    size: int
    source: str = ""
    yanked: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFile(LockedFile):
    """The wheel that serves a locked package on a target. A wheel that was built here has no `url`.

    `origin` names its locked sources: an archive's ``sha256:<hex>``, or ``git:<commit>``. `required` are the projects
    that its build required, as `BuildSettings.pinned` renders them. `libraries` are the shared libraries that were
    copied into it, each as ``SONAME=sha256:<hex>``, separated by spaces.

    The other facts are known once the wheel was read: `pkg_resources` is true if it imports that module of setuptools,
    and `shared` if another wheel has a different file of the same path. `about` is its metadata, None if nobody read
    it. `roots` are its top files and folders (`find_roots`).
    """

    origin: str = ""
    required: str = ""
    libraries: str = ""
    pkg_resources: bool = False
    shared: bool = False
    about: About | None = None
    roots: tuple[str, ...] = ()

    @property
    def pure(self) -> bool:
        """True if the wheel is for any platform (binary distribution format, "File name convention")."""
        return self.filename.endswith("-any.whl")

    def render(self) -> dict[str, Any]:
        """Return the wheel as JSON values, for the store."""
        return {**asdict(self), "about": self.about and self.about.render()}

    @classmethod
    def parse(cls, value: Any) -> WheelFile | None:
        """Read what `render` returned; None for anything else."""
        try:
            return cls(**{**value, "about": About.parse(value.get("about")), "roots": tuple(value.get("roots", ()))})
        except (AttributeError, TypeError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdist(LockedFile):
    """The archive of sources of a locked package that has to be built."""


def stored_path(folder: Path, file: LockedFile) -> Path | None:
    """Return a file's path in the folder; None if it is missing or has another size."""
    path = folder / file.sha256 / file.filename
    found = use(path, folder.parent)
    return path if found is not None and found.st_size == file.size else None


def verified_path(folder: Path, file: LockedFile) -> Path | None:
    """Return a file's path in the folder if it still has its hash; else delete it and return None."""
    from hashlib import file_digest

    path = folder / file.sha256 / file.filename
    if use(path, folder.parent) is None:
        return None
    with suppress(OSError):
        with path.open("rb") as stored:
            if file_digest(stored, "sha256").hexdigest() == file.sha256:
                return path
        path.unlink()
    return None


def store_file(content: BinaryIO, filename: str, folder: Path) -> tuple[str, int]:
    """Copy a file into the folder, under its SHA-256; return that, and its size in bytes."""
    import shutil
    from hashlib import file_digest

    with temporary_folder(folder) as beside:
        with (beside / filename).open("w+b") as out:
            shutil.copyfileobj(content, out, 1 << 20)
            size = out.tell()
            out.seek(0)
            sha256 = file_digest(out, "sha256").hexdigest()
        make_folder(folder / sha256)
        (beside / filename).chmod(0o644)  # under any umask
        (beside / filename).replace(folder / sha256 / filename)
    return sha256, size
