"""The wording of what stands in the way of a virtual environment on this machine."""

from __future__ import annotations

from pathlib import Path

from buildpack.errors import DependencyError, MachineError, StackError


def only_linux(system: str) -> MachineError:
    """Word that wheels are chosen for Linux only; `system` is Python's name of the platform."""
    return MachineError(
        f"no virtual environment can be made on {system} yet",
        why="deploy chooses wheels for Linux only.",
        hint="make one with `pipenv sync --dev`, and run `deploy local --venv` inside `pipenv shell`.",
    )


def no_interpreter(python: str, app: Path) -> StackError:
    """Word that this machine lacks the Python that the app asks for."""
    return StackError(
        f"no Python {python} on this machine",
        why=f"{app} asks for it, and neither PATH nor pyenv's versions nor /usr/bin has one that runs.",
        hint=f"install Python {python}, for example with `pyenv install {python}`, or use `deploy run` with an engine.",
    )


def damaged_package(reason: str) -> DependencyError:
    """Word a file that a wheel does not hold as it says; the wheel's own hash was right a moment ago."""
    return DependencyError(
        "a locked package is packed wrongly",
        why=f"/{reason}.",
        hint="the wheel's hash is the one that Pipfile.lock lists, so its publisher made it so: ask for another "
        "version in Pipfile, and run `deploy lock`.",
    )


def another_python(asked: str | None, found: str) -> str:
    """Word, as a warning, that the environment stands on another Python than the app's image will."""
    return f"there is no Python {asked} on this machine, so the app runs on {found} here, and on {asked} in an image."


def unreachable_interpreter(what: str, path: str) -> MachineError:
    """Report an interpreter that only root can start; `what` begins the sentence: "the hooks have"."""
    return MachineError(
        f"{what} no Python that may run",
        why=f"The app's and its packages' code does not run as root, and only root can reach {path}.",
        hint="build as another user, or install that Python where every user can start it, such as /usr/local.",
    )


def ran_as_root(what: str) -> str:
    """Warn that strangers' code ran as root; `what` begins the sentence."""
    return f"{what} ran as root: this process may not become another user. Build as another user if you can."
