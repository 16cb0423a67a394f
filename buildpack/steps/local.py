"""Install the lock's packages into a virtual environment on this machine, for `deploy local`.

The environment is in the store, never in the app's folder.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.dataclass import dataclass, replace
from buildpack.errors import build as errors
from buildpack.oci.store import Store
from buildpack.python.build_settings import NO_SETTINGS, BuildSettings
from buildpack.steps.environments import clear, is_whole, write_environment
from buildpack.system.temporary import alone
from buildpack.system.unprivileged import bring_python, is_complete, mark_complete, reachable_folder

if TYPE_CHECKING:
    from buildpack.session import Session
    from buildpack.steps.install_target import InstallTarget, Resolution
    from buildpack.system.processes import User

ENVIRONMENT_FORMAT = 3
"""Raise it when the same wheels and interpreter would give another environment."""

_FOLDER = "environments"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEnvironment:
    """A virtual environment at `folder`; `made` is true if it was written just now."""

    folder: Path
    python: str
    made: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    """An interpreter of this machine; `libc` is as `buildpack.python.target` takes it."""

    executable: str
    version: str
    libc: tuple[str, int, int]


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
    store = session.store
    host = _choose_host(wanted, session)
    key, folder = _place(host, wanted, store)
    # The lock lacks the content of a package that is a path. So the hash of its wheel is a part of the key.
    lasting = not any(package.path for package in wanted.packages)
    noted = store.recall("environment", str(folder)) if lasting else None
    made = False
    if not _is_there(folder, host, wanted.user) or not isinstance(noted, list):
        from buildpack.steps.resolution import resolve

        target = _target(host, folder, wanted)
        resolution = resolve(wanted.lock, wanted.packages, target, session, folder=wanted.app)
        if not lasting:
            folder = folder.with_name(_hash(key, [wheel.sha256 for wheel in resolution.wheels]))
            store.lease.use(folder)
            target = _target(host, folder, wanted)
        with alone(folder.parent):
            made = not _is_there(folder, host, wanted.user)
            if made:
                clear(folder)
                _write(resolution, target, folder, wanted.lock, session)
                mark_complete(folder)
        noted = list(resolution.warnings)
        store.remember("environment", str(folder), noted)
    os.utime(folder)  # it keeps the date of the last use
    python = wanted.python
    warnings = [*noted, *([errors.another_python(python, host.version)] if python and _differs(python, host) else [])]
    return LocalEnvironment(folder=folder, python=host.version, made=made, warnings=tuple(warnings))


def check_environment(wanted: Wanted, session: Session) -> None:
    """Check that `make_environment` will find an interpreter and the packages that only tests need; raises as it does.

    Nothing is fetched or built, and no index is asked if the environment is there.
    """
    host = _choose_host(wanted, session)
    _, folder = _place(host, wanted, session.store)
    if not _is_there(folder, host, wanted.user):
        from buildpack.steps.resolution import look_up_develop

        look_up_develop(wanted.lock, _target(host, folder, wanted), session)


def _choose_host(wanted: Wanted, session: Session) -> _Host:
    """Return the interpreter for the environment, at a path that the user can read."""
    host = _find_host(wanted.python, session)
    if host is None and wanted.python and not wanted.insist:
        host = _find_host(None, session)
    if host is None:
        raise errors.no_interpreter(wanted.python or "3", wanted.app)
    executable = bring_python(host.executable, session.store.folder("pythons"), wanted.user)
    if executable is None:
        raise errors.unreachable_interpreter("the app has", host.executable)
    return replace(host, executable=executable)


def _place(host: _Host, wanted: Wanted, store: Store) -> tuple[str, Path]:
    """Return the key of an environment and its folder, which is not pruned while this process runs."""
    # The line of a package decides nothing.
    packages = tuple(replace(package, place="", requested=False) for package in wanted.packages)
    key = _hash(ENVIRONMENT_FORMAT, host, platform.machine(), packages, *filter(None, [wanted.settings.key]))
    folder = reachable_folder(store.folder(_FOLDER), wanted.user) / key
    store.lease.use(folder)
    return key, folder


def _is_there(folder: Path, host: _Host, user: User | None) -> bool:
    return is_whole(folder, host.executable) and (user is None or is_complete(folder))


def _find_host(python: str | None, session: Session) -> _Host | None:
    from buildpack.stacks.find_python import find_python

    own = session.own_python.executable
    found = find_python(python, environ=session.environ, own=own, store=session.store)
    if found is None:
        return None
    return _Host(executable=str(found.executable), version=found.version, libc=found.glibc or ("musl", 1, 2))


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _differs(python: str, host: _Host) -> bool:
    return not f"{host.version}.".startswith(f"{python}.")


def _target(host: _Host, folder: Path, wanted: Wanted) -> InstallTarget:
    from buildpack.python.target import Target
    from buildpack.python.venv import VenvLayout
    from buildpack.stacks.stack import Interpreter
    from buildpack.steps.install_target import InstallTarget

    return InstallTarget(
        target=Target(version=host.version, machine=platform.machine(), libc=host.libc),
        layout=VenvLayout(python_version=host.version, stack_python=host.executable, root=str(folder).lstrip("/")),
        identity=f"{ENVIRONMENT_FORMAT}+{host.executable}+{host.version}+{folder}",
        interpreter=lambda: Interpreter(argv=(host.executable,), version=host.version),
        place=str(wanted.app.resolve()),
        settings=wanted.settings,
    )


def _write(resolution: Resolution, target: InstallTarget, folder: Path, lock: Lock, session: Session) -> None:
    from buildpack.steps.assembly import WheelFetcher

    fetcher = WheelFetcher(resolution.wheels, lock.sources, session)
    write_environment(resolution, layout=target.layout, folder=folder, fetcher=fetcher)
