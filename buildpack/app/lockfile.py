"""The value that a lock file is read into. Everything after the reader knows this value only."""

from __future__ import annotations

import re

from buildpack.app.indexes import Source
from buildpack.dataclass import dataclass

_SEPARATORS = re.compile(r"[-_.]+")


def canonical_name(name: str) -> str:
    """Normalise a project's name (PEP 503)."""
    return _SEPARATORS.sub("-", name).lower()


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedPackage:
    """A package of a lock.

    `name` is canonical (PEP 503); `version` has no ``==`` and is None for commits and paths. `hashes` are
    ``sha256:<hex>``. They are empty for a commit (`git` and `ref`) and for a local `path` that is a folder. A package
    that is locked only by its `markers`, for another platform, has neither version nor hashes. `git` and `file` may
    hold ``${VAR}``. `place` is the file and line to fix (``Pipfile:3``). `requested` is true if the app itself asks
    for the package, and false if another package needs it.
    """

    name: str
    version: str | None = None
    hashes: tuple[str, ...] = ()
    markers: str | None = None
    extras: tuple[str, ...] = ()
    index: str | None = None
    git: str | None = None
    ref: str | None = None
    subdirectory: str | None = None
    path: str | None = None
    file: str | None = None
    editable: bool = False
    place: str = "the lock"
    requested: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """An app's locked packages, by name; `develop` are those that only tests need.

    `input_hash` is the hash, made in the lock tool's own way, of the file that the lock was made from; `sha256` is of
    the lock file's bytes, in hexadecimal.
    """

    packages: tuple[LockedPackage, ...]
    develop: tuple[LockedPackage, ...] = ()
    sources: tuple[Source, ...]
    python_version: str | None = None
    python_full_version: str | None = None
    input_hash: str = ""
    sha256: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def only_develop(self) -> tuple[LockedPackage, ...]:
        """The packages that only tests need, without those of `packages`."""
        return tuple(package for package in self.develop if not self.has(package.name))

    def has(self, name: str) -> bool:
        """Return True if `packages` has the package of this canonical name."""
        return any(package.name == name for package in self.packages)
