"""Look up the wheel of each locked package in the indexes, fetch the wheels, and read their metadata."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.app.findings import Brought, brought_by
from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.dataclass import asdict, replace
from buildpack.errors import wheels as errors
from buildpack.oci.store import Store
from buildpack.plan import VENV_ROOT
from buildpack.progress import Observer, Progress
from buildpack.python.about import About
from buildpack.session import Session
from buildpack.steps.install_target import RESOLUTION_FORMAT, InstallTarget, Resolution, recalled_about
from buildpack.steps.reuse import Claims, answering, origin_of
from buildpack.steps.wheel_conflicts import (
    Summary,
    check_file_or_folder,
    check_name_and_version,
    find_overlaps,
    may_overlap,
    setuptools_missing,
    setuptools_too_new,
    summarise,
)

if TYPE_CHECKING:
    from buildpack.python.files import LockedFile, Sdist, WheelFile
    from buildpack.python.http import Client
    from buildpack.python.index import Build
    from buildpack.python.target import Target

SETUPTOOLS = LockedPackage(
    name="setuptools",
    version="80.9.0",
    hashes=("sha256:062d34222ad13e0cc312a4c02d73f059e86a4acbfbdea8f8f76b28c99f306922",),
    place="Pipfile.lock",
)
"""Added if a locked wheel imports `pkg_resources` and no locked wheel has it: older pipenv left setuptools out.

