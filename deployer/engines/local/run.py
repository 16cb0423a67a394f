"""Runs an app's Procfile as processes of this machine: `deploy local`, and `deploy run` if there is no engine."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from buildpack.app.findings import Brought, brought_by, settle
from buildpack.app.read import App, read_app
from buildpack.dataclass import dataclass, field, replace
from buildpack.errors import together
from buildpack.options import Options
from buildpack.progress import Observer, ignore
from buildpack.stacks.find_python import usable_versions
from deployer.engines.ports import ports_of_web, read_port, require_free
from deployer.errors import local as errors
from deployer.formation import choose_formation, find_one_off, one_off_text
from deployer.interrupts import dismiss_helper
from deployer.runner.command import CommandError, become, command_argv, exec_error, resolve_argv
from deployer.runner.defaults import app_environment, runtime_folder

if TYPE_CHECKING:
    from typing import NoReturn

    from buildpack.oci.store import Store
    from deployer.engines.local.group import LocalGroup
    from deployer.engines.local.watch import Watcher
    from deployer.runner.formation import Process
    from deployer.settings.app_variables import Defaults

_SHARED_MEMORY = " --worker-tmp-dir /dev/shm"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRequest:
    """What to run, and how; times are in seconds.

    `named` holds the process types of the command line; `command` runs instead of them. `given` is what -e says,
    `env_files` are read in their order. `port` is -p's, `default_port` where nobody names one. `venv` is None for an
    environment of our own, empty for whichever is there, else a path. `categories` of the lock are installed too.
    `again` is the command that runs the same app, to which a process type can be added.
    """

    folder: Path
    shown: str
    named: Mapping[str, int] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    env_files: Sequence[Path] = ()
    port: int | None = None
    default_port: int
    venv: str | None = None
    dev: bool = False
    reload: bool = False
    restart: str = "no"
    stop_timeout: float = 25.0
    boot_timeout: float = 60.0
    health_host: str = ""
    log_format: str = "text"
    quiet: bool = False
    categories: tuple[str, ...] = ()
    again: str = "deploy local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hears:
    """Who is told: of the environment's making, while it lasts and afterwards, and of what is worth a warning."""

    progress: Observer = ignore
    say: Callable[[str], None] = lambda _text: None
    warn: Callable[[str], None] = lambda _text: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that was found out and made before anything is started."""

    request: LocalRequest
    app: App
    environment: Mapping[str, str] = field(repr=False)
    processes: Sequence[Process]


def prepare(
    request: LocalRequest,
    *,
    store: Callable[[], Store],
    environ: Mapping[str, str],
    today: date,
    hears: Hears,
) -> Prepared:
    """Read the app, see to its virtual environment, and make sure that what shall be started can be.

    `store` is called only if the environment has to come from it. Raises BuildpackError.
    """
    app = read_app(
        request.folder,
        Options(categories=request.categories),
        environ=environ,
        today=today,
        own_python=_series(),
        installed=lambda: usable_versions(environ=environ, own=sys.executable, store=store()),
    )
    counts = _choose(request, app)
    if not (request.named or request.command) and (left := find_one_off([one.name for one in app.processes], counts)):
        hears.say(one_off_text(left, request.again))
    for text in app.warnings:
        hears.warn(text)
    defaults, files = _read_variables(request, environ, hears)
    venv = _virtual_environment(request, app, store=store, environ=environ, hears=hears)
    _settle(app, venv, hears)
    env = defaults.below(_environment(request, app, venv, environ, [defaults.values, *files]))
    processes = [] if request.command else _processes(request, app, counts, env, venv)
    _require_startable(processes)
    return Prepared(request=request, app=app, environment=env, processes=processes)


def run_local(prepared: Prepared, *, out: BinaryIO) -> int:
    """Run the processes until they end; returns the exit code, or becomes the command. Raises BuildpackError."""
    if prepared.request.command:
        _become(prepared.request.command, prepared.environment, prepared.request.folder)
    return _supervise(prepared, out)


def _settle(app: App, venv: Path, hears: Hears) -> None:
    """Check for the modules that the environment has to bring; whether a program is there, starting it will tell."""
    doubts = [doubt for doubt in app.doubts if doubt.kind == "module"]
    problems, notices = settle(doubts, _installed(venv)) if doubts else ([], [])
    for notice in notices:
        hears.warn(str(notice))
    if problems:
        raise together(problems)


def _installed(venv: Path) -> Brought | None:
    """Return what the environment brings; None if some of it is elsewhere."""
    paths = [str(path) for path in venv.glob("lib/python*/site-packages/*")]
    if any(path.endswith(".pth") and not path.endswith("/distutils-precedence.pth") for path in paths):
        return None
    return brought_by(paths, scripts=str(venv / "bin"))


def _series() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _choose(request: LocalRequest, app: App) -> dict[str, int]:
    if request.command:
        return {}
    names = [process.name for process in app.processes]
    counts = choose_formation(request.named, processes=names, formation=app.formation, where=request.shown)
    if request.dev and "web" not in counts:
        raise errors.dev_without_web()
    return counts


def _virtual_environment(
    request: LocalRequest,
    app: App,
    *,
    store: Callable[[], Store],
    environ: Mapping[str, str],
    hears: Hears,
) -> Path:
    asked = app.python
    if request.venv is not None:
        from deployer.engines.local.virtualenv import find_virtual_environment, python_version

        venv = find_virtual_environment(request.venv, folder=request.folder, environ=environ)
        found = python_version(venv)
        if asked and found and not f"{found}.".startswith(f"{asked.version}."):
            hears.warn(errors.another_python(venv, found, asked.version, asked.origin))
        return venv
    from buildpack.python.build_settings import read_settings
    from buildpack.session import open_session
    from buildpack.steps.local import Wanted, make_environment

    begin = time.monotonic()
    wanted = Wanted(
        lock=app.lock,
        app=request.folder,
        python=asked.version if asked else None,
        insist=asked is not None and not asked.origin.startswith("the default"),
        settings=read_settings(app, environ),
    )
    made = make_environment(wanted, open_session(store(), environ, observer=hears.progress))
    for text in made.warnings:
        hears.warn(text)
    if made.made:
        seconds = time.monotonic() - begin
        hears.say(f"Made a virtual environment from Pipfile.lock, on Python {made.python}, in {seconds:.1f} s")
    return made.folder


def _read_variables(
    request: LocalRequest, environ: Mapping[str, str], hears: Hears
) -> tuple[Defaults, Sequence[Mapping[str, str]]]:
    """Read app.json's env, and .env with the files of the command line; raises AppError for what app.json requires."""
    from deployer.settings.app_variables import default_variables
    from deployer.settings.environment import read_env_files

    files = read_env_files(request.env_files, app=request.folder.absolute(), own=True, environ=environ)
    given = {name for values in (*files, environ, request.given) for name in values if values[name]}
    defaults = default_variables(request.folder, given=given, environ=environ)
    defaults.tell(say=hears.say, warn=hears.warn, insist=not request.command)
    return defaults, files


