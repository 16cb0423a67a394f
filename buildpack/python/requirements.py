"""Resolves the requirements of a package's build on the lock's indexes, in this process, so that no login leaves it.

The lock's own version of a project is preferred if it fits, and only with the locked hashes. Otherwise the newest
version that has a wheel is taken; an archive of sources is built only if no version that fits has a wheel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from buildpack.app.lockfile import canonical_name
from buildpack.bounded import parse_requirement, parse_version
from buildpack.dataclass import dataclass, field
from buildpack.python.build_settings import BuildSettings
from buildpack.python.fetch import describe_file, fetch_file
from buildpack.python.files import IndexFile, LockedFile, Sdist, WheelFile
from buildpack.python.http import Client, DeniedError, NotFoundError
from buildpack.python.isolation import BuildFailedError
from buildpack.python.simple import fetch_files
from buildpack.python.wheel import read_requires
from buildpack.python.wheel_choice import best_wheel, can_be_built, file_version, is_sdist

if TYPE_CHECKING:
    from buildpack.python.credentials import SourceUrl
    from buildpack.python.target import Target

F = TypeVar("F", bound=LockedFile)

_ROUNDS = 2000
"""Steps after which a resolution gives up. Most builds require a handful of projects."""
_SHOWN = 200
"""Characters of a requirement that a message shows."""

Build = Callable[[Sdist], WheelFile]
"""Makes the wheel of a required project that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A file that could be taken; `extras` are all extras of this project that are asked for so far."""

    name: str
    version: Version
    file: IndexFile
    source: SourceUrl
    extras: frozenset[str] = frozenset()


@dataclass(kw_only=True)
class _Provider:
    """Answers resolvelib's questions; see its documentation of `AbstractProvider`."""

    target: Target
    client: Client
    folder: Path
    settings: BuildSettings
    build: Build
    _offers: dict[str, tuple[SourceUrl, Sequence[IndexFile]]] = field(default_factory=dict)
    _wheels: dict[str, WheelFile] = field(default_factory=dict)

    def identify(self, requirement_or_candidate: Requirement | _Candidate) -> str:
        return canonical_name(requirement_or_candidate.name)

    def get_preference(self, identifier: str, *_: Any, backtrack_causes: Sequence[Any], **__: Any) -> tuple[bool, str]:
        causes = {self.identify(cause.requirement) for cause in backtrack_causes}
        return identifier not in causes, identifier

    def narrow_requirement_selection(self, identifiers: Iterable[str], **_: Any) -> Iterable[str]:
        return identifiers

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[Requirement]],
        incompatibilities: Mapping[str, Iterator[_Candidate]],
    ) -> Sequence[_Candidate]:
        wanted = list(requirements[identifier])
        refused = {candidate.file.filename for candidate in incompatibilities[identifier]}
        if addressed := next((each for each in wanted if each.url), None):
            raise BuildFailedError(f"{addressed} names an address, and builds get packages of an index only")
        allowed = SpecifierSet()
        for requirement in wanted:
            allowed &= requirement.specifier
        hashes: set[str] = set()
        for constraint in self.settings.constraints.get(identifier, ()):
            narrowing = Requirement(constraint.requirement)
            if narrowing.marker is None or narrowing.marker.evaluate(dict(self.target.environment)):
                allowed &= narrowing.specifier
                hashes |= set(constraint.hashes)
        extras = frozenset(extra for requirement in wanted for extra in requirement.extras)
        found = self._candidates(identifier, allowed, hashes, extras)
        return [candidate for candidate in found if candidate.file.filename not in refused]

    def is_satisfied_by(self, requirement: Requirement, candidate: _Candidate) -> bool:
        fits = requirement.specifier.contains(candidate.version, prereleases=True)
        return fits and requirement.extras <= candidate.extras

    def get_dependencies(self, candidate: _Candidate) -> list[Requirement]:
        path = fetch_file(self.wheel(candidate), self.client, self.folder)
        return list(_applying(read_requires(path), self.target, candidate.extras))

    def wheel(self, candidate: _Candidate) -> WheelFile:
        """Return the wheel of a candidate; an archive of sources is built."""
        found = self._wheels.get(candidate.file.filename)
        if found is None:
            if is_sdist(candidate.file.filename):
                found = self.build(self._described(Sdist, candidate))
            else:
                found = self._described(WheelFile, candidate)
            self._wheels[candidate.file.filename] = found
        return found

    def _candidates(
        self, name: str, allowed: SpecifierSet, hashes: set[str], extras: frozenset[str]
    ) -> list[_Candidate]:
        source, files = self._offer(name)
        by_version: dict[Version, list[IndexFile]] = {}
        exact = any(each.operator in {"==", "==="} and not each.version.endswith("*") for each in allowed)
        for file in files:
            if (file.yanked is not None and not exact) or (hashes and file.hashes.get("sha256") not in hashes):
                continue
            version = parse_version(file_version(file.filename, name) or "")
            if version is not None:
                by_version.setdefault(version, []).append(file)
        wheels: list[_Candidate] = []
        archives: list[_Candidate] = []
        for version in sorted(allowed.filter(by_version), reverse=True):
            best = best_wheel(by_version[version], self.target)
            archive = next((each for each in by_version[version] if can_be_built(each, self.target)), None)
            if chosen := best or archive:
                candidate = _Candidate(name=name, version=version, file=chosen, source=source, extras=extras)
                (wheels if best else archives).append(candidate)
        return [*self._pinned(name, allowed, by_version, source, extras), *wheels, *archives]

    def _pinned(
        self,
        name: str,
        allowed: SpecifierSet,
        by_version: Mapping[Version, Sequence[IndexFile]],
        source: SourceUrl,
        extras: frozenset[str],
    ) -> Iterator[_Candidate]:
        """Yield the locked file of a project, if its version is allowed."""
        pin = self.settings.pins.get(name)
        if pin is None or pin.version is None or not allowed.contains(pin.version, prereleases=True):
            return
        files = [
            file
            for version, offered in by_version.items()
            if SpecifierSet(f"=={pin.version}").contains(version, prereleases=True)
            for file in offered
            if f"sha256:{file.hashes.get('sha256')}" in pin.hashes
        ]
        chosen = best_wheel(files, self.target) or next(
            (each for each in files if can_be_built(each, self.target)), None
        )
        if chosen is not None:
            yield _Candidate(name=name, version=Version(pin.version), file=chosen, source=source, extras=extras)

    def _offer(self, name: str) -> tuple[SourceUrl, Sequence[IndexFile]]:
        """Return a project's files from the index that the lock names for it, else from the first that knows it."""
        if name not in self._offers:
            self._offers[name] = self._ask(name)
        return self._offers[name]

    def _ask(self, name: str) -> tuple[SourceUrl, Sequence[IndexFile]]:
        pin = self.settings.pins.get(name)
        named = pin.index if pin else None
        denied: tuple[SourceUrl, DeniedError] | None = None
        for source in self.client.sources:
            if named and source.name != named:
                continue
            try:
                if files := fetch_files(self.client, source, name):
                    return source, files
            except NotFoundError:
                continue
            except DeniedError as error:
                denied = denied or (source, error)
        if denied:
            by, refusal = denied
            raise refusal.explain(name, f"{by.url}{name}/", by.name)
        return self.client.sources[0], ()

    def _described(self, kind: type[F], candidate: _Candidate) -> F:
        file, version = candidate.file, str(candidate.version)
        promised = {algorithm: {value} for algorithm, value in file.hashes.items()} or None
        found = describe_file(
            kind,
            file,
            name=candidate.name,
            version=version,
            client=self.client,
            folder=self.folder,
            locked=promised,
            source=candidate.source,
        )
        if found is None:
            raise BuildFailedError(f"{file.filename} is not the file that its index promises")
        return found


