"""Finds Pythons for a stack that run on this machine: one that compiles byte code, and one that builds wheels."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.dataclass import replace
from buildpack.oci.store import Store
from buildpack.stacks.facts import find_library_folders
from buildpack.stacks.find_python import find_python, own_executable
from buildpack.stacks.image_stack import confirm_facts, unpacked
from buildpack.stacks.resolve import fetch_layers
from buildpack.stacks.stack import Interpreter, Stack
from buildpack.system.elf import read_elf
from buildpack.system.processes import User, library_path
from buildpack.system.unprivileged import is_reachable, keep_copy, reachable_folder

if TYPE_CHECKING:
    from buildpack.oci.transport import Transport

_SECONDS = 60
_VERSION = "import sys; print(sys.version.split()[0].rstrip('+'))"


def start_interpreter(
    stack: Stack,
    store: Store,
    environ: Mapping[str, str],
    *,
    own: str | None = None,
    sibling: Callable[[], Stack | None] = lambda: None,
    transport: Transport | None = None,
) -> Interpreter | str:
    """Return the command of a Python of exactly the stack's version, its own or this machine's; or why none starts.

    The base's layers are fetched and unpacked if necessary. If its facts come from an earlier image, this machine's
    Python is tried first, because nothing else needs the layers. `own` is the interpreter that runs this; `sibling`
    returns the same stack for this machine's platform, whose Python is used if it has the same version. Raises
    FactsContradicted if the base differs from those facts.
    """
    if stack.name == "host":
        from buildpack.stacks.host import recall_executable

        executable = recall_executable(stack, store)
        if executable:
            return Interpreter(argv=(executable,), version=stack.python.version, env=library_path(environ))
        return _of_this_machine(stack, store, environ, own, "the interpreter it was made from is gone")
    if stack.claimed:
        other = _of_this_machine(stack, store, environ, own, "")
        if isinstance(other, Interpreter):
            return other
    found = interpreter_of(look_into(stack, store, environ, transport), stack)
    reason = _why_not(found, stack.python.version)
    if reason is None:
        return found
    here = _of_this_machine(stack, store, environ, own, reason)
    if isinstance(here, Interpreter):
        return here
    beside = sibling()
    if beside is None or beside.digest == stack.digest or beside.python.version != stack.python.version:
        return here
    found = interpreter_of(look_into(beside, store, environ, transport), beside)
    return replace(found, own=False) if _why_not(found, beside.python.version) is None else here


def look_into(stack: Stack, store: Store, environ: Mapping[str, str], transport: Transport | None = None) -> Path:
    """Fetch and unpack a base if necessary; raises FactsContradicted if an earlier image's facts differ."""
    fetch_layers(stack, store, environ, transport)
    root = unpacked(stack.digest, stack.layers, store, stack=stack.name)
    if stack.claimed:
        confirm_facts(stack, root, store)
    return root


def interpreter_of(root: Path, stack: Stack) -> Interpreter:
    """Return the command of the Python of a base that is unpacked at `root`, without trying it.

    It starts through the base's own loader, with the base's own libraries: this machine may have another libc.
    """
    place = root / stack.python.executable.lstrip("/")
    elf = read_elf(place)
    argv = [str(place)]
    if elf is not None and elf.interpreter:
        libraries = ":".join(str(root / folder) for folder in find_library_folders(root))
        argv = [str(root / elf.interpreter.lstrip("/")), "--library-path", libraries, str(place)]
    prefix = str(place.parent.parent)
    return Interpreter(argv=tuple(argv), version=stack.python.version, env={"PYTHONHOME": prefix})


def bring_base(stack: Stack, found: Interpreter, store: Store, user: User | None) -> Interpreter:
    """Return the command of the stack's own interpreter for `user`: in the store, else in a copy that is kept."""
    if user is None or is_reachable(found.argv[-1]):
        return found
    root = unpacked(stack.digest, stack.layers, store, stack=stack.name)
    import shutil

    place = reachable_folder(root.parent, user) / root.name
    keep_copy(place, lambda folder: shutil.copytree(root, folder, symlinks=True, copy_function=_link_or_copy))
    return interpreter_of(place, stack)


def _link_or_copy(source: str, target: str) -> None:
    import shutil

    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _why_not(interpreter: Interpreter, version: str) -> str | None:
    """Run the interpreter once; return why it cannot be used, None if it runs and has this version."""
    try:
        ran = subprocess.run(
            [*interpreter.argv, "-S", "-B", "-c", _VERSION],
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env=dict(interpreter.env),
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"its own does not start here ({getattr(error, 'strerror', None) or error})"
    if ran.returncode != 0:
        last = (ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"])[-1]
        return f"its own fails here ({last})"
    if ran.stdout.strip() != version:
        return f"its own says that it is {ran.stdout.strip()}"
    return None


def _of_this_machine(
    stack: Stack, store: Store, environ: Mapping[str, str], own: str | None, reason: str
) -> Interpreter | str:
    version = stack.python.version
    found = find_python(version, environ=environ, own=own_executable(own), store=store)
    if found is None or found.version != version:
        return f"{reason}, and this machine has no Python {version}"
    return Interpreter(argv=(os.fspath(found.executable),), version=version, env=library_path(environ), own=False)


def find_builder(stack: Stack, store: Store, environ: Mapping[str, str]) -> Interpreter | None:
    """Return a Python of this machine that can build wheels for a stack; None if there is none.

    The stack's own only runs apps: it lacks headers, and a compiler here links against this machine's libraries anyway.
    The stack's patch level is preferred, and another one builds the same wheels.
    """
    if stack.machine != os.uname().machine:
        return None
    chosen = find_python(stack.python.version, environ=environ, own=own_executable(), store=store)
    if chosen is None:
        return None
    return Interpreter(argv=(str(chosen.executable),), version=chosen.version, env=library_path(environ), own=False)
