"""The lock's packages as a virtual environment on this machine: what `deploy local` runs an app in.

It lies in the store under a key of everything that decides it, never in the app's folder, and is written from the same
wheels and the same entries as an image's. Python compiles there as it imports, as in any environment.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.errors import local as errors
from buildpack.oci.entry import Entry
from buildpack.oci.store import Store
from buildpack.progress import Observer, Progress, ignore
from buildpack.resolution import Ground, Resolution, resolve
from buildpack.stacks.stack import Interpreter

__all__ = ["LocalEnvironment", "make_environment"]

ENVIRONMENT_FORMAT = 1
"""Raise it when the same wheels and interpreter would give another environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEnvironment:
    """A virtual environment at `folder`; `made` tells whether it had to be written just now."""

    folder: Path
    python: str
    made: bool
    warnings: tuple[str, ...]


def make_environment(
    lock: Lock,
    *,
    app: Path,
    python: str | None,
    own: str,
    store: Store,
    environ: Mapping[str, str],
    observer: Observer = ignore,
    system: str = sys.platform,
) -> LocalEnvironment:
    """Return the environment for this lock, its develop packages included.

    `python` is the version that the app asks for (``3.12`` or ``3.12.4``; None for any), `own` the interpreter that
    runs this. Raises StackError where this machine has no such interpreter, MachineError where it is no Linux,
    DependencyError where a package cannot be had.
    """
    from buildpack.python.target import target_for
    from buildpack.python.venv import VenvLayout
    from buildpack.stacks.interpreters import choose, find_candidates

    if system != "linux":
        raise errors.only_linux(system)
    candidates = find_candidates(python, environ=environ, own=own)
    host = choose(python, candidates, environ)
    if host is None:
        raise errors.no_interpreter(python or "3", app)
    target = target_for(version=host.version, machine=os.uname().machine, libc=host.glibc or ("musl", 1, 2))
    packages = _with_develop(lock)
    identity = f"{ENVIRONMENT_FORMAT}+{host.executable}+{host.version}"
    # The folder's name decides the scripts' first lines, so it follows from the lock, not from the wheels.
    key = hashlib.sha256(repr((identity, target.key, packages)).encode()).hexdigest()[:32]
    folder = store.folder("environments").absolute() / key
    layout = VenvLayout(python_version=host.version, stack_python=str(host.executable), root=str(folder).lstrip("/"))
    ground = Ground(
        target=target,
        layout=layout,
        identity=identity + str(folder),
        interpreter=lambda: Interpreter(argv=(str(host.executable),), version=host.version),
        arrived=lambda _wheel, _contents: None,
        lacking=lambda _needed: (),
    )
    resolution = resolve(lock, packages, ground=ground, store=store, environ=environ, observer=observer, folder=app)
    made = not folder.is_dir()
    if made:
        observer(Progress(stage="layers", done=0, total=len(resolution.wheels)))
        _write(resolution, ground, folder, lock, store=store, environ=environ)
    return LocalEnvironment(folder=folder, python=host.version, made=made, warnings=tuple(resolution.warnings))


def _with_develop(lock: Lock) -> tuple[LockedPackage, ...]:
    """Return all packages by name; where both sections have one, ``default`` decides, as with pipenv."""
    packages = {package.name: package for package in (*lock.develop, *lock.packages)}
    return tuple(packages[name] for name in sorted(packages))


def _write(
    resolution: Resolution,
    ground: Ground,
    folder: Path,
    lock: Lock,
    *,
    store: Store,
    environ: Mapping[str, str],
) -> None:
    from buildpack.assembly import WheelShelf
    from buildpack.python.venv import install_entries, venv_entries
    from buildpack.python.wheel import read_wheel

    shelf = WheelShelf(resolution.wheels, lock.sources, store=store, environ=environ)
    entries: list[Entry] = list(venv_entries(ground.layout))
    for wheel in resolution.wheels:
        contents = read_wheel(
            shelf.path(wheel.sha256),
            layout=ground.layout,
            sha256=wheel.sha256,
            machine=ground.target.machine,
            recall=store.recall,
            remember=store.remember,
        )
        entries.extend(contents.entries)
    install_entries(_last_wins(entries), folder)


def _last_wins(entries: Sequence[Entry]) -> list[Entry]:
    return list({entry.path: entry for entry in entries}.values())