def _environment(
    request: LocalRequest, app: App, venv: Path, environ: Mapping[str, str], files: Sequence[Mapping[str, str]]
) -> dict[str, str]:
    """Return the environment all processes share: as in an image, but for what this machine has in its place."""
    from deployer.settings.environment import local_environment

    folder = request.folder.absolute()
    env = local_environment(
        given=request.given,
        environ=environ,
        files=files,
        port=request.port,
        default_port=request.default_port,
        folder=folder,
        venv=venv,
    )
    return app_environment(env, app.app_object.target if app.app_object else None, app=str(folder))


def _become(command: Sequence[str], env: Mapping[str, str], folder: Path) -> NoReturn:
    """Turn into a command, which has the terminal, the signals and the exit code to itself."""
    argv, env = list(command), {**env, "PS": "run.1", "DYNO": "run.1"}
    try:
        file = resolve_argv(argv, env["PATH"], str(folder))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.chdir(folder)
        dismiss_helper()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would hand that on
            signal.signal(number, signal.SIG_DFL)
        try:
            become(file, argv, dict(env))
        except OSError as error:
            raise exec_error(error, argv) from error
    except CommandError as error:
        raise errors.command_not_startable(
            "the command", " ".join(command), str(error), code=error.code, process=False
        ) from error


