"""Install the lock's packages into a virtual environment on this machine, for `deploy local`.

The environment is in the store, never in the app's folder.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.dataclass import dataclass, replace
from buildpack.errors import build as errors
from buildpack.oci.store import Store
from buildpack.python.build_settings import NO_SETTINGS, BuildSettings, read_settings
from buildpack.steps.environments import ensure_environment, is_there
from buildpack.system.unprivileged import bring_python, reachable_folder

if TYPE_CHECKING:
    from buildpack.app.read import App
    from buildpack.session import Session
    from buildpack.stacks.find_python import HostPython
    from buildpack.steps.install_target import InstallTarget
    from buildpack.system.processes import User

ENVIRONMENT_FORMAT = 4
"""Raise it when the same wheels and interpreter would give another environment."""


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
