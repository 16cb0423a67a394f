"""Look up what only the world knows: which wheel serves each locked package, and what those wheels ask for.

One step between reading and deciding. Everything found is remembered in the store, so that a build in which
nothing changed reads one small file here, and one with a new package looks up that package alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.app.checks.doubts import Brought, brought_by
from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.dataclass import asdict, dataclass, field, replace
from buildpack.errors import BuildpackError
from buildpack.errors import wheels as errors
from buildpack.oci.store import Store
from buildpack.plan import APP_ROOT, VENV_ROOT, Member
from buildpack.progress import Observer, Progress
from buildpack.python.about import About
from buildpack.python.build_settings import NO_SETTINGS, BuildSettings
from buildpack.session import Session
from buildpack.stacks.stack import Interpreter, Stack
from buildpack.steps.reuse import NOTHING, Claims, answering, origin_of
from buildpack.steps.wheel_conflicts import (
    Summary,
    find_overlaps,
    forgotten,
    meet,
    outgrown,
    refuse_clash,
    refuse_other,
    summarise,
)

if TYPE_CHECKING:
    from buildpack.python.files import LockedFile, Sdist, WheelFile
    from buildpack.python.http import Client
    from buildpack.python.index import Build
    from buildpack.python.target import Target
    from buildpack.python.venv import VenvLayout
    from buildpack.python.wheel import WheelContents

RESOLUTION_FORMAT = 12
"""Raise it when the same lock and stack would give another answer."""

_LINES = re.compile(r"\b(?:pipfile_)?line=\d+")

SETUPTOOLS = LockedPackage(
    name="setuptools",
    version="80.9.0",
    hashes=("sha256:062d34222ad13e0cc312a4c02d73f059e86a4acbfbdea8f8f76b28c99f306922",),
)
"""Added where a locked wheel imports `pkg_resources` and nothing locked provides it: older pipenv left it out.

`pkg_resources` warns from 81 on, and is gone with 82.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallTarget:
    """A virtual environment that wheels are for: in an image, or on this machine.

    `identity` distinguishes it from others, in the key of what is remembered. `interpreter` starts a Python of the
    target on this machine, for wheels that have to be built. `on_fetched` is called, from several threads, with the
    SHA-256 of each wheel that was fetched, and its contents. `missing_libraries` takes the shared libraries that each
    wheel needs and returns warnings about those that the target lacks. `place` is where the app's code will be;
    `settings` are for packages that have to be built. `complete` takes a wheel that was built here, its file and the
    sonames that it needs from outside, and returns the wheel with the libraries that the stack lacks; None if it is
    complete as it is. It raises DependencyError if the wheel cannot work on this stack.
    """

    target: Target
    layout: VenvLayout
    identity: str
    interpreter: Callable[[], Interpreter | None]
    on_fetched: Callable[[str, WheelContents], object] = lambda _wheel, _contents: None
    missing_libraries: Callable[[Mapping[str, frozenset[str]]], Sequence[str]] = lambda _needed: ()
    place: str = f"/{APP_ROOT}"
    settings: BuildSettings = NO_SETTINGS
    complete: Callable[[WheelFile, Path, frozenset[str]], WheelFile | None] = lambda _wheel, _path, _needed: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The wheels of the image, by name, where to fetch each again, and what is to be said about them.

    `importing` names those that import `pkg_resources`, `shared` those with different files of one path; `claimed`
    those known from an earlier image only: a layer of it has them, and nothing else does before they are looked up.
    `about` has what each wheel states, and `roots` where its files are, by name. `notes` are warnings for those who
    ask for more.
    """

    wheels: tuple[WheelFile, ...]
    warnings: tuple[str, ...]
    importing: frozenset[str] = frozenset()
    claimed: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()
    about: Mapping[str, About] = field(default_factory=dict)
    roots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[Member, ...]:
        """The wheels as the plan wants them."""
        return tuple(
            Member(
                name=wheel.name,
                version=wheel.version,
                filename=wheel.filename,
                sha256=wheel.sha256,
                size=wheel.size,
                origin=wheel.origin,
                required=wheel.required,
                pkg_resources=wheel.name in self.importing,
                shared=wheel.name in self.shared,
                libraries=wheel.libraries,
                about=self.about.get(wheel.name),
                roots=self.roots.get(wheel.name, ()),
            )
            for wheel in self.wheels
        )


def target_of(stack: Stack) -> Target:
    """Return what the stack's interpreter accepts."""
    from buildpack.python.target import target_for

    return target_for(version=stack.python.version, machine=stack.machine, libc=stack.libc)


def layout_for(stack: Stack, root: str = VENV_ROOT) -> VenvLayout:
    """Return the layout of the virtual environment on this stack."""
    from buildpack.python.venv import VenvLayout

    return VenvLayout(python_version=stack.python.version, stack_python=stack.python.executable, root=root)


