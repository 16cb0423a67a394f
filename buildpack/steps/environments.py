"""Write virtual environments on this machine's disk, from the same wheels and entries as an image's.

Hooks and `deploy local` run in them. The store has each under a key of everything that decides it, and none is in the
app's folder. Python compiles modules there as it imports them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.dataclass import dataclass, replace
from buildpack.errors import build as errors
from buildpack.oci.store import Store
from buildpack.python.build_settings import NO_SETTINGS, BuildSettings, read_settings
from buildpack.system.temporary import alone
from buildpack.system.unprivileged import bring_python, is_complete, mark_complete, reachable_folder

if TYPE_CHECKING:
    from buildpack.app.read import App
    from buildpack.oci.entry import Entry
    from buildpack.python.venv import VenvLayout
    from buildpack.session import Session
    from buildpack.stacks.find_python import HostPython
    from buildpack.steps.assembly import WheelFetcher
    from buildpack.steps.install_target import InstallTarget, Resolution
    from buildpack.system.processes import User

ENVIRONMENT_FORMAT = 4
"""Raise it when the same wheels and interpreter would give another environment."""
KEPT_DAYS = 30
"""An environment that was not used for so long is removed when the next one is made."""


def is_there(folder: Path, executable: str, user: User | None) -> bool:
    """Return True if the environment is complete (it appears by a rename) and its interpreter exists.

    For another `user` it may be in a temporary folder, from which other programs remove files.
    """
    config = f"{folder}/pyvenv.cfg"
    try:
        with open(config, encoding="utf-8", errors="replace") as text:  # noqa: PTH123 - on the path of every start
            settings = text.read()
    except OSError:
        return False
    whole = f"executable = {executable}\n" in settings and os.access(f"{folder}/bin/python", os.X_OK)
    return whole and (user is None or is_complete(folder))


def _clear(folder: Path) -> None:
    """Remove this environment, parts that dead writers left, and environments that were not used for long."""
    oldest = time.time() - KEPT_DAYS * 86400
    for path in folder.parent.iterdir():
        abandoned = path.name.startswith(".")
        if abandoned or path == folder or path.stat().st_mtime < oldest:
            # Renamed first: an interrupted removal must not leave half an environment.
            doomed = path if abandoned else path.rename(path.with_name(f".{path.name}-{os.getpid()}"))
            shutil.rmtree(doomed, ignore_errors=True)


def ensure_environment(
    resolution: Resolution,
    *,
    layout: VenvLayout,
    fetcher: WheelFetcher,
    user: User | None,
    fresh: bool = False,
    extra: Callable[[], Sequence[Entry]] = lambda: (),
) -> bool:
    """Write the environment of these wheels for `user`, unless it is there; return True if it was written.

    It is written as a whole or not at all, and with `fresh` in any case. Entries of `extra` replace others of the same
    paths.
    """
    from buildpack.python.venv import install_entries, venv_entries

    folder = Path(f"/{layout.root}")

    def is_known() -> bool:
        return not fresh and is_there(folder, layout.stack_python, user)

    if is_known():
        return False
    with alone(folder.parent):
        if is_known():
            return False
        _clear(folder)
        entries = venv_entries(layout)
        for wheel in resolution.wheels:  # in the order of their names: the last one that ships a path wins
            entries.extend(fetcher.read(wheel.sha256, layout=layout).entries)
        try:
            install_entries([*entries, *extra()], folder)
        except ValueError as error:
            raise errors.damaged_package(str(error)) from None
        mark_complete(folder)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEnvironment:
    """A virtual environment at `folder`; `made` is true if it was written just now."""

    folder: Path
    python: str
    made: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The environment that an app needs: for all packages of its lock, at a place that `user` can read.

    `app` is its folder. `python` is the version that it asks for (``3.12`` or ``3.12.4``; None for any). If this
    machine lacks that version and `insist` is false, another one replaces it.
    """

    lock: Lock
    app: Path
    python: str | None
    settings: BuildSettings = NO_SETTINGS
    insist: bool = True
    user: User | None = None

    @classmethod
    def by(cls, app: App, environ: Mapping[str, str], *, develop: bool = True, user: User | None = None) -> Wanted:
        """Return the environment of an app, with the packages that only tests need if `develop` is true."""
        return cls(
            lock=app.lock if develop else replace(app.lock, develop=()),
            app=app.folder,
            python=app.python.version if app.python else None,
            settings=read_settings(app, environ),
            insist=app.python is not None and not app.python.origin.startswith("the default"),
            user=user,
        )

    @property
    def packages(self) -> tuple[LockedPackage, ...]:
        """All packages by name. If two sections have a package, that of ``default`` counts, as with pipenv."""
        packages = {package.name: package for package in (*self.lock.develop, *self.lock.packages)}
        return tuple(packages[name] for name in sorted(packages))


