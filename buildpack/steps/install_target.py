"""The virtual environment that wheels are installed into, and the wheels that were found for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from buildpack.app.findings import Brought, brought_by
from buildpack.dataclass import dataclass
from buildpack.plan import APP_ROOT, VENV_ROOT
from buildpack.python.build_settings import NO_SETTINGS, BuildSettings
from buildpack.stacks.stack import Interpreter, Stack

if TYPE_CHECKING:
    from buildpack.oci.store import Store
    from buildpack.python.files import WheelFile
    from buildpack.python.target import Target
    from buildpack.python.venv import VenvLayout
    from buildpack.stacks.find_python import HostPython
    from buildpack.steps.stack_compiler import StackCompiler

RESOLUTION_FORMAT = 13
"""Raise it when the same lock and stack would give other wheels or warnings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallTarget:
    """A virtual environment to install wheels into, in an image or on this machine.

    `identity` is a part of the key under which the store remembers its wheels. `interpreter` starts a Python of the
    target on this machine, to build packages. `place` is the folder of the app's code. `settings` are for packages that
    must be built. Wheels for an image must work on its `stack`, and its `compiler` begins to compile each wheel that
    was fetched.
    """

    target: Target
    layout: VenvLayout
    identity: str
    interpreter: Callable[[], Interpreter | None]
    place: str = f"/{APP_ROOT}"
    settings: BuildSettings = NO_SETTINGS
    stack: Stack | None = None
    compiler: StackCompiler | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The wheels of an image in order of their names, and warnings about them.

    With `claimed` some wheels are known from an earlier image only: nobody fetched them, and only a layer of that image
    has them. `notes` are warnings for ``--verbose``.
    """

    wheels: tuple[WheelFile, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    claimed: bool = False


def summary_key(sha256: str, machine: str, root: str) -> str:
    """Return the key under which the store remembers the summary of a wheel."""
    return f"{RESOLUTION_FORMAT}+{sha256}+{machine}+{root}"


def recall_brought(wheels: Sequence[Sequence[str]], store: Store, *, machine: str) -> Brought | None:
    """Return the modules and programs that an image's wheels bring; None if one of them was not read.

    Each wheel is given by the SHA-256 sums that it may have.
    """
    paths: list[str] = []
    for sums in wheels:
        keys = (summary_key(sha256, machine, VENV_ROOT) for sha256 in sums)
        found = next((found for key in keys if (found := store.recall("wheel-summary", key))), None)
        if not isinstance(found, dict) or not isinstance(found.get("paths"), list):
            return None
        paths += map(str, found["paths"])
    return brought_by(paths, scripts=f"{VENV_ROOT}/bin")


def target_of(stack: Stack) -> Target:
    """Return the target of wheels that the stack's interpreter accepts."""
    from buildpack.python.target import Target

    return Target(version=stack.python.version, machine=stack.machine, libc=stack.facts.libc)


def layout_for(stack: Stack, root: str = VENV_ROOT) -> VenvLayout:
    """Return the layout of the virtual environment on this stack."""
    from buildpack.python.venv import VenvLayout

    return VenvLayout(python_version=stack.python.version, stack_python=stack.python.executable, root=root)


def target_here(
    python: HostPython,
    *,
    identity: str = "",
    root: str = VENV_ROOT,
    place: str = f"/{APP_ROOT}",
    settings: BuildSettings,
) -> InstallTarget:
    """Return the environment of an interpreter of this machine, at `root`; the others are as in `InstallTarget`."""
    from buildpack.python.target import Target
    from buildpack.python.venv import VenvLayout

    executable = str(python.executable)
    return InstallTarget(
        target=Target(version=python.version, machine=os.uname().machine, libc=python.glibc or ("musl", 1, 2)),
        layout=VenvLayout(python_version=python.version, stack_python=executable, root=root),
        identity=identity,
        interpreter=lambda: Interpreter(argv=(executable,), version=python.version),
        place=place,
        settings=settings,
    )