def resolve(
    lock: Lock,
    packages: Sequence[LockedPackage],
    target: InstallTarget,
    session: Session,
    *,
    folder: Path,
    claims: Claims = NOTHING,
) -> Resolution:
    """Find the wheels for `packages` of the lock on this target, and check that they fit it and each other.

    `folder` is the app's, for packages that are paths in it. Wheels that an earlier image answers for (`claims`) are
    neither looked up nor fetched, so their contents are not checked. Raises DependencyError, or Problems of several.
    """
    if not packages:
        return Resolution(wheels=(), warnings=())
    store = session.store
    key = _key(packages, target)
    lasting = not any(package.path for package in packages)
    pins = target.settings.pins_key
    if lasting and (known := _recalled(store.recall("resolution", key), pins)) and _is_stored(known, store):
        return known
    found = _Search(lock, target, session, folder).run(packages, claims)
    if lasting and not found.claimed:
        store.remember("resolution", key, _remembered(found, pins))
    return found


def _is_stored(resolution: Resolution, store: Store) -> bool:
    """Tell whether the wheels that were built here are in the store, as they would be built today."""
    from buildpack.python.files import stored_path

    folder = store.folder("wheels")
    if not all(wheel.url or stored_path(folder, wheel) for wheel in resolution.wheels):
        return False
    grafted = [wheel for wheel in resolution.wheels if wheel.libraries]
    if not grafted:
        return True
    from buildpack.steps.grafting import is_current  # it is slow to import, and seldom needed

    return all(is_current(wheel, store) for wheel in grafted)


def _remembered(found: Resolution, pins: str) -> dict[str, Any]:
    """Return what `_recalled` reads."""
    return {
        "wheels": [asdict(wheel) for wheel in found.wheels],
        "warnings": list(found.warnings),
        "notes": list(found.notes),
        "importing": sorted(found.importing),
        "shared": sorted(found.shared),
        "about": {name: about.render() for name, about in found.about.items()},
        "roots": {name: list(roots) for name, roots in found.roots.items()},
        "pins": pins if any(not wheel.url for wheel in found.wheels) else "",
    }


def _key(packages: Sequence[LockedPackage], to: InstallTarget) -> str:
    settings = filter(None, [to.settings.key])
    parts = (RESOLUTION_FORMAT, to.identity, to.target.key, tuple(packages), *settings)
    # Where a package stands in its file decides nothing.
    return hashlib.sha256(_LINES.sub("", repr(parts)).encode()).hexdigest()


def _recalled(value: Any, pins: str) -> Resolution | None:
    from buildpack.python.files import WheelFile

    try:
        if value["pins"] not in {"", pins}:
            return None
        return Resolution(
            wheels=tuple(WheelFile(**wheel) for wheel in value["wheels"]),
            warnings=tuple(value["warnings"]),
            importing=frozenset(value["importing"]),
            shared=frozenset(value["shared"]),
            about={name: _about(about) for name, about in value["about"].items()},
            roots={name: tuple(roots) for name, roots in value["roots"].items()},
            notes=tuple(value["notes"]),
        )
    except (AttributeError, KeyError, TypeError):
        return None


def _about(value: Any) -> About:
    """Read what the store remembers of a wheel; raises TypeError if it is damaged."""
    found = About.parse(value)
    if found is None:
        raise TypeError
    return found


def prefetch(
    lock: Lock,
    packages: Sequence[LockedPackage],
    target: InstallTarget,
    session: Session,
    *,
    folder: Path,
) -> None:
    """Find and fetch the wheels into the store, for a `resolve` on an equal target that comes later; raises as it does.

    For the time in which the stack itself is still being made.
    """
    if packages:
        _Search(lock, target, session, folder).fetch(packages)


def look_up_develop(lock: Lock, target: InstallTarget, session: Session) -> None:
    """Check that each package that only tests need can be installed on this target, as far as an index tells.

    No file is fetched and no package is built for it. Raises DependencyError, or Problems of several, before a build
    begins that would be for nothing.
    """
    packages, store = lock.only_develop, session.store
    if not packages or _recalled(store.recall("resolution", _key(packages, target)), target.settings.pins_key):
        return
    from buildpack.python.find_wheels import look_up
    from buildpack.python.http import Client
    from buildpack.python.select import select_packages

    try:
        with Client(lock.sources, session.environ) as client:
            selected = select_packages(packages, target.target)
            look_up(selected, target.target, client=client, folder=store.folder("wheels"), recall=store.recall)
    except BuildpackError as error:
        raise errors.only_for_tests(error) from None