def resolve_requirements(
    texts: Iterable[str], *, target: Target, client: Client, folder: Path, settings: BuildSettings, build: Build
) -> tuple[WheelFile, ...]:
    """Return the wheels, by name, that fulfil the requirements and the requirements of those wheels in turn.

    Raises BuildFailedError, or DependencyError if an index cannot be asked.
    """
    wanted = sorted(set(texts))
    if not wanted:
        return ()
    import resolvelib as library

    resolvelib: Any = library
    provider = _Provider(target=target, client=client, folder=folder, settings=settings, build=build)
    resolver = resolvelib.Resolver(provider, resolvelib.BaseReporter())
    try:
        result = resolver.resolve(list(_applying(wanted, target, frozenset())), max_rounds=_ROUNDS)
    except resolvelib.ResolutionImpossible as impossible:
        raise BuildFailedError(_explain(impossible.causes)) from None
    except resolvelib.ResolutionTooDeep:
        raise BuildFailedError("no versions that agree were found; too many were tried") from None
    return tuple(provider.wheel(result.mapping[name]) for name in sorted(result.mapping))


def _applying(texts: Iterable[str], target: Target, extras: frozenset[str]) -> Iterator[Requirement]:
    for text in texts:
        requirement = parse_requirement(text)
        if requirement is None:
            raise BuildFailedError(f"a requirement cannot be read: {text[:_SHOWN]}")
        marker = requirement.marker
        try:
            applies = marker is None or any(
                marker.evaluate({**target.environment, "extra": each}) for each in ("", *extras)
            )
        except (UndefinedComparison, UndefinedEnvironmentName):
            raise BuildFailedError(f"a requirement's marker cannot be compared: {text[:_SHOWN]}") from None
        if applies:
            yield requirement


def _explain(causes: Iterable[Any]) -> str:
    asked = sorted(
        {f"{cause.requirement}" + (f" (for {cause.parent.name})" if cause.parent else "") for cause in causes}
    )
    return f"no version on the lock's indexes fits {' and '.join(asked)}"
