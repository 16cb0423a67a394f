"""Builds a package in a virtual environment of its own, out of reach of deploy's files, variables and logins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from buildpack.errors.build import unreachable_interpreter
from buildpack.python.build_settings import COMPILER_VARIABLES
from buildpack.python.target import Target
from buildpack.python.venv import VenvLayout, install_entries, venv_entries
from buildpack.python.wheel import read_wheel
from buildpack.system.processes import ProcessGroup, User, library_path
from buildpack.system.temporary import make_folder
from buildpack.system.unprivileged import bring_python, give, open_left, reachable_path

EPOCH = "315532800"
"""1980-01-01, the oldest time that a zip can hold."""
_KEPT = 50_000
"""Lines of output that are kept: compilers name the first error long before the end."""
_LONGEST_ANSWER = 1 << 20
_ASK = "import platform; print(platform.python_version(), platform.machine(), *platform.libc_ver())"


class BuildFailedError(Exception):
    """A step failed, or no package fulfils a requirement; `output` may hold credentials."""

    def __init__(self, output: str) -> None:
        super().__init__()
        self.output = output


Provide = Callable[[Sequence[str]], Sequence[Path]]
"""Returns the verified wheels that fulfil a build's requirements, and the wheels that these require in turn.

Raises BuildFailedError if no package fulfils one.
"""


def inspect(argv: Sequence[str], environ: Mapping[str, str]) -> Target:
    """Ask an interpreter of this machine what it accepts. Raises OSError or CalledProcessError if it does not run.

    It may belong to a base image, so it gets LD_LIBRARY_PATH, without which it may not start.
    """
    import subprocess

    command = [*argv, "-I", "-B", "-c", _ASK]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=library_path(environ))
    version, machine, *libc = ran.stdout.split()
    name, number = libc if len(libc) == 2 else ("musl", "1.2")
    major, minor = [*number.split("."), "0"][:2]
    return Target(version=version, machine=machine, libc=(name, int(major), int(minor)))


def own_libc() -> tuple[str, int, int] | None:
    """Return the C library that this process runs on; None for musl, which does not report its version."""
    try:
        found = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        return None
    name, _, number = found.partition(" ")
    major, _, minor = number.partition(".")
    return (name, int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def build_in_isolation(
    project: Path,
    place: Path,
    *,
    interpreter: str,
    version: str,
    environ: Mapping[str, str],
    variables: Mapping[str, str],
    user: User | None,
    provide: Provide,
) -> Path:
    """Build a project's wheel in a new environment under `place`; return its path. Raises BuildFailedError.

    `interpreter` is a Python outside of any virtual environment, of this `version` ("3.11.7"). `provide` returns the
    wheels of the build's requirements; this process unpacks them. Code of the project and of those wheels runs as
    `user`, in the folders of `place` that belong to that user, and sees no login.
    """
    from build import BuildBackendException, BuildException, FailedProcessError, ProjectBuilder

    clean = _clean_environment(environ, place, user, variables)
    for name in ("home", "tmp", "out"):
        make_folder(place / name)
        give(place / name, user)
    output: list[str] = []
    python = place / "venv" / "bin" / "python"

    def run(cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None) -> None:
        path = f"{python.parent}:{clean['PATH']}"
        environment = {**clean, "PATH": path, **(extra_environ or {})}
        _call(cmd, environment, output, cwd=cwd or str(project), place=place, user=user)

    try:
        builder = ProjectBuilder(project, str(python), runner=run)
        wanted = builder.build_system_requires
        wheels = provide(sorted(wanted))
        _make_environment(place / "venv", wheels, interpreter, version)
        more = builder.get_requires_for_build("wheel")
        if more and (added := provide(sorted({*wanted, *more}))) != wheels:
            # In the same place: a new builder would read pyproject.toml again, after the project's code ran.
            shutil.rmtree(place / "venv")
            _make_environment(place / "venv", added, interpreter, version)
        return place / "out" / Path(builder.build("wheel", str(place / "out"))).name
    except (BuildBackendException, BuildException, FailedProcessError) as error:
        raise BuildFailedError("".join(output) or str(error)) from None


def _call(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: list[str],
    *,
    cwd: str,
    place: Path,
    user: User | None,
) -> None:
    """Run a hook of the build (pyproject_hooks), whose question and answer are files in a folder of `user`."""
    import subprocess

    python, script, name, folder = command
    exchange = place / f"exchange-{len(output)}"
    make_folder(exchange)
    shutil.copyfile(Path(folder) / "input.json", exchange / "input.json")
    (exchange / "input.json").chmod(0o600)  # under any umask
    give(exchange, user)
    worker = place / "hook.py"
    shutil.copyfile(script, worker)
    worker.chmod(0o644)
    argv = [python, str(worker), name, str(exchange)]
    ran = ProcessGroup().run(argv, folder=cwd, environment=environment, user=user, kept=_KEPT)
    output.append("".join(f"{line}\n" for line in ran.lines))
    if ran.code:
        raise subprocess.CalledProcessError(ran.code, argv, output[-1])
    try:
        with open_left(exchange / "output.json") as answer:
            (Path(folder) / "output.json").write_bytes(answer.read(_LONGEST_ANSWER))
    except OSError as error:
        raise BuildFailedError(f"its answer cannot be read: {error.strerror}") from None


def _make_environment(folder: Path, wheels: Sequence[Path], python: str, version: str) -> None:
    """Make a virtual environment that holds wheels; `user` can only read it."""
    layout = VenvLayout(python_version=version, stack_python=python, root=str(folder).lstrip("/"))
    entries = [entry for wheel in wheels for entry in read_wheel(wheel, layout=layout).entries]
    try:
        install_entries([*venv_entries(layout), *entries], folder)
    except (ValueError, OSError) as error:
        raise BuildFailedError(f"what the build requires cannot be unpacked: {error}") from None


def _clean_environment(
    environ: Mapping[str, str], place: Path, user: User | None, variables: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of a build: those of compilers, those that the user set for builds, and fixed ones.

    The fixed ones make each build give the same result.
    """
    flags = f"-g0 -ffile-prefix-map={place}=/build"
    kept = {name: value for name, value in environ.items() if name in COMPILER_VARIABLES}
    for name, folder in (("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")):
        if user is None and environ.get("HOME") and (Path(environ["HOME"]) / folder).is_dir():
            kept.setdefault(name, str(Path(environ["HOME"]) / folder))
    return {
        **kept,
        "TMPDIR": str(place / "tmp"),
        **variables,
        "PATH": reachable_path(kept.get("PATH") or "/usr/local/bin:/usr/bin:/bin", user),
        "HOME": str(place / "home"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        # pyproject_hooks 1.3 repeats a backend's warnings in this process, which prints nothing.
        "PYTHONWARNINGS": "ignore",
        "SOURCE_DATE_EPOCH": EPOCH,
        **{name: f"{variables.get(name, environ.get(name, ''))} {flags}".strip() for name in ("CFLAGS", "CXXFLAGS")},
    }


def reachable(name: str, argv: tuple[str, ...], pythons: Path, user: User | None) -> tuple[str, ...]:
    """Return the command of an interpreter that `user` can run to build `name`; copies are kept in `pythons`."""
    if len(argv) > 1:
        return argv  # from an image's files, which the user can reach
    make_folder(pythons)
    executable = bring_python(argv[0], pythons, user)
    if executable is None:
        raise unreachable_interpreter(f"the build of {name} has", argv[0])
    return (executable,)
