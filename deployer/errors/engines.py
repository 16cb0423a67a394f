"""Errors of apps that run: in a container engine, or as processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import AppError, BuildpackError, EngineError, MachineError, UsageError


def engine_failed(host: str, message: str) -> EngineError:
    return EngineError(
        f"the container engine at {host} refused",
        why=f"It said: {message}",
        hint="see the engine's own log; `--engine local` runs the app without one.",
    )


def engine_nonsense(host: str, reason: str) -> EngineError:
    shown = " ".join(reason.split())[:200]
    return EngineError(
        f"the container engine at {host} gives an answer that deploy does not understand",
        why=f"The engine's API does not describe it: {shown}." if shown else "The engine's API does not describe it.",
        hint="check that a Docker or Podman engine answers there; `--engine local` runs the app without one.",
    )


def engine_warned(name: str, text: str) -> str:
    """`name` is the engine's, `text` what it said about a container that it created."""
    return f"{name} warns: {text}"


def exec_failed(name: str, message: str) -> EngineError:
    return EngineError(
        f"{name} cannot run a command in a running container",
        why=f"`deploy ci` checks web and services from inside their containers. The engine said: {message}",
        hint="make `docker exec` work there, or try the image out without it: `--engine local` or `--no-boot`.",
    )


class NotStartedError(BuildpackError):
    """A command that cannot be started; the exit code is a shell's, 126 or 127."""


def container_not_started(command: str, message: str, *, code: int) -> NotStartedError:
    """`code` is 127 if the command is not in the image, 126 if it cannot be executed."""
    error = NotStartedError(
        f"{command!r} cannot be run in this image",
        why=f"The engine said: {message}",
        hint="check the spelling, and that the image has this program in PATH.",
    )
    error.exit_code = code
    return error


def image_unknown(reference: str) -> EngineError:
    return EngineError(
        f"there is no image {reference}",
        why="Neither the engine nor the store has it, and with --no-build deploy does not build it.",
        hint="leave out --no-build.",
    )


def image_not_pulled(reference: str, message: str) -> EngineError:
    return EngineError(
        f"there is no image {reference}",
        why=f"Neither the engine nor the store has it, and pulling it failed: {message}",
        hint="check the spelling of the name and tag; `deploy run FOLDER` builds an app and runs it.",
    )


def foreign_image(reference: str) -> UsageError:
    return UsageError(
        f"{reference} has no process types",
        why="It was not built by deploy: it has no /opt/deploy/launch.json that deploy can read.",
        hint=f"name a command, for example `deploy run {reference} -- sh`.",
    )


def port_taken(port: int, other: int | None, *, address: str, holder: str) -> MachineError:
    """`holder` is the program that listens on it, empty if unknown; `other` is a free port."""
    return MachineError(
        f"port {port} is taken",
        why=f"{holder or 'Something'} listens on {f'{address}:{port}' if address else 'it'} already; "
        "nothing was started.",
        hint=f"stop it, or choose another port with `-p {other or 'PORT'}`.",
    )


def port_refused(message: str) -> MachineError:
    return MachineError(
        "a port could not be published",
        why=f"The engine said: {message}",
        hint="choose another port with `-p`.",
    )


def ports_exhausted(port: int, count: int) -> UsageError:
    return UsageError(
        f"port {port} leaves no room for {count} web processes",
        why="web.1 gets that port, each further one the next, and 65535 is the last.",
        hint=f"choose one up to {65536 - count}.",
    )


def bad_port_variable(value: str) -> UsageError:
    return UsageError(
        f"PORT is {value!r}, which is not the number of a port",
        hint="correct it where it is set (-e, an env file, .env, app.json or the shell), or leave it out.",
    )


def bad_memory(text: str) -> UsageError:
    return UsageError(
        f"--memory {text!r} is not an amount of memory",
        why="Engines accept 6m and more.",
        hint="write it as 512m or 1.5g.",
    )


def bad_cpus(text: str) -> UsageError:
    return UsageError(f"--cpus {text!r} is not a number of processors", hint="write it as 2 or 0.5.")


def bad_host(text: str) -> UsageError:
    return UsageError(
        f"--host {text!r} is not an address",
        why="It is the address of this machine on which ports are published.",
        hint="127.0.0.1 allows connections from this machine only, 0.0.0.0 also from the network.",
    )


def local_cannot(asked: Sequence[str], why: str) -> EngineError:
    """Return the error of options that need a container engine; `why` says why there is none."""
    hint = "start Docker or Podman, or set DOCKER_HOST."
    if why == "--engine local":
        why, hint = "--engine local runs processes of this machine", "leave `--engine local` out."
    return EngineError(
        f"{' and '.join(asked)} {'needs' if len(asked) == 1 else 'need'} a container engine",
        why=f"{why[:1].upper()}{why[1:]}.",
        hint=hint,
    )


# Processes of this machine


def command_not_startable(name: str, command: str, message: str, *, code: int, process: bool) -> NotStartedError:
    """`process` is true if the command is the Procfile's."""
    error = NotStartedError(
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
