"""Files of an index as values, and where each is in the store once it is fetched.

Apart from `fetch`, because a build in which nothing changed needs these values and no connections.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from buildpack.dataclass import dataclass, field
from buildpack.oci.lease import use
from buildpack.system.temporary import make_folder, temporary_folder


def canonical_name(name: str) -> str:
    """Normalise a project's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """One file that an index offers.

    `link` is absolute and may hold a login or a signature, so it never prints. `hashes` are by
    algorithm, in lower-case hexadecimal; `size` is in bytes, None if the index does not say;
    `yanked` is the reason (PEP 592), None for a file that is not.
    """

    filename: str
    link: str = field(repr=False)
    hashes: Mapping[str, str]
    size: int | None = None
    requires_python: str = ""
    yanked: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile:
    """A file that the lock allows, on an index: values for JSON, and no secret among them.

    `name` is canonical; `url` lacks login and query; `source` is the index's name in the lock;
    `sha256` is in hexadecimal, `size` in bytes; `yanked` is the index's reason, None for no.
    """

    name: str
    version: str
    filename: str
    url: str
    sha256: str
    size: int
    source: str
    yanked: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFile(LockedFile):
    """The wheel that serves a locked package on a target. A wheel built here has no `url`.

    `origin` tells what it was built from, where that is locked: an archive's ``sha256:<hex>``, or ``git:<commit>``.
    `required` is what the build required, as `BuildSettings.pinned` renders it. `libraries` are the shared libraries
    that were copied into it, each as ``SONAME=sha256:<hex>``, with spaces between.
    """

    origin: str = ""
    required: str = ""
    libraries: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdist(LockedFile):
    """The archive of sources from which a locked package has to be built."""


def stored_path(folder: Path, file: LockedFile) -> Path | None:
    """Return a file's path in the folder, if it is there with the right size."""
    path = folder / file.sha256 / file.filename
    found = use(path, folder.parent)
    return path if found is not None and found.st_size == file.size else None


def verified_path(folder: Path, file: LockedFile) -> Path | None:
    """Return a file's path in the folder, if its bytes are still those that were verified; delete it if not."""
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
        (beside / filename).chmod(0o644)  # whatever the umask
        (beside / filename).replace(folder / sha256 / filename)
    return sha256, size
