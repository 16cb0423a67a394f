"""Files of an index as values: what a lock resolves to, and where each stands once it is fetched.

Apart from `fetch`, because a build in which nothing changed needs these values and no connections.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from buildpack.dataclass import dataclass
from buildpack.oci.lease import use


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


def stored_path(folder: Path, file: LockedFile) -> Path | None:
    """Return where a file stands in the folder, if it does, with the right size."""
    path = folder / file.sha256 / file.filename
    found = use(path, folder.parent)
    return path if found is not None and found.st_size == file.size else None


def verified_path(folder: Path, file: LockedFile) -> Path | None:
    """Return where a file stands in the folder, if its bytes are still those that were verified; drop it if not."""
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
