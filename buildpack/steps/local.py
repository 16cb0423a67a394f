"""The lock's packages as a virtual environment on this machine: what `deploy local` runs an app in.

It lies in the store under a key of everything that decides it, never in the app's folder, and is written from the same
wheels and the same entries as an image's. Python compiles there as it imports, as in any environment.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.dataclass import dataclass, replace
from buildpack.errors import local as errors
from buildpack.oci.store import Store
from buildpack.progress import Observer, ignore
from buildpack.python.build_settings import NO_SETTINGS, BuildSettings
from buildpack.steps.environments import alone, clear, is_whole, write_environment
from buildpack.system.unprivileged import bring_python, is_complete, mark_complete, reachable_folder

if TYPE_CHECKING:
    from buildpack.steps.resolution import Ground, Resolution
    from buildpack.system.processes import User

ENVIRONMENT_FORMAT = 3
"""Raise it when the same wheels and interpreter would give another environment."""

_FOLDER = "environments"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEnvironment:
    """A virtual environment at `folder`; `made` tells whether it had to be written just now."""

    folder: Path
    python: str
    made: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    """What has to be known of an interpreter; `libc` is as `buildpack.python.target` takes it."""

    executable: str
    version: str
    libc: tuple[str, int, int]


def make_environment(
    lock: Lock,
    *,
    app: Path,
    python: str | None,
    own: str,
    settings: BuildSettings = NO_SETTINGS,
    store: Store,
    environ: Mapping[str, str],
    insist: bool = True,
    user: User | None = None,
    observer: Observer = ignore,
    system: str = sys.platform,
) -> LocalEnvironment:
    """Return the environment for this lock, its develop packages included, where `user` gets to.

    `python` is the version that the app asks for (``3.12`` or ``3.12.4``; None for any), which another replaces where
    this machine lacks it and `insist` is false; `own` is the interpreter that runs this. Where the environment is there
    already, nothing is imported and no process started. Raises StackError where this machine has no such interpreter,
    MachineError where it is no Linux, DependencyError where a package cannot be had.
    """
    if system != "linux":
        raise errors.only_linux(system)
    host = _choose_host(python, app, insist=insist, own=own, user=user, store=store, environ=environ)
    packages = _with_develop(lock)
    key, folder = _place(host, packages, settings, user=user, store=store)
    # A path's content is not in the lock, so its wheel, made anew where need be, is a part of the key.
    lasting = not any(package.path for package in packages)
    told = store.recall("environment", str(folder)) if lasting else None
    made = False
    if not _is_there(folder, host, user) or not isinstance(told, list):
        ground = _ground(host, folder, app, settings)
        resolution = _resolve(lock, packages, ground, app, store=store, environ=environ, observer=observer)
        if not lasting:
            folder = folder.with_name(_hash(key, [wheel.sha256 for wheel in resolution.wheels]))
            store.lease.use(folder)
            ground = _ground(host, folder, app, settings)
        with alone(folder.parent):
            made = not _is_there(folder, host, user)
            if made:
                clear(folder)
                _write(resolution, ground, folder, lock, store=store, environ=environ)
                mark_complete(folder)
        told = list(resolution.warnings)
        store.remember("environment", str(folder), told)
    os.utime(folder)  # the date of its last use
    warnings = [*told, *([errors.another_python(python, host.version)] if _differs(python, host) else [])]
    return LocalEnvironment(folder=folder, python=host.version, made=made, warnings=tuple(warnings))


def check_environment(
    lock: Lock,
    *,
    app: Path,
    python: str | None,
    own: str,
    settings: BuildSettings,
    store: Store,
    environ: Mapping[str, str],
    insist: bool,
    user: User | None,
) -> None:
    """Check that `make_environment` will find an interpreter and the packages that only tests need; raises as it does.

    Nothing is fetched or built, and no index is asked if the environment is there.
    """
    host = _choose_host(python, app, insist=insist, own=own, user=user, store=store, environ=environ)
    _, folder = _place(host, _with_develop(lock), settings, user=user, store=store)
    if not _is_there(folder, host, user):
        from buildpack.steps.resolution import look_up_develop

        look_up_develop(lock, ground=_ground(host, folder, app, settings), store=store, environ=environ)


def _choose_host(
    python: str | None,
    app: Path,
    *,
    insist: bool,
    own: str,
    user: User | None,
    store: Store,
    environ: Mapping[str, str],
) -> _Host:
    """Return the interpreter that the environment is for, at a path that `user` reaches."""
    host = _find_host(python, own=own, store=store, environ=environ)
    if host is None and python and not insist:
        host = _find_host(None, own=own, store=store, environ=environ)
    if host is None:
        raise errors.no_interpreter(python or "3", app)
    executable = bring_python(host.executable, store.folder("pythons"), user)
    if executable is None:
        raise errors.unreachable_interpreter("the app has", host.executable)
    return replace(host, executable=executable)


def _place(
    host: _Host, packages: tuple[LockedPackage, ...], settings: BuildSettings, *, user: User | None, store: Store
) -> tuple[str, Path]:
    """Return the key of an environment and its folder, which is not pruned from here on."""
    key = _hash(ENVIRONMENT_FORMAT, host, platform.machine(), packages, *filter(None, [settings.key]))
    folder = reachable_folder(store.folder(_FOLDER), user) / key
    store.lease.use(folder)
    return key, folder


def _is_there(folder: Path, host: _Host, user: User | None) -> bool:
    return is_whole(folder, host.executable) and (user is None or is_complete(folder))


def _find_host(python: str | None, *, own: str, store: Store, environ: Mapping[str, str]) -> _Host | None:
    """Choose an interpreter; what it told about itself is remembered with every candidate's size and time."""
    from buildpack.stacks.find_python import choose, find_candidates

    candidates = find_candidates(python, environ=environ, own=own)
    key = repr((ENVIRONMENT_FORMAT, python, environ.get("LD_LIBRARY_PATH"), [_stamp(path) for path in candidates]))
    known = _recalled(store.recall("local-python", key))
    if known is not None:
        return known
    found = choose(python, candidates, environ)
    if found is None:
        return None
    host = _Host(executable=str(found.executable), version=found.version, libc=found.glibc or ("musl", 1, 2))
    store.remember("local-python", key, {"stamp": _stamp(found.executable), "host": _fields(host)})
    return host


