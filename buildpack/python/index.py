"""Finds the file of an index that serves a locked package on the target.

A lock has hashes and no file names. So each project's page is read, and of the files with a locked hash the wheel that
fits best is taken; without a wheel, the archive of sources is built.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from buildpack.app.lockfile import canonical_name
from buildpack.bounded import parse_version
from buildpack.dataclass import asdict, dataclass
from buildpack.errors import BuildpackError, DependencyError
from buildpack.errors import python as errors
from buildpack.python.fetch import describe_file
from buildpack.python.files import IndexFile, LockedFile, Sdist, WheelFile
from buildpack.python.http import Client, DeniedError, NotFoundError
from buildpack.python.simple import fetch_files
from buildpack.python.target import Target
from buildpack.python.wheel_choice import (
    best_wheel,
    can_be_built,
    file_version,
    misfits,
    nearest_version,
    only_system,
    same_version,
)

if TYPE_CHECKING:
    from buildpack.app.lockfile import LockedPackage
    from buildpack.python.credentials import SourceUrl

STRONG = frozenset({"sha256", "sha384", "sha512"})
FORMAT = 1
"""Goes into the keys of what is remembered: raise it when the choice among files changes."""


F = TypeVar("F", bound=LockedFile)

Build = Callable[["LockedPackage", Sdist | None], WheelFile]
"""Makes a wheel from an archive of sources, or from the commit, path or file that the package names."""

Recall = Callable[[str, str], Any]
Remember = Callable[[str, str, Any], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbuilt:
    """A package that has to be built: from an archive of sources, else from the commit, path or file that it names."""

    package: LockedPackage
    sdist: Sdist | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """Finds the file of one package: the one that an earlier build found, else one of the indexes.

    `recall` and `remember` take a kind, a key and a JSON value without secrets; `folder` is the store's for wheels.
    `resolved` is called with each wheel as soon as it is known, from several threads.
    """

    target: Target
    client: Client
    folder: Path
    recall: Recall = lambda _kind, _key: None
    remember: Remember = lambda _kind, _key, _value: None
    build: Build | None = None
    resolved: Callable[[WheelFile], object] = lambda _wheel: None

    def recalled(self, package: LockedPackage) -> WheelFile | None:
        """Return the wheel that an earlier build found on an index; None if there is none."""
        if not package.hashes:
            return None
        wheel = WheelFile.parse(self.recall("wheel", self._key(package)))
        if wheel is None or not wheel.url:
            return None
        self.resolved(wheel)
        return wheel

    def find(self, package: LockedPackage) -> WheelFile | Unbuilt:
        """Find a package's wheel, or what to build it from, on the indexes."""
        if package.git or package.path or package.file:
            return Unbuilt(package=package)
        if (known := self._recalled_sdist(package)) is not None:
            return Unbuilt(package=package, sdist=known)
        chosen = self._find(package, locked_hashes(package))
        if isinstance(chosen, Sdist):
            self.remember("sdist", self._key(package), asdict(chosen))
            return Unbuilt(package=package, sdist=chosen)
        self.remember("wheel", self._key(package), chosen.render())
        self.resolved(chosen)
        return chosen

    def make(self, found: WheelFile | Unbuilt) -> WheelFile:
        """Build what is not a wheel yet; the builder may remember its wheel from an earlier build."""
        if isinstance(found, WheelFile):
            return found
        package, sdist = found.package, found.sdist
        assert self.build is not None, package.name
        wheel = self.build(package, sdist)
        self.resolved(wheel)
        return wheel

    def _recalled_sdist(self, package: LockedPackage) -> Sdist | None:
        """Return the archive that an earlier build found; the builder remembers its wheel."""
        value = self.recall("sdist", self._key(package))
        try:
            return Sdist(**value) if value else None
        except TypeError:
            return None

    def _key(self, package: LockedPackage) -> str:
        sources = [[source.name, source.url] for source in self._sources(package)]
        parts = [
            FORMAT,
            canonical_name(package.name),
            package.version,
            sorted(package.hashes),
            sources,
            self.target.key,
        ]
        return json.dumps(parts)

    def _sources(self, package: LockedPackage) -> tuple[SourceUrl, ...]:
        sources = self.client.sources
        if not package.index:
            return sources
        named = tuple(source for source in sources if source.name == package.index)
        if not named:
            raise errors.unknown_source(package.name, package.index, [source.name for source in sources], package.place)
        return named

    def _find(self, package: LockedPackage, locked: Mapping[str, Collection[str]]) -> WheelFile | Sdist:
        """Ask the sources in their order; the first wheel wins over any archive of sources."""
        sdist: Sdist | None = None
        seen: list[IndexFile] = []
        missing: list[str] = []
        denied: tuple[SourceUrl, DeniedError] | None = None
        # Files with another sha256 can be skipped only if the lock has no other kind of hash.
        wanted = locked["sha256"] if set(locked) == {"sha256"} else None
        for source in self._sources(package):
            try:
                files = fetch_files(self.client, source, canonical_name(package.name), wanted=wanted)
            except NotFoundError:
                missing.append(f"{source.url}{canonical_name(package.name)}/")
                continue
            except DeniedError as error:
                denied = denied or (source, error)
                continue
            seen += files
            found = self._choose(source, package, files, locked)
            if isinstance(found, WheelFile):
                return found
            sdist = sdist or found
        if sdist:
            return sdist
        if denied:
            by, refusal = denied
            raise refusal.explain(package.name, f"{by.url}{canonical_name(package.name)}/", by.name)
        raise self._explain(package, locked, seen, missing)

    def _choose(
        self,
        source: SourceUrl,
        package: LockedPackage,
        files: Sequence[IndexFile],
        locked: Mapping[str, Collection[str]],
    ) -> WheelFile | Sdist | None:
        # As pip does: a lock whose lines were merged may have the hashes of two versions.
        certain = [file for file in files if _agrees(file, locked) and not is_of_another_version(file, package)]
        if best := best_wheel(certain, self.target):
            return self._described(WheelFile, source, package, best, locked)
        possible = [file for file in files if _agrees(file, locked) is None and _is_of(file, package)]
        while best := best_wheel(possible, self.target):
            if wheel := self._described(WheelFile, source, package, best, locked):
                return wheel
            possible.remove(best)
        for file in sorted((*certain, *possible), key=lambda each: each.filename):
            if can_be_built(file, self.target) and (sdist := self._described(Sdist, source, package, file, locked)):
                return sdist
        return None

    def _described(
        self,
        kind: type[F],
        source: SourceUrl,
        package: LockedPackage,
        file: IndexFile,
        locked: Mapping[str, Collection[str]],
    ) -> F | None:
        name = canonical_name(package.name)
        version = file_version(file.filename, name) or package.version or ""
        return describe_file(
            kind, file, name=name, version=version, client=self.client, folder=self.folder, locked=locked, source=source
        )

    def _explain(
        self,
        package: LockedPackage,
        locked: Mapping[str, Collection[str]],
        seen: Sequence[IndexFile],
        missing: Sequence[str],
    ) -> BuildpackError:
        sources = self._sources(package)
        if len(missing) == len(sources):
            return errors.no_such_project(package.name, package.place, missing)
        # Read again in full: the first reading skipped files that are not locked.
        name = canonical_name(package.name)
        offered: list[IndexFile] = []
        for source in sources:
            try:
                offered += fetch_files(self.client, source, name)
            except (NotFoundError, DeniedError):
                continue
        of_version = [file for file in offered if _is_of(file, package)]
        allowed = [file for file in seen if _agrees(file, locked)]
        names = sorted({file.filename for file in of_version})
        if allowed and all(is_of_another_version(file, package) for file in allowed):
            names = sorted({file.filename for file in allowed})
            return errors.another_version_locked(package.name, package.version, package.place, names)
        if not of_version and not allowed:
            nearest = nearest_version(offered, package, self.target)
            return errors.no_such_version(package.name, package.version, package.place, nearest)
        fitting = [file for file in of_version if not _agrees(file, locked) and self._fits(file)]
        if fitting and not allowed:
            return errors.not_as_locked(package.name, package.version, package.place, names)
        files = [file for file in allowed if not is_of_another_version(file, package)] or of_version
        best = best_wheel(fitting, self.target)
        return errors.no_file_fits(
            package.name,
            package.version,
            str(self.target),
            misfits(files, self.target),
            unlocked=[best.filename] if best else [],
            nearest=nearest_version(offered, package, self.target),
            system=only_system([*files, *of_version]),
            place=package.place,
        )

    def _fits(self, file: IndexFile) -> bool:
        """Return True if a file could be installed, or built, on the target."""
        return can_be_built(file, self.target) or best_wheel([file], self.target) is not None


