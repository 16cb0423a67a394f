"""Errors of a build as a whole: its stack, earlier images, and virtual environments on this machine."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from buildpack.errors import (
    AppError,
    BuildpackError,
    DependencyError,
    MachineError,
    Problems,
    StackError,
    UsageError,
    file_of,
    sentence,
)


def bad_stack(origin: str, error: BuildpackError) -> BuildpackError:
    """Name the origin of a stack that is not valid: the file or the variable `origin`."""
    kind = AppError if file_of(origin) else UsageError
    return kind(error.what, why=f"{origin} names it as the stack. {error.why}", hint=error.hint)


def default_stack(name: str, error: StackError, *, linux: bool) -> StackError:
    """Say why the build uses this stack although the app names none."""
    other = " `--stack host` takes this machine's Python and needs no registry." if linux else ""
    return StackError(
        error.what,
        why=f"The app names no stack, so the build uses {name} from Docker Hub. {error.why}",
        hint=f"{error.hint}{other}",
    )


def for_platform(platform: str, error: BuildpackError) -> BuildpackError:
    """Name the platform whose build failed, if there are several; the exit code stays."""
    if isinstance(error, Problems):
        return Problems([for_platform(platform, problem) for problem in error.problems])
    named = BuildpackError(f"{platform}: {error.what}", why=error.why, hint=error.hint)
    named.exit_code = error.exit_code
    return named


def no_bytecode(stack: str, reason: str) -> str:
    return f"no byte code for {stack}: {reason}. Processes will start more slowly; everything else is the same."


def compiling_failed(reason: str) -> MachineError:
    if os.strerror(errno.ENOSPC) in reason:
        return MachineError(
            "the disk is full",
            why=f"Compiling byte code failed: {reason}.",
            hint="free some space, or set DEPLOY_HOME to a folder on a disk with space, and build again.",
        )
    return MachineError(
        "byte code could not be compiled",
        why=f"{sentence(reason)}.",
        hint="build again; if it fails again, look for a lack of memory (`dmesg`) or of disk space on this machine.",
    )


def only_linux(system: str) -> MachineError:
    """`system` is Python's name of the platform."""
    return MachineError(
        f"no virtual environment can be made on {system} yet",
        why="deploy chooses wheels for Linux only.",
        hint="make one with `pipenv sync --dev`, and run `deploy local --venv` inside `pipenv shell`.",
    )


def no_interpreter(python: str, app: Path) -> StackError:
    return StackError(
        f"no Python {python} on this machine",
        why=f"{app} asks for it, and neither PATH nor pyenv's versions nor /usr/bin has one that runs.",
        hint=f"install Python {python}, for example with `pyenv install {python}`, or use `deploy run` with an engine.",
    )


def damaged_package(reason: str) -> DependencyError:
    return DependencyError(
        "a locked package is packed wrongly",
        why=f"/{reason}.",
        hint="its hash is the one in Pipfile.lock, so its publisher made this mistake: ask for another version in "
        "Pipfile, and run `deploy lock`.",
    )


def another_python(asked: str | None, found: str) -> str:
    return f"there is no Python {asked} on this machine, so the app runs on {found} here, and on {asked} in an image."


def unreachable_interpreter(what: str, path: str) -> MachineError:
    """`what` begins the sentence: "the hooks have"."""
    return MachineError(
        f"{what} no Python that may run",
        why=f"The app's and its packages' code does not run as root, and only root can reach {path}.",
        hint="build as another user, or install that Python where every user can start it, such as /usr/local.",
    )


def ran_as_root(what: str) -> str:
    return f"{what} ran as root: this process may not become another user. Build as another user if you can."


class FactsContradicted(StackError):
    """An earlier image states facts about its base that are wrong, so nothing of that image is used."""


def not_there(name: str, *, own: bool) -> str:
    return "first build" if own else f"there is no {name}"


def not_readable(name: str, error: BuildpackError) -> str:
    return f"{name} cannot be used: {error.what}"


def no_keys(name: str) -> str:
    return f"the layers of {name} have no keys: it was built, or copied, by a tool that drops annotations"


def vanished(name: str) -> str:
    return f"the registry had lost it from {name}"


def doubted(name: str, doubt: str) -> str:
    return f"{name} has a layer with this key that is not believed: {doubt}"


def not_pulled(name: str, error: BuildpackError) -> str:
    return f"it could not be taken from {name}: {error.what}"


def other_content(name: str) -> str:
    return f"the layer that {name} has under this key is not what its config says"


def facts_contradicted(name: str, digest: str) -> FactsContradicted:
    return FactsContradicted(
        f"an earlier image states wrong facts about {name}",
        why=f"Its annotation `dev.deploy.stack` does not agree with the base {digest}.",
        hint="build with `--no-cache`, which looks at no earlier image.",
    )