def _processes(
    request: LocalRequest, app: App, counts: Mapping[str, int], env: Mapping[str, str], venv: Path
) -> list[Process]:
    """Return the formation's processes, in the folder of the app."""
    from deployer.runner.formation import expand

    commands = {process.name: process.command for process in app.processes}
    if not os.path.isdir("/dev/shm"):  # noqa: S108 - macOS has none; only our own default asks for it
        commands = {name: command.removesuffix(_SHARED_MEMORY) for name, command in commands.items()}
    port = read_port(env, request.default_port)
    require_free(ports_of_web(port, counts.get("web", 0)))
    folder = str(request.folder.absolute())
    served = app.app_object.target if app.app_object else None
    processes = expand(commands, counts, port=port, env=env, cwd=folder, app_object=served, app=folder)
    if not request.dev:
        return processes
    from deployer.engines.local.development import development_command

    python = f"{venv}/bin/python"
    webs = {one.name: one.env["PORT"] for one in processes if one.type == "web"}
    develop = {name: development_command(app, python=python, port=port) for name, port in webs.items()}
    return [replace(one, command=develop.get(one.name, one.command)) for one in processes]


def _require_startable(processes: Sequence[Process]) -> None:
    """Find out before anything is started that a command is not there."""
    for process in processes:
        path = process.env["PATH"]
        command = process.command
        try:
            argv = command_argv(command, path) if isinstance(command, str) else list(command)
            resolve_argv(argv, path, process.cwd or "")
        except CommandError as error:
            shown = command if isinstance(command, str) else " ".join(command)
            raise errors.command_not_startable(
                process.type, shown, str(error), code=error.code, process=True
            ) from error


def _supervise(prepared: Prepared, out: BinaryIO) -> int:
    from buildpack.app.health_host import find_health_host
    from deployer.engines.foreground import Boot
    from deployer.engines.local.group import LocalGroup
    from deployer.runner.supervisor import Settings

    request, processes = prepared.request, prepared.processes
    reloaded = [one.name for one in processes if not (request.dev and one.type == "web")] if request.reload else []
    settings = Settings(
        stop_timeout=request.stop_timeout,
        restart=request.restart,
        log_format=request.log_format,
        narrate=not request.quiet,
    )
    host = request.health_host or find_health_host(prepared.app.source, prepared.environment)
    boot = Boot(seconds=request.boot_timeout, host=host)
    folders = {process.name: runtime_folder(process.env) for process in processes}
    apart = [replace(process, env={**process.env, **folders[process.name]}) for process in processes]
    group = LocalGroup(apart, settings, boot, out=out, environ=prepared.environment, reloaded=reloaded)
    watcher = _watch(prepared, group) if reloaded else None
    try:
        return group.run()
    finally:
        if watcher is not None:
            watcher.stop()
        for made in folders.values():
            for path in made.values():
                shutil.rmtree(path, ignore_errors=True)


def _watch(prepared: Prepared, group: LocalGroup) -> Watcher:
    from deployer.engines.local.watch import Scope, Watcher

    folder = str(prepared.request.folder.absolute())
    scope = Scope.of(folder, [*(file.path for file in prepared.app.source.files), ".env"])
    watcher = Watcher(scope, group.reload)
    watcher.start()
    return watcher