`pkg_resources` warns from 81 on, and 82 lacks it.
"""


class WheelSearch:
    """One look-up of the wheels of a lock. Each wheel is read as soon as it arrives."""

    def __init__(self, lock: Lock, target: InstallTarget, session: Session, folder: Path) -> None:
        self._lock = lock
        self._to = target
        self._session = session
        self._store = session.store
        self._folder = folder
        self._wheels = session.store.folder("wheels")
        self._summaries: dict[str, Summary] = {}

    def fetch(self, packages: Sequence[LockedPackage]) -> None:
        """Find and fetch the wheels; raises DependencyError."""
        from buildpack.python.http import Client
        from buildpack.python.select import select_packages

        with Client(self._lock.sources, self._session.environ) as client:
            self._find(select_packages(packages, self._to.target), self._to.target, client)

    def run(self, packages: Sequence[LockedPackage], claims: Claims) -> Resolution:
        """Find the wheels and check that they fit the target and each other; raises DependencyError."""
        from buildpack.python.select import select_packages

        selected = select_packages(packages, self._to.target)
        wheels, claimed = self._look_up(selected, claims)
        importing = self._importing(wheels, claims)
        added = setuptools_missing(wheels, importing, str(SETUPTOOLS.version))
        if added:
            more, more_claimed = self._look_up([SETUPTOOLS], claims)
            wheels = sorted([*wheels, *more], key=lambda wheel: wheel.name)
            claimed |= more_claimed
        wheels = self._completed(wheels)
        summaries = [(wheel, summary) for wheel in wheels if (summary := self._summaries.get(wheel.sha256))]
        check_file_or_folder(summaries)
        overlaps = find_overlaps(summaries)
        return Resolution(
            wheels=tuple(wheels),
            warnings=(
                *added,
                *setuptools_too_new(wheels, importing),
                *self._warnings(wheels, selected),
                *overlaps.warnings,
            ),
            importing=importing,
            claimed=claimed,
            shared=overlaps.names | {name for name in claimed if claims.members[name].shared},
            about={wheel.name: about for wheel in wheels if (about := self._about(wheel, claims))},
            roots={wheel.name: self._roots(wheel, claims) for wheel in wheels},
            notes=overlaps.notes,
        )

    def _completed(self, wheels: Sequence[WheelFile]) -> list[WheelFile]:
        """Copy the shared libraries that the stack lacks into the wheels that were built here."""
        from buildpack.python.files import stored_path

        provided = {name for summary in self._summaries.values() for name in summary.provided}
        completed = []
        for wheel in wheels:
            summary = None if wheel.url else self._summaries.get(wheel.sha256)
            needed = frozenset(summary.needed) - provided if summary else frozenset[str]()
            path = stored_path(self._wheels, wheel) if needed else None
            made = self._to.complete(wheel, path, needed) if path else None
            if made is not None and not self._known(made):
                self._arrived(made, self._wheels / made.sha256 / made.filename)
            completed.append(made or wheel)
        return completed

    def _look_up(self, packages: Sequence[LockedPackage], claims: Claims) -> tuple[list[WheelFile], frozenset[str]]:
        """Return the wheels in order of their names, and the names of those known from claims; the others were read."""
        target = self._to.target
        answers = ((package.name, answering(package, claims, target, self._to.settings)) for package in packages)
        claimed = {name: wheel for name, wheel in answers if wheel is not None and self._agrees(wheel)}
        sharing = {name for name, member in claims.members.items() if member.shared}
        if not sharing <= claimed.keys():
            # A wheel with different files of one path has changed. It is unknown if the others still conflict.
            claimed = {name: wheel for name, wheel in claimed.items() if name not in sharing}
        found: list[WheelFile] = []
        while len(claimed) + len(found) < len(packages):
            from buildpack.python.http import Client

            here = claimed.keys() | {wheel.name for wheel in found}
            with Client(self._lock.sources, self._session.environ) as client:
                found += self._find([package for package in packages if package.name not in here], target, client)
            near = self._near(found, claimed.values(), claims)
            gone = near | sharing if near & sharing else near
            claimed = {name: wheel for name, wheel in claimed.items() if name not in gone}
        return sorted([*claimed.values(), *found], key=lambda wheel: wheel.name), frozenset(claimed)

    def _near(self, found: Sequence[WheelFile], claimed: Iterable[WheelFile], claims: Claims) -> set[str]:
        """Return the names of claimed wheels that may ship a path of a wheel that was found; they were not compared."""
        roots = [root for wheel in found for root in self._summaries[wheel.sha256].roots]
        return {wheel.name for wheel in claimed if may_overlap(self._roots(wheel, claims), roots)}

    def _find(self, packages: Sequence[LockedPackage], target: Target, client: Client) -> list[WheelFile]:
        from buildpack.python.fetch import Downloads
        from buildpack.python.find_wheels import resolve_wheels
        from buildpack.python.index import Resolver

        progress = _Bytes(self._session.observer)
        facts: list[tuple[str, str, Any]] = []
        with Downloads(client, self._wheels, progress=progress, arrived=self._arrived) as downloads:

            def resolved(wheel: WheelFile) -> None:
                if not self._known(wheel):
                    progress.expect(wheel)
                    downloads.start(wheel)

            resolver = Resolver(
                target=target,
                client=client,
                folder=self._wheels,
                recall=self._store.recall,
                remember=lambda *fact: facts.append(fact),
                build=self._builder(client, target),
                resolved=resolved,
            )
            wheels = resolve_wheels(packages, resolver)
            for _ in downloads.finished():
                pass
        # Only now: the statement of an index about a file that turned out to be another one must not be remembered.
        for fact in facts:
            self._store.remember(*fact)
        sized = (replace(wheel, size=self._summaries[wheel.sha256].size) for wheel in wheels)
        return sorted(sized, key=lambda wheel: wheel.name)

    def _builder(self, client: Client, target: Target) -> Build:
        """Return the function that builds a wheel if no index has one."""

        def build(package: LockedPackage, sdist: Sdist | None) -> WheelFile:
            from buildpack.python.sdist import Workbench, build_wheel

            bench = Workbench(
                target=target,
                python=self._python,
                client=client,
                folder=self._wheels,
                app=self._folder,
                environ=self._session.environ,
                place=self._to.place,
                settings=self._to.settings,
                recall=self._store.recall,
                remember=self._store.remember,
            )
            wheel = build_wheel(package, sdist, bench=bench)
            if wheel.url:
                return wheel
            if package.path:
                return replace(wheel, required="")  # an earlier image is never trusted for it
            return replace(wheel, origin=origin_of(package, sdist, self._to.settings.key))

        return build

    def _python(self, package: LockedPackage) -> tuple[str, ...]:
        """Return the command of an interpreter that builds for the target; raises DependencyError without one."""
        python = self._to.interpreter()
        if python is None:
            raise errors.cannot_build_here(package.name, package.version, str(self._to.target))
        return python.argv

    def _agrees(self, wheel: WheelFile) -> bool:
        """Return False if the claim about a wheel contradicts an earlier look into it."""
        return not self._known(wheel) or self._summaries[wheel.sha256].size == wheel.size

    def _known(self, wheel: WheelFile) -> bool:
        """Recall an earlier look into this wheel; return False if there is none, and the wheel must be fetched."""
        found: Any = self._store.recall("wheel-summary", self._summary_key(wheel))
        try:
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in found.items()
            }
            summary = Summary(**{**fields, "about": recalled_about(fields["about"])})
        except (AttributeError, KeyError, TypeError):
            return False
        check_name_and_version(wheel, summary)
        self._summaries[wheel.sha256] = summary
        return True

    def _summary_key(self, wheel: LockedFile) -> str:
        return _summary_key(wheel.sha256, self._to.target.machine, self._to.layout.root)

    def _arrived(self, wheel: LockedFile, path: Path) -> None:
        """Look into a wheel that was fetched, and start compiling it."""
        from buildpack.python.wheel import read_wheel
        from buildpack.python.wheel_scan import scan_members

        contents = read_wheel(path, layout=self._to.layout)
        scan = scan_members(contents.members, machine=self._to.target.machine)
        summary = summarise(contents, scan, path.stat().st_size, self._to.layout)
        check_name_and_version(wheel, summary)
        self._summaries[wheel.sha256] = summary
        kept = {**asdict(summary), "about": summary.about.render()}
        self._store.remember("wheel-summary", self._summary_key(wheel), kept)
        self._to.on_fetched(wheel.sha256, contents)

    def _importing(self, wheels: Sequence[WheelFile], claims: Claims) -> frozenset[str]:
        """Return the names of wheels that import `pkg_resources`, as they were read or else as the claims say."""
        return frozenset(
            wheel.name
            for wheel in wheels
            if (
                summary.imports_pkg_resources
                if (summary := self._summaries.get(wheel.sha256))
                else claims.members[wheel.name].pkg_resources
            )
        )

    def _about(self, wheel: WheelFile, claims: Claims) -> About | None:
        """Return the metadata of the wheel, as it was read or else as the claims say."""
        from buildpack.python.select import required_names

        summary = self._summaries.get(wheel.sha256)
        if summary is None:
            return claims.members[wheel.name].about
        return replace(summary.about, requires=required_names(summary.requires, self._to.target))

    def _roots(self, wheel: WheelFile, claims: Claims) -> tuple[str, ...]:
        """Return the roots of the wheel, as it was read or else as the claims say."""
        summary = self._summaries.get(wheel.sha256)
        return claims.members[wheel.name].roots if summary is None else summary.roots

    def _warnings(self, wheels: Sequence[WheelFile], packages: Sequence[LockedPackage]) -> list[str]:
        """Return warnings about the wheels that were read."""
        from buildpack.python.select import missing_requirements

        extras = {package.name: package.extras for package in packages}
        summaries = [(wheel, found) for wheel in wheels if (found := self._summaries.get(wheel.sha256))]
        requires = {wheel.name: found.requires for wheel, found in summaries}
        provided = frozenset(name for _, summary in summaries for name in summary.provided)
        needed = {wheel.name: frozenset(summary.needed) - provided for wheel, summary in summaries}
        return [
            *(warning for _, summary in summaries for warning in summary.warnings),
            *(
                f"{wheel.name} {wheel.version} was yanked: {wheel.yanked or 'no reason given'}"
                for wheel, _ in summaries
                if wheel.yanked is not None
            ),
            *missing_requirements(wheels, requires, extras, self._to.target),
            # A wheel that was not read may have the library that another one lacks.
            *(self._to.missing_libraries(needed) if len(summaries) == len(wheels) else ()),
        ]


def _summary_key(sha256: str, machine: str, root: str) -> str:
    return f"{RESOLUTION_FORMAT}+{sha256}+{machine}+{root}"


def recall_brought(
    wheels: Sequence[Sequence[str]], store: Store, *, machine: str, root: str = VENV_ROOT
) -> Brought | None:
    """Return the modules and programs that wheels bring; None if one of them was not read.

    Each wheel is given by the SHA-256 sums that it may have.
    """
    paths: list[str] = []
    for sums in wheels:
        keys = (_summary_key(sha256, machine, root) for sha256 in sums)
        found = next((found for key in keys if (found := store.recall("wheel-summary", key))), None)
        if not isinstance(found, dict) or not isinstance(found.get("paths"), list):
            return None
        paths += map(str, found["paths"])
    return brought_by(paths, scripts=f"{root}/bin")


class _Bytes:
    """Adds up the progress of all downloads; called from several threads."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._total = 0
        self._done: dict[str, int] = {}

    def expect(self, wheel: LockedFile) -> None:
        self._total += wheel.size

    def __call__(self, wheel: LockedFile, done: int, _size: int) -> None:
        self._done[wheel.sha256] = done
        self._observer(
            Progress(
                stage="wheels",
                done=sum(self._done.copy().values()),
                total=self._total,
                unit="bytes",
                item=wheel.filename,
            )
        )