def _recalled(value: Any) -> _Host | None:
    try:
        executable, version, libc = value["host"]
        unchanged = value["stamp"] == _stamp(executable)
    except (KeyError, TypeError, ValueError):
        return None
    return _Host(executable=executable, version=version, libc=tuple(libc)) if unchanged else None


def _fields(host: _Host) -> list[Any]:
    return [host.executable, host.version, list(host.libc)]


def _stamp(path: str | Path) -> list[Any]:
    real = os.path.realpath(path)
    try:
        found = os.stat(real)  # noqa: PTH116 - on the path of every start
    except OSError:
        return [str(path), real]
    return [str(path), real, found.st_size, found.st_mtime_ns]


def _with_develop(lock: Lock) -> tuple[LockedPackage, ...]:
    """Return all packages by name, less where they stand; of two sections' ``default`` decides, as with pipenv."""
    packages = {package.name: package for package in (*lock.develop, *lock.packages)}
    return tuple(replace(packages[name], line=0, pipfile_line=0) for name in sorted(packages))


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _differs(python: str | None, host: _Host) -> bool:
    return bool(python) and not f"{host.version}.".startswith(f"{python}.")


def _resolve(
    lock: Lock,
    packages: tuple[LockedPackage, ...],
    ground: Ground,
    app: Path,
    *,
    store: Store,
    environ: Mapping[str, str],
    observer: Observer,
) -> Resolution:
    from buildpack.steps.resolution import resolve

    places = {package.name: package for package in (*lock.develop, *lock.packages)}
    placed = tuple(places[package.name] for package in packages)  # with their lines, for messages
    return resolve(lock, placed, ground=ground, store=store, environ=environ, observer=observer, folder=app)


def _ground(host: _Host, folder: Path, app: Path, settings: BuildSettings) -> Ground:
    from buildpack.python.target import target_for
    from buildpack.python.venv import VenvLayout
    from buildpack.stacks.stack import Interpreter
    from buildpack.steps.resolution import Ground

    return Ground(
        target=target_for(version=host.version, machine=platform.machine(), libc=host.libc),
        layout=VenvLayout(python_version=host.version, stack_python=host.executable, root=str(folder).lstrip("/")),
        identity=f"{ENVIRONMENT_FORMAT}+{host.executable}+{host.version}+{folder}",
        interpreter=lambda: Interpreter(argv=(host.executable,), version=host.version),
        arrived=lambda _wheel, _contents: None,
        lacking=lambda _needed: (),
        place=str(app.resolve()),
        settings=settings,
    )


def _write(
    resolution: Resolution,
    ground: Ground,
    folder: Path,
    lock: Lock,
    *,
    store: Store,
    environ: Mapping[str, str],
) -> None:
    from buildpack.steps.assembly import WheelShelf

    shelf = WheelShelf(resolution.wheels, lock.sources, store=store, environ=environ)
    write_environment(
        resolution,
        layout=ground.layout,
        machine=ground.target.machine,
        folder=folder,
        wheel_path=shelf.path,
        store=store,
    )