def make_environment(wanted: Wanted, session: Session, *, system: str = sys.platform) -> LocalEnvironment:
    """Return the environment; if it exists already, nothing is imported and no process started.

    Raises StackError if this machine has no such interpreter, MachineError if it does not run Linux, and
    DependencyError if a package is not available.
    """
    if system != "linux":
        raise errors.only_linux(system)
    store, user = session.store, wanted.user
    python = _choose_python(wanted, session)
    key, folder = _place(python, wanted, store)
    # The lock lacks the content of a package that is a path. So the hash of its wheel is a part of the key.
    lasting = not any(package.path for package in wanted.packages)
    noted = store.recall("environment", str(folder)) if lasting else None
    made = False
    if not is_there(folder, str(python.executable), user) or not isinstance(noted, list):
        from buildpack.steps.assembly import WheelFetcher
        from buildpack.steps.resolution import resolve

        target = _target(python, folder, wanted)
        resolution = resolve(wanted.lock, wanted.packages, target, session, folder=wanted.app)
        if not lasting:
            folder = folder.with_name(_hash(key, [wheel.sha256 for wheel in resolution.wheels]))
            store.lease.use(folder)
            target = _target(python, folder, wanted)
        fetcher = WheelFetcher(resolution.wheels, wanted.lock.sources, session)
        made = ensure_environment(resolution, layout=target.layout, fetcher=fetcher, user=user)
        noted = list(resolution.warnings)
        store.remember("environment", str(folder), noted)
    os.utime(folder)  # it keeps the date of the last use
    asked = wanted.python
    other = asked is not None and not f"{python.version}.".startswith(f"{asked}.")
    warnings = [*noted, *([errors.another_python(str(asked), python.version)] if other else [])]
    return LocalEnvironment(folder=folder, python=python.version, made=made, warnings=tuple(warnings))


def check_environment(wanted: Wanted, session: Session) -> None:
    """Check that `make_environment` will find an interpreter and the packages that only tests need; raises as it does.

    Nothing is fetched or built, and no index is asked if the environment is there.
    """
    python = _choose_python(wanted, session)
    _, folder = _place(python, wanted, session.store)
    if not is_there(folder, str(python.executable), wanted.user):
        from buildpack.steps.resolution import look_up_develop

        look_up_develop(wanted.lock, _target(python, folder, wanted), session)


def _choose_python(wanted: Wanted, session: Session) -> HostPython:
    """Return the interpreter for the environment, at a path that the user can read."""
    from buildpack.stacks.find_python import find_python

    own, environ, store = session.own_python.executable, session.environ, session.store
    python = find_python(wanted.python, environ=environ, own=own, store=store)
    if python is None and wanted.python and not wanted.insist:
        python = find_python(None, environ=environ, own=own, store=store)
    if python is None:
        raise errors.no_interpreter(wanted.python or "3", wanted.app)
    executable = bring_python(str(python.executable), store.folder("pythons"), wanted.user)
    if executable is None:
        raise errors.unreachable_interpreter("the app has", str(python.executable))
    return replace(python, executable=Path(executable))


def _place(python: HostPython, wanted: Wanted, store: Store) -> tuple[str, Path]:
    """Return the key of an environment and its folder, which is not pruned while this process runs."""
    # The line of a package decides nothing.
    packages = tuple(replace(package, place="", requested=False) for package in wanted.packages)
    host = (str(python.executable), python.version, python.libc, os.uname().machine)
    key = _hash(ENVIRONMENT_FORMAT, host, packages, *filter(None, [wanted.settings.key]))
    folder = reachable_folder(store.folder("environments"), wanted.user) / key
    store.lease.use(folder)
    return key, folder


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _target(python: HostPython, folder: Path, wanted: Wanted) -> InstallTarget:
    from buildpack.steps.install_target import target_here

    return target_here(
        python,
        identity=f"{ENVIRONMENT_FORMAT}+{python.executable}+{python.version}+{folder}",
        root=str(folder).lstrip("/"),
        place=str(wanted.app.resolve()),
        settings=wanted.settings,
    )
