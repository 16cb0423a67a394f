"""The virtual environment that wheels are installed into, and the wheels that were found for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.dataclass import dataclass, field
from buildpack.plan import APP_ROOT, VENV_ROOT, Member
from buildpack.python.about import About
from buildpack.python.build_settings import NO_SETTINGS, BuildSettings
from buildpack.stacks.stack import Interpreter, Stack

if TYPE_CHECKING:
    from buildpack.python.files import WheelFile
    from buildpack.python.target import Target
    from buildpack.python.venv import VenvLayout
    from buildpack.python.wheel import WheelContents

RESOLUTION_FORMAT = 12
"""Raise it when the same lock and stack would give other wheels or warnings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallTarget:
    """A virtual environment to install wheels into, in an image or on this machine.

    `identity` is a part of the key under which the store remembers its wheels. `interpreter` starts a Python of the
    target on this machine, to build packages. `on_fetched` is called, from several threads, with the SHA-256 and the
    contents of each fetched wheel. `missing_libraries` takes the shared libraries that each wheel needs, and returns
    warnings about those that the target lacks. `place` is the folder of the app's code. `settings` are for packages
    that must be built. `complete` takes a wheel that was built here, its file and the sonames that it needs from
    outside. It returns the wheel with copies of the libraries that the stack lacks, or None if it lacks none, and
    raises DependencyError if the wheel cannot work on this stack.
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
    """The wheels of an image in order of their names, and warnings about them.

    `importing` names the wheels that import `pkg_resources`, and `shared` those that ship different files of the same
    path. `claimed` wheels are known from an earlier image only: nobody fetched them, and only a layer of that image has
    them. `about` has the metadata of each wheel by name, and `roots` the places of its files. `notes` are warnings for
    ``--verbose``.
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
        """The wheels as members of planned layers."""
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
    """Return the target of wheels that the stack's interpreter accepts."""
    from buildpack.python.target import Target

    return Target(version=stack.python.version, machine=stack.machine, libc=stack.facts.libc)


def layout_for(stack: Stack, root: str = VENV_ROOT) -> VenvLayout:
    """Return the layout of the virtual environment on this stack."""
    from buildpack.python.venv import VenvLayout

    return VenvLayout(python_version=stack.python.version, stack_python=stack.python.executable, root=root)


def recalled_about(value: Any) -> About:
    """Read the metadata that the store remembers of a wheel; raises TypeError if it is damaged."""
    found = About.parse(value)
    if found is None:
        raise TypeError
    return found