def nearest_wheel(package: LockedPackage, client: Client, target: Target) -> str | None:
    """Ask the first index for the nearest release with a wheel, for a hint; None if the index does not answer."""
    try:
        files = [file for source in client.sources[:1] for file in fetch_files(client, source, package.name)]
    except (DependencyError, NotFoundError, DeniedError):
        return None
    return nearest_version(files, package, target)


def locked_hashes(package: LockedPackage) -> dict[str, frozenset[str]]:
    """Group a package's hashes by algorithm. Raises DependencyError if none is strong (as pip does)."""
    grouped: dict[str, set[str]] = {}
    for text in package.hashes:
        algorithm, _, value = text.partition(":")
        grouped.setdefault(algorithm.lower(), set()).add(value.lower())
    strong = {algorithm: frozenset(values) for algorithm, values in grouped.items() if algorithm in STRONG}
    if not strong:
        raise errors.unhashed(package.name, package.version, sorted(grouped), package.place)
    return strong


def _agrees(file: IndexFile, locked: Mapping[str, Collection[str]]) -> bool | None:
    """Return True if a file's hash is locked; None if the index gives no hash of a kind that the lock has."""
    shared = [algorithm for algorithm in locked if algorithm in file.hashes]
    if not shared:
        return None
    return any(file.hashes[algorithm] in locked[algorithm] for algorithm in shared)


def _is_of(file: IndexFile, package: LockedPackage) -> bool:
    """Return True if a file's name has the locked version; any version will do if the lock names none."""
    version = file_version(file.filename, canonical_name(package.name))
    return version is not None and (not package.version or same_version(version, package.version))


def is_of_another_version(file: IndexFile, package: LockedPackage) -> bool:
    """Return True if a file's name has certainly another version than the locked one.

    A version without a local part includes those with one (PEP 440, "Version matching").
    """
    found = file_version(file.filename, canonical_name(package.name))
    if found is None or not package.version:
        return False
    one, other = parse_version(found), parse_version(package.version)
    if one is None or other is None:
        return False
    return one != other and (other.local is not None or parse_version(one.public) != other)
