"""Errors of apps that run as processes of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from buildpack.errors import AppError, BuildpackError, MachineError, UsageError


class NotStartableError(BuildpackError):
    """A command that cannot be started; the exit code is a shell's, 126 or 127."""


def command_not_startable(name: str, command: str, message: str, *, code: int, process: bool) -> NotStartableError:
    """`process` is true if the command is the Procfile's."""
    error = NotStartableError(
        f"{name} cannot be started: {message}",
        why=f"Its command is `{command}`; nothing was started.",
        hint=(
            "check its spelling in the Procfile, and that Pipfile.lock has the package that installs it."
            if process
            else "check its spelling; the app's virtual environment comes first in PATH."
        ),
    )
    error.exit_code = code
    return error


def reference_given(reference: str) -> UsageError:
    return UsageError(
        f"{reference} is an image, not a folder",
        why="`deploy local` runs an app's folder as processes on this machine.",
        hint=f"`deploy run {reference}` runs the image.",
    )


# Virtual environments


def no_virtual_environment(folder: Path) -> UsageError:
    return UsageError(
        "--venv finds no virtual environment",
        why=f"None is active (VIRTUAL_ENV is not set), and {folder} has no .venv.",
        hint="activate one, name one with --venv=PATH, or leave --venv out: then one is made from Pipfile.lock.",
    )


def not_a_virtual_environment(path: Path, origin: str) -> UsageError:
    """`origin` is what names it."""
    state = "has no pyvenv.cfg" if os.path.isdir(path) else "is not a folder"
    return UsageError(
        f"{path} is not a virtual environment",
        why=f"{origin} names it, and it {state}.",
        hint=f"make one with `python3 -m venv {path}`, or leave --venv out: then one is made from Pipfile.lock.",
    )


def virtual_environment_broken(path: Path, reason: str) -> MachineError:
    return MachineError(
        f"the virtual environment {path} is broken",
        why=f"{reason} The Python that it was made with may have been removed or replaced.",
        hint=f"make it again with `python3 -m venv --clear {path}` and install into it, or leave --venv out.",
    )


def another_python(path: Path, found: str, asked: str, origin: str) -> str:
    return f"{path} has Python {found}; the app asks for {asked} ({origin})."


# --dev


def dev_without_app() -> AppError:
    return AppError(
        "--dev finds no app object",
        why="A development server imports it: a Flask app with the name APP, app or application, or create_app().",
        hint="define it at the top level of one of your modules, or use --reload, which restarts any process.",
    )


def dev_without_server(target: str, interface: str) -> AppError:
    wanted = "uvicorn" if interface == "asgi" else "flask"
    return AppError(
        f"--dev has no development server for {target}",
        why=f"It is a{'n ASGI' if interface == 'asgi' else ' WSGI'} app, and Pipfile.lock does not have {wanted}.",
        hint="use --reload, which restarts any process when a file changes.",
    )


def dev_without_web() -> UsageError:
    return UsageError(
        "--dev is for the web process, and none is started",
        hint="leave --dev out, or name `web` too; --reload restarts other processes when a file changes.",
    )