class _Search:
    """One look-up: the wheels of a lock, read as they come."""

    def __init__(self, lock: Lock, target: InstallTarget, session: Session, folder: Path) -> None:
        self._lock = lock
        self._to = target
        self._session = session
        self._store = session.store
        self._folder = folder
        self._wheels = session.store.folder("wheels")
        self._summaries: dict[str, Summary] = {}

    def fetch(self, packages: Sequence[LockedPackage]) -> None:
        from buildpack.python.http import Client
        from buildpack.python.select import select_packages

        with Client(self._lock.sources, self._session.environ) as client:
            self._find(select_packages(packages, self._to.target), self._to.target, client)

    def run(self, packages: Sequence[LockedPackage], claims: Claims) -> Resolution:
        from buildpack.python.select import select_packages

        selected = select_packages(packages, self._to.target)
        wheels, claimed = self._look_up(selected, claims)
        importing = self._importing(wheels, claims)
        added = forgotten(wheels, importing, str(SETUPTOOLS.version))
        if added:
            more, more_claimed = self._look_up([SETUPTOOLS], claims)
            wheels = sorted([*wheels, *more], key=lambda wheel: wheel.name)
            claimed |= more_claimed
        wheels = self._completed(wheels)
        summaries = [(wheel, summary) for wheel in wheels if (summary := self._summaries.get(wheel.sha256))]
        refuse_clash(summaries)
        overlaps = find_overlaps(summaries)
        return Resolution(
            wheels=tuple(wheels),
            warnings=(*added, *outgrown(wheels, importing), *self._warnings(wheels, selected), *overlaps.warnings),
            importing=importing,
            claimed=claimed,
            shared=overlaps.names | {name for name in claimed if claims.members[name].shared},
            about={wheel.name: about for wheel in wheels if (about := self._about(wheel, claims))},
            roots={wheel.name: self._roots(wheel, claims) for wheel in wheels},
            notes=overlaps.notes,
        )

    def _completed(self, wheels: Sequence[WheelFile]) -> list[WheelFile]:
        """Have those wheels that were built here bring the shared libraries that the stack lacks."""
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
        """Return the wheels by name, and which of them the claims told of; the others are here, looked into."""
        target = self._to.target
        answers = ((package.name, answering(package, claims, target, self._to.settings)) for package in packages)
        told = {name: wheel for name, wheel in answers if wheel is not None and self._agrees(wheel)}
        sharing = {name for name, member in claims.members.items() if member.shared}
        if not sharing <= told.keys():
            # One of those with different files of one path has changed: whether the others still conflict is unknown.
            told = {name: wheel for name, wheel in told.items() if name not in sharing}
        found: list[WheelFile] = []
        while len(told) + len(found) < len(packages):
            from buildpack.python.http import Client

            here = told.keys() | {wheel.name for wheel in found}
            with Client(self._lock.sources, self._session.environ) as client:
                found += self._find([package for package in packages if package.name not in here], target, client)
            near = self._near(found, told.values(), claims)
            gone = near | sharing if near & sharing else near
            told = {name: wheel for name, wheel in told.items() if name not in gone}
        return sorted([*told.values(), *found], key=lambda wheel: wheel.name), frozenset(told)

    def _near(self, found: Sequence[WheelFile], told: Iterable[WheelFile], claims: Claims) -> set[str]:
        """Name those told of that may ship a file of the same path as one that was found; nobody has compared them."""
        roots = [root for wheel in found for root in self._summaries[wheel.sha256].roots]
        return {wheel.name for wheel in told if meet(self._roots(wheel, claims), roots)}

    def _find(self, packages: Sequence[LockedPackage], target: Target, client: Client) -> list[WheelFile]:
        from buildpack.python.fetch import Downloads
        from buildpack.python.find_wheels import resolve_wheels

        progress = _Bytes(self._session.observer)
        facts: list[tuple[str, str, Any]] = []
        with Downloads(client, self._wheels, progress=progress, arrived=self._arrived) as downloads:

            def resolved(wheel: WheelFile) -> None:
                if not self._known(wheel):
                    progress.expect(wheel)
                    downloads.start(wheel)

            wheels = resolve_wheels(
                packages,
                target,
                client=client,
                folder=self._wheels,
                recall=self._store.recall,
                remember=lambda *fact: facts.append(fact),
                build=self._builder(client, target),
                resolved=resolved,
            )
            for _ in downloads.finished():
                pass
        # Not before: what an index said of a file that then turned out another is nothing to come back to.
        for fact in facts:
            self._store.remember(*fact)
        sized = (replace(wheel, size=self._summaries[wheel.sha256].size) for wheel in wheels)
        return sorted(sized, key=lambda wheel: wheel.name)

    def _builder(self, client: Client, target: Target) -> Build:
        """Return what builds a wheel where no index has one."""

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
                return replace(wheel, required="")  # no earlier image answers for it
            return replace(wheel, origin=origin_of(package, sdist, self._to.settings.key))

        return build

    def _python(self, package: LockedPackage) -> tuple[str, ...]:
        """Return the command of an interpreter that builds for the target; raises DependencyError without one."""
        python = self._to.interpreter()
        if python is None:
            raise errors.cannot_build_here(package.name, package.version, str(self._to.target))
        return python.argv

    def _agrees(self, wheel: WheelFile) -> bool:
        """Tell whether what is claimed of a wheel is so, as far as it was looked into before."""
        return not self._known(wheel) or self._summaries[wheel.sha256].size == wheel.size

    def _known(self, wheel: WheelFile) -> bool:
        """Take an earlier look into this wheel, which spares fetching it."""
        found: Any = self._store.recall("wheel-summary", self._summary_key(wheel))
        try:
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in found.items()
            }
            summary = Summary(**{**fields, "about": _about(fields["about"])})
        except (AttributeError, KeyError, TypeError):
            return False
        refuse_other(wheel, summary)
        self._summaries[wheel.sha256] = summary
        return True

    def _summary_key(self, wheel: LockedFile) -> str:
        return _summary_key(wheel.sha256, self._to.target.machine, self._to.layout.root)

    def _arrived(self, wheel: LockedFile, path: Path) -> None:
        """Look into a wheel that was fetched, and start compiling it."""
        from buildpack.python.wheel import read_wheel
        from buildpack.python.wheel_scan import scan_wheel

        contents = read_wheel(path, layout=self._to.layout)
        scan = scan_wheel(
            contents.members,
            sha256=wheel.sha256,
            machine=self._to.target.machine,
            recall=self._store.recall,
            remember=self._store.remember,
        )
        summary = summarise(contents, scan, path.stat().st_size, self._to.layout)
        refuse_other(wheel, summary)
        self._summaries[wheel.sha256] = summary
        kept = {**asdict(summary), "about": summary.about.render()}
        self._store.remember("wheel-summary", self._summary_key(wheel), kept)
        self._to.on_fetched(wheel.sha256, contents)

    def _importing(self, wheels: Sequence[WheelFile], claims: Claims) -> frozenset[str]:
        """Name the wheels that import `pkg_resources`: as they were looked into, else as the claims have it."""
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
        """Return what the wheel states: as it was looked into, else as the claims have it."""
        from buildpack.python.select import required_names

        summary = self._summaries.get(wheel.sha256)
        if summary is None:
            return claims.members[wheel.name].about
        return replace(summary.about, requires=required_names(summary.requires, self._to.target))

    def _roots(self, wheel: WheelFile, claims: Claims) -> tuple[str, ...]:
        """Return where the wheel's files are: as it was looked into, else as the claims have it."""
        summary = self._summaries.get(wheel.sha256)
        return claims.members[wheel.name].roots if summary is None else summary.roots

    def _warnings(self, wheels: Sequence[WheelFile], packages: Sequence[LockedPackage]) -> list[str]:
        """Return what is to be said of those wheels that were looked into."""
        from buildpack.python.select import InstalledWheel, missing_requirements, render_missing

        target = self._to.target
        extras = {package.name: package.extras for package in packages}
        summaries = [(wheel, found) for wheel in wheels if (found := self._summaries.get(wheel.sha256))]
        requires = {wheel.name: found.requires for wheel, found in summaries}
        installed = [
            InstalledWheel(
                name=w.name, version=w.version, requires=requires.get(w.name, ()), extras=extras.get(w.name, ())
            )
            for w in wheels
        ]
        provided = frozenset(name for _, summary in summaries for name in summary.provided)
        needed = {wheel.name: frozenset(summary.needed) - provided for wheel, summary in summaries}
        return [
            *(warning for _, summary in summaries for warning in summary.warnings),
            *(
                f"{wheel.name} {wheel.version} was yanked: {wheel.yanked or 'no reason given'}"
                for wheel, _ in summaries
                if wheel.yanked is not None
            ),
            *(render_missing(missing, target) for missing in missing_requirements(installed, target)),
            # A wheel that nobody looked into may bring what another one lacks.
            *(self._to.missing_libraries(needed) if len(summaries) == len(wheels) else ()),
        ]


def _summary_key(sha256: str, machine: str, root: str) -> str:
    return f"{RESOLUTION_FORMAT}+{sha256}+{machine}+{root}"


def recall_brought(
    wheels: Sequence[Sequence[str]], store: Store, *, machine: str, root: str = VENV_ROOT
) -> Brought | None:
    """Return what wheels bring; None if one of them was not looked into.

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
