"""Make the Python of hooks: a virtual environment of the lock's wheels on the stack's own interpreter.

If the interpreter starts by its path, the environment links to it. One from an image's files starts through that
image's loader, so the environment has a small script instead. If root builds, hooks run as another user, so their
environment is in a folder that this user can enter, and never in the store.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.dataclass import dataclass, field, replace
from buildpack.errors import hooks as errors
from buildpack.errors.build import unreachable_interpreter
from buildpack.oci.entry import Entry, file
from buildpack.oci.store import Store
from buildpack.plan import APP_ROOT
from buildpack.stacks.stack import Interpreter, Stack
from buildpack.steps.environments import ensure_environment
from buildpack.steps.install_target import Resolution, layout_for
from buildpack.steps.stack_compiler import StackCompiler
from buildpack.system.processes import User
from buildpack.system.unprivileged import bring_python, reachable_folder

if TYPE_CHECKING:
    from buildpack.python.venv import VenvLayout
    from buildpack.steps.assembly import WheelFetcher

_FORMAT = 2
_ARGV0_SINCE = ("glibc", 2, 33)
"""The first loader of glibc that knows ``--argv0``; musl's has known it for long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HookPython:
    """The environment at `folder`; its interpreter needs the variables `env` to start.

    `linked` are folders of the app that are on the environment's path: the app itself may be a package (PEP 660).
    """

    folder: Path
    linked: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


def make_python(
    resolution: Resolution,
    fetcher: WheelFetcher,
    compiler: StackCompiler,
    store: Store,
    *,
    step: str,
    user: User | None,
) -> HookPython:
    """Return an environment for the hooks of a build, which `user` can start. `step` names the first, for messages.

    It lasts under a key of everything that decides it, so the next build with the same packages uses it again.
    Raises AppError if the stack's Python does not run on this machine.
    """
    stack = compiler.stack
    python = _find(step, user, compiler, store)
    wheels = [wheel.sha256 for wheel in resolution.wheels]
    key = hashlib.sha256(repr((_FORMAT, "hooks", python, stack.python.version, wheels)).encode()).hexdigest()[:32]
    folder = reachable_folder(store.folder("environments"), user) / key
    layout = replace(layout_for(stack, root=str(folder.absolute()).lstrip("/")), stack_python=python.argv[-1])
    store.lease.use(folder)  # from here on `deploy cache prune` does not remove it
    ensure_environment(
        resolution,
        layout=layout,
        fetcher=fetcher,
        user=user,
        fresh=store.ignore_facts,
        extra=lambda: [
            *_starter(layout, python, stack),
            *_pip(layout, resolution),
            *_byte_code(resolution, layout, fetcher, compiler),
        ],
    )
    os.utime(folder)  # the date of its last use
    return HookPython(folder=folder, linked=_linked(Path(f"/{layout.site_packages}")), env=python.env)


def _pip(layout: VenvLayout, resolution: Resolution) -> Sequence[Entry]:
    """Return a pip that starts from its own wheel, so that nothing can import it; nothing if the lock has pip."""
    if any(wheel.name == "pip" for wheel in resolution.wheels):
        return ()
    from virtualenv.seed.wheels.embed import get_embed_wheel

    found = get_embed_wheel("pip", layout.short_version)
    if found is None:
        return ()
    wheel = f"{layout.root}/{found.path.name}"
    command = shlex.join([layout.interpreter, f"/{wheel}/pip"])
    script = f'#!/bin/sh\nPIP_DISABLE_PIP_VERSION_CHECK=1 exec {command} "$@"\n'
    return (
        file(wheel, found.path.read_bytes()),
        *(file(f"{layout.scripts}/{name}", script.encode(), executable=True) for name in ("pip", "pip3")),
    )


def _byte_code(
    resolution: Resolution, layout: VenvLayout, fetcher: WheelFetcher, compiler: StackCompiler
) -> list[Entry]:
    """Return the image's own byte code, at its place in this environment, since hooks write none."""
    if not compiler.decide().python:
        return []
    image = layout_for(compiler.stack)
    sources = {wheel.sha256: fetcher.read(wheel.sha256, layout=image).sources for wheel in resolution.wheels}
    for sha256, modules in sources.items():
        compiler.submit(sha256, modules)  # all of them, before this waits for the first
    compiled = [entry for sha256, modules in sources.items() for entry in compiler.entries(sha256, modules)]
    return [replace(entry, path=f"{layout.root}{entry.path.removeprefix(image.root)}") for entry in compiled]


def _linked(packages: Path) -> tuple[str, ...]:
    """Return the folders of the app in ``.pth`` files: the copy of the app is elsewhere than the app in the image."""
    top = f"/{APP_ROOT}/"
    lines = [line.rstrip() for file in sorted(packages.glob("*.pth")) for line in file.read_text().splitlines()]
    return tuple(line.removeprefix(top) for line in lines if line.startswith(top))


def _find(step: str, user: User | None, compiler: StackCompiler, store: Store) -> Interpreter:
    """Return the interpreter: its real path is the last of `argv`; the loader and its options come first."""
    from buildpack.stacks.run_python import bring_base

    stack = compiler.stack
    found = compiler.interpreter()
    if isinstance(found, str):
        raise errors.no_interpreter(step, stack.name, str(stack.platform), found)
    if not found.own and stack.machine != os.uname().machine:
        reason = f"the wheels are for {stack.machine}, and this machine is {os.uname().machine}"
        raise errors.no_interpreter(step, stack.name, str(stack.platform), reason)
    if found.own:
        brought = bring_base(stack, found, store, user)
    else:
        executable = bring_python(found.argv[-1], store.folder("pythons"), user)
        if executable is None:
            raise unreachable_interpreter("the hooks have", found.argv[-1])
        brought = replace(found, argv=(*found.argv[:-1], executable))
    # The environment shows an interpreter its home; a copied one finds its libraries.
    lost = {"PYTHONHOME"} if brought == found else {"PYTHONHOME", "LD_LIBRARY_PATH"}
    env = {name: value for name, value in brought.env.items() if name not in lost}
    return replace(brought, env=env)


def _starter(layout: VenvLayout, python: Interpreter, stack: Stack) -> Sequence[Entry]:
    """Return the script that replaces the link to an interpreter which only its loader can start."""
    if len(python.argv) == 1:
        return ()
    loader, *words, real = python.argv
    name, *version = stack.facts.libc
    if name == _ARGV0_SINCE[0] and tuple(version) < _ARGV0_SINCE[1:]:
        # The link shows Python its environment; only code that starts `sys.executable` again fails.
        started = [loader, *words, f"{layout.interpreter}-started"]
        link = replace(file("", b""), path=f"{layout.scripts}/python-started", kind="symlink", target=real)
        return (_script(layout, started), link)
    return (_script(layout, [loader, *words, "--argv0", layout.interpreter, real]),)


def _script(layout: VenvLayout, command: Sequence[str]) -> Entry:
    text = f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'
    return file(f"{layout.scripts}/python", text.encode(), executable=True)
