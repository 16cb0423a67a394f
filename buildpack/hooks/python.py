"""The Python that hooks run: a virtual environment of the lock's wheels on the stack's own interpreter.

An interpreter that starts by its path is linked to, as in any environment. One from an image's files starts through
that image's loader, so a small script stands in its place. Root hands over to a user who may see nothing of root's, so
then everything is put where that user gets to.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.compilation import StackCompiler
from buildpack.dataclass import dataclass, field, replace
from buildpack.environments import alone, clear, is_whole, write_environment
from buildpack.errors import hooks as errors
from buildpack.hooks.user import is_reachable
from buildpack.oci.entry import Entry, file
from buildpack.oci.store import Store
from buildpack.plan import APP_ROOT
from buildpack.resolution import Resolution
from buildpack.stacks.stack import Interpreter, Stack

if TYPE_CHECKING:
    from buildpack.python.venv import VenvLayout

__all__ = ["HookPython", "make_python"]

_FORMAT = 1
_ARGV0_SINCE = ("glibc", 2, 33)
"""The first loader of glibc that takes ``--argv0``; musl's has long had it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HookPython:
    """The environment at `folder`; `env` is what its interpreter needs to start.

    `linked` are folders of the app that its packages lead to, as paths in it: the app may be one of them (PEP 660).
    """

    folder: Path
    linked: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ground:
    """The interpreter as it is started: its real path last in `argv`, before it the loader's words."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def make_python(
    stack: Stack,
    resolution: Resolution,
    *,
    step: str,
    wheel_path: Callable[[str], Path],
    private: Path | None,
    compiler: StackCompiler,
    store: Store,
) -> HookPython:
    """Return an environment for the hooks of a build; `step` is the first of them, for messages.

    It is kept in the store, unless another user needs it: then it is made in `private`, a folder where that one gets
    to. Raises AppError where the stack's Python does not run on this machine.
    """
    ground = _find(stack, step, private, compiler, store)
    wheels = [wheel.sha256 for wheel in resolution.wheels]
    key = hashlib.sha256(repr((_FORMAT, "hooks", ground, stack.python.version, wheels)).encode()).hexdigest()[:32]
    folder = private / "venv" if private else store.folder("environments").absolute() / key
    layout = _layout(folder, ground, stack)

    def write() -> None:
        write_environment(
            resolution,
            layout=layout,
            machine=stack.machine,
            folder=folder,
            wheel_path=wheel_path,
            store=store,
            extra=_starter(layout, ground, stack),
        )

    store.lease.use(folder)  # which keeps it from being pruned from here on
    if private:
        write()
        _open(folder)
    elif store.doubting or not is_whole(folder, layout.stack_python):
        with alone(folder.parent):
            if store.doubting or not is_whole(folder, layout.stack_python):
                clear(folder)
                write()
    os.utime(folder)  # the date of its last use
    return HookPython(folder=folder, linked=_linked(Path(f"/{layout.site_packages}")), env=ground.env)


def _linked(packages: Path) -> tuple[str, ...]:
    """Find what ``.pth`` files add of the app, which lies elsewhere than in the image."""
    top = f"/{APP_ROOT}/"
    lines = [line.rstrip() for file in sorted(packages.glob("*.pth")) for line in file.read_text().splitlines()]
    return tuple(line.removeprefix(top) for line in lines if line.startswith(top))


def _find(stack: Stack, step: str, private: Path | None, compiler: StackCompiler, store: Store) -> _Ground:
    found = compiler.interpreter()
    if found is None:
        raise errors.no_interpreter(step, stack.name, str(stack.platform), compiler.why_none())
    if not found.own and stack.machine != os.uname().machine:
        reason = f"the wheels are for {stack.machine}, and this machine is {os.uname().machine}"
        raise errors.no_interpreter(step, stack.name, str(stack.platform), reason)
    env = {name: value for name, value in found.env.items() if name != "PYTHONHOME"}  # the environment tells it
    if private is None or is_reachable(found.argv[-1]):
        return _Ground(argv=found.argv, env=env)
    return _bring(stack, found, private, store)


def _bring(stack: Stack, found: Interpreter, private: Path, store: Store) -> _Ground:
    """Put the stack's interpreter and libraries where another user gets to."""
    import shutil

    from buildpack.stacks.base import unpacked
    from buildpack.stacks.interpret import interpreter_of

    if not found.own:
        raise errors.unreachable_interpreter(found.argv[-1])
    root = unpacked(stack.digest, stack.layers, store, stack=stack.name)
    place = private / "stack"
    shutil.copytree(root, place, symlinks=True, copy_function=_link_or_copy)
    return _Ground(argv=interpreter_of(place, stack).argv, env={})


def _link_or_copy(source: str, target: str) -> None:
    import shutil

    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _layout(folder: Path, ground: _Ground, stack: Stack) -> VenvLayout:
    from buildpack.python.venv import VenvLayout

    return VenvLayout(
        python_version=stack.python.version, stack_python=ground.argv[-1], root=str(folder.absolute()).lstrip("/")
    )


def _starter(layout: VenvLayout, ground: _Ground, stack: Stack) -> Sequence[Entry]:
    """Return what stands in the place of the link to an interpreter that does not start by itself."""
    if len(ground.argv) == 1:
        return ()
    loader, *words, real = ground.argv
    name, *version = stack.libc
    if name == _ARGV0_SINCE[0] and tuple(version) < _ARGV0_SINCE[1:]:
        # The link tells Python where its environment is; only what starts `sys.executable` anew goes wrong.
        started = [loader, *words, f"{layout.interpreter}-started"]
        link = replace(file("", b""), path=f"{layout.scripts}/python-started", kind="symlink", target=real)
        return (_script(layout, started), link)
    return (_script(layout, [loader, *words, "--argv0", layout.interpreter, real]),)


def _script(layout: VenvLayout, command: Sequence[str]) -> Entry:
    text = f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'
    return file(f"{layout.scripts}/python", text.encode(), executable=True)


def _open(folder: Path) -> None:
    """Let others list the folders, which a strict umask may have closed."""
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o755)  # noqa: PTH101, S103
