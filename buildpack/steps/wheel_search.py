"""Look up the wheel of each locked package in the indexes, fetch the wheels, and read their metadata."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.dataclass import replace
from buildpack.errors import wheels as errors
from buildpack.progress import Observer, Progress
from buildpack.python.wheel_scan import Summary, summarise
from buildpack.session import Session
from buildpack.steps.install_target import InstallTarget, Resolution, summary_key
from buildpack.steps.reuse import Claims, answering, origin_of
from buildpack.steps.wheel_conflicts import (
    check_file_or_folder,
    check_name_and_version,
    find_overlaps,
    may_overlap,
    setuptools_missing,
    setuptools_too_new,
)

if TYPE_CHECKING:
    from buildpack.python.files import LockedFile, Sdist, WheelFile
    from buildpack.python.http import Client
    from buildpack.stacks.stack import Stack

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
        from buildpack.python.select import select_packages

        self._find(select_packages(packages, self._to.target))

    def run(self, packages: Sequence[LockedPackage], claims: Claims) -> Resolution:
        """Find the wheels and check that they fit the target and each other; raises DependencyError."""
        from buildpack.python.select import select_packages

        selected = select_packages(packages, self._to.target)
        wheels, claimed = self._look_up(selected, claims)
        added = setuptools_missing(wheels, str(SETUPTOOLS.version))
        if added:
            more, more_claimed = self._look_up([SETUPTOOLS], claims)
            wheels = sorted([*wheels, *more], key=lambda wheel: wheel.name)
            claimed = claimed or more_claimed
        wheels = self._completed(wheels)
        summaries = [(wheel, summary) for wheel in wheels if (summary := self._summaries.get(wheel.sha256))]
        check_file_or_folder(summaries)
        overlaps = find_overlaps(summaries)
        return Resolution(
            wheels=tuple(replace(wheel, shared=wheel.shared or wheel.name in overlaps.names) for wheel in wheels),
            warnings=(
                *added,
                *setuptools_too_new(wheels),
                *self._warnings(wheels, summaries, selected),
                *overlaps.warnings,
            ),
            notes=overlaps.notes,
            claimed=claimed,
        )

    def _completed(self, wheels: Sequence[WheelFile]) -> list[WheelFile]:
        """Copy the shared libraries that the stack lacks into the wheels that were built here."""
        from buildpack.python.files import stored_path

        stack = self._to.stack
        if stack is None or stack.claimed:
            return list(wheels)
        there = stack.facts.sonames.union(*(summary.provided for summary in self._summaries.values()))
        completed = []
        for wheel in wheels:
            summary = None if wheel.url else self._summaries.get(wheel.sha256)
            missing = frozenset(summary.needed) - there if summary else frozenset[str]()
            path = stored_path(self._wheels, wheel) if missing else None
            made = self._graft(wheel, path, missing, stack) if path else None
            if made is not None and not self._known(made):
                self._arrived(made, self._wheels / made.sha256 / made.filename)
            completed.append(self._with_facts(made) if made else wheel)
        return completed

    def _graft(self, wheel: WheelFile, path: Path, missing: frozenset[str], stack: Stack) -> WheelFile | None:
        """Return the wheel with copies of these shared libraries; None if this machine lacks them, too.

        Raises DependencyError if the stack is a base image, which gets no copies of this machine's libraries.
        """
        if stack.name != "host":
            from buildpack.errors.stacks import libraries_not_there
            from buildpack.python.build_failure import ALTERNATIVES

            instead = ALTERNATIVES.get(wheel.name, "")
            raise libraries_not_there(wheel.name, wheel.version, sorted(missing), stack.name, instead=instead)
        from buildpack.stacks.host import recall_executable
        from buildpack.steps.grafting import graft

        python = Path(os.path.realpath(recall_executable(stack, self._store) or sys.executable))
        sonames, environ = stack.facts.sonames, self._session.environ
        return graft(wheel, path, missing, stack=sonames, python=python, store=self._store, environ=environ)

    def _look_up(self, packages: Sequence[LockedPackage], claims: Claims) -> tuple[list[WheelFile], bool]:
        """Return the wheels in order of their names, and if some are known from claims only; the others were read."""
        to = self._to
        answers = ((package.name, answering(package, claims, to.target, to.settings)) for package in packages)
        claimed = {
            name: self._with_facts(wheel) for name, wheel in answers if wheel is not None and self._agrees(wheel)
        }
        sharing = {name for name, wheel in claims.members.items() if wheel.shared}
        if not sharing <= claimed.keys():
            # A wheel with different files of one path has changed. It is unknown if the others still conflict.
            claimed = {name: wheel for name, wheel in claimed.items() if name not in sharing}
        found: list[WheelFile] = []
        while len(claimed) + len(found) < len(packages):
            here = claimed.keys() | {wheel.name for wheel in found}
            found += self._find([package for package in packages if package.name not in here])
            # A claimed wheel that may ship a path of one that was found must be compared with it.
            roots = [root for wheel in found for root in wheel.roots]
            near = {name for name, wheel in claimed.items() if may_overlap(wheel.roots, roots)}
            gone = near | sharing if near & sharing else near
            claimed = {name: wheel for name, wheel in claimed.items() if name not in gone}
        return sorted([*claimed.values(), *found], key=lambda wheel: wheel.name), bool(claimed)

    def _find(self, packages: Sequence[LockedPackage]) -> list[WheelFile]:
        """Find and fetch the wheels of these packages; return them in order of their names."""
        from buildpack.python.fetch import Downloads
        from buildpack.python.find_wheels import resolve_wheels
        from buildpack.python.http import Client
        from buildpack.python.index import Resolver

        progress = _Bytes(self._session.observer)
        facts: list[tuple[str, str, Any]] = []
        with (
            Client(self._lock.sources, self._session.environ) as client,
            Downloads(client, self._wheels, progress=progress, arrived=self._arrived) as downloads,
        ):

            def resolved(wheel: WheelFile) -> None:
                if not self._known(wheel):
                    progress.expect(wheel)
                    downloads.start(wheel)

            resolver = Resolver(
                target=self._to.target,
                client=client,
                folder=self._wheels,
                recall=self._store.recall,
                remember=lambda *fact: facts.append(fact),
                build=partial(self._build, client=client),
                resolved=resolved,
            )
            wheels = resolve_wheels(packages, resolver)
            downloads.wait()
        # Only now: the statement of an index about a file that turned out to be another one must not be remembered.
        for fact in facts:
            self._store.remember(*fact)
        return sorted(map(self._with_facts, wheels), key=lambda wheel: wheel.name)

    def _build(self, package: LockedPackage, sdist: Sdist | None, *, client: Client) -> WheelFile:
        """Build a wheel that no index has."""
        from buildpack.python.sdist import Workbench, build_wheel

        bench = Workbench(
            target=self._to.target,
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
        summary = Summary.parse(self._store.recall("wheel-summary", self._summary_key(wheel)))
        if summary is None:
            return False
        check_name_and_version(wheel, summary)
        self._summaries[wheel.sha256] = summary
        return True

    def _summary_key(self, wheel: LockedFile) -> str:
        return summary_key(wheel.sha256, self._to.target.machine, self._to.layout.root)

    def _arrived(self, wheel: LockedFile, path: Path) -> None:
        """Look into a wheel that was fetched, and start compiling it."""
        from buildpack.python.wheel import read_wheel

        contents = read_wheel(path, layout=self._to.layout)
        machine, size = self._to.target.machine, path.stat().st_size
        summary = summarise(contents, size=size, machine=machine, layout=self._to.layout)
        check_name_and_version(wheel, summary)
        self._summaries[wheel.sha256] = summary
        self._store.remember("wheel-summary", self._summary_key(wheel), summary.render())
        if self._to.compiler is not None:
            self._to.compiler.submit(wheel.sha256, contents.sources)

    def _with_facts(self, wheel: WheelFile) -> WheelFile:
        """Return the wheel with the facts that were read; without a summary, with those that the claims state."""
        from buildpack.python.select import required_names

        summary = self._summaries.get(wheel.sha256)
        if summary is None:
            return wheel
        about = replace(summary.about, requires=required_names(summary.requires, self._to.target))
        return replace(wheel, size=summary.size, pkg_resources=summary.pkg_resources, about=about, roots=summary.roots)

    def _warnings(
        self,
        wheels: Sequence[WheelFile],
        summaries: Sequence[tuple[WheelFile, Summary]],
        packages: Sequence[LockedPackage],
    ) -> list[str]:
        """Return warnings about the wheels that were read, which have the `summaries`."""
        from buildpack.python.select import missing_requirements
        from buildpack.stacks.shared_libraries import missing_sonames

        stack = self._to.stack
        extras = {package.name: package.extras for package in packages}
        requires = {wheel.name: summary.requires for wheel, summary in summaries}
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
            *(missing_sonames(needed, stack) if stack and not stack.claimed and len(summaries) == len(wheels) else ()),
        ]


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
