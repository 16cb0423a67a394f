"""This machine as a place that runs apps: processes in an environment made from the lock, and no container."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.app.findings import Brought, brought_by, settle
from buildpack.app.read import App, read_app
from buildpack.dataclass import replace
from buildpack.errors import together
from buildpack.options import Options, OwnPython
from buildpack.stacks.find_python import usable_versions
from deployer.engines.engine import Listener, Request
from deployer.engines.ports import ports_of_web, read_port, require_free
from deployer.errors import engines as errors
from deployer.formation import choose_formation, left_out_text
from deployer.interrupts import dismiss_helper
from deployer.runner.command import CommandError, become, command_argv, exec_error, resolve_argv
from deployer.runner.defaults import app_environment
from deployer.settings.app_variables import Defaults, default_variables
from deployer.settings.environment import local_environment, parse_assignments, read_env_files, today

if TYPE_CHECKING:
    from typing import NoReturn

    from buildpack.oci.store import Store
    from buildpack.session import Session
    from deployer.engines.engine import Candidate
    from deployer.engines.local.ground import LocalGround
    from deployer.engines.local.trial import LocalTrial
    from deployer.runner.formation import Process

_SHARED_MEMORY = " --worker-tmp-dir /dev/shm"


class LocalEngine:
    """Processes of this machine; see `deployer.engines.engine.Engine` for its methods."""

    name = "local"

    def __init__(self, *, why: str) -> None:
        self.why = why

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def require(self, options: Sequence[str]) -> None:
        """Raise EngineError if there are any: they need a container engine."""
        if options:
            raise errors.local_cannot(options, self.why)

    def offer(
        self, request: Request, *, store: Callable[[], Store], environ: Mapping[str, str], listener: Listener
    ) -> FolderApp:
        """Read the app, make its virtual environment, and check that everything to be started can be.

        `store` is called only if the environment comes from it. Raises BuildpackError.
        """
        if request.reference is not None:
            raise errors.reference_given(request.reference)
        app = read_app(
            request.folder,
            Options(categories=request.options.categories),
            environ=environ,
            today=today(),
            own_python=OwnPython().version,
            installed=lambda: usable_versions(environ=environ, own=sys.executable, store=store()),
        )
        counts = _choose(request, app, listener)
        for text in app.warnings:
            listener.warn(text)
        # A name alone is a variable of this shell, which processes get anyway.
        given = parse_assignments(one for one in request.assignments if one not in environ)
        defaults, files = _read_variables(request, given, environ, listener)
        venv = _virtual_environment(request, app, store=store, environ=environ, listener=listener)
        _settle(app, venv, listener)
        folder = request.folder.absolute()
        env = local_environment(
            given=given,
            environ=environ,
            files=[defaults.values, *files],
            port=request.port,
            default_port=request.default_port,
            folder=folder,
            venv=venv,
        )
        served = app.app_object.target if app.app_object else None
        env = defaults.below(app_environment(env, served, app=str(folder)))
        processes = [] if request.command else _processes(request, app, counts, env, venv)
        _require_startable(processes)
        return FolderApp(request, app, env, processes)

    def check_tests(self, app: App, session: Session) -> bool:
        """Check the develop packages against this machine's Python, and return False."""
        from deployer.engines.local.trial import check_test_packages

        check_test_packages(app, session)
        return False

    def trial(self, candidate: Candidate) -> LocalTrial:
        """Return a trial in virtual environments."""
        from deployer.engines.local.trial import LocalTrial

        return LocalTrial(candidate, why=self.why)


class FolderApp:
    """An app in a folder of this machine, with its environment made."""

    def __init__(
        self, request: Request, app: App, environment: Mapping[str, str], processes: Sequence[Process]
    ) -> None:
        self._request, self._app, self.environment, self._processes = request, app, environment, processes
        self.source = app.source

    def ground(self) -> LocalGround:
        """Return a process for each place of the formation."""
        from deployer.engines.local.ground import LocalGround, with_runtime_folder
        from deployer.engines.local.watch import Scope

        request = self._request
        folder = str(request.folder.absolute())
        reloaded = [one.name for one in self._processes if not (request.dev and one.type == "web")]
        made: list[str] = []
        return LocalGround(
            [with_runtime_folder(process, made) for process in self._processes],
            temporary=made,
            reloaded=reloaded if request.reload else (),
            scope=Scope.of(folder, [*(file.path for file in self.source.files), ".env"]) if request.reload else None,
        )

    def attach(self) -> NoReturn:
        """Turn this process into the command, which has the terminal, the signals and the exit code to itself."""
        folder = self._request.folder
        argv, env = list(self._request.command), {**self.environment, "PS": "run.1", "DYNO": "run.1"}
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
                "the command", " ".join(argv), str(error), code=error.code, process=False
            ) from error


def _settle(app: App, venv: Path, listener: Listener) -> None:
    """Check for the modules that the environment has to bring; whether a program is there, starting it will tell."""
    doubts = [doubt for doubt in app.doubts if doubt.kind == "module"]
    problems, notices = settle(doubts, _installed(venv)) if doubts else ([], [])
    for notice in notices:
        listener.warn(str(notice))
    if problems:
        raise together(problems)


def _installed(venv: Path) -> Brought | None:
    """Return what the environment brings; None if some of it is elsewhere."""
    paths = [str(path) for path in venv.glob("lib/python*/site-packages/*")]
    if any(path.endswith(".pth") and not path.endswith("/distutils-precedence.pth") for path in paths):
        return None
    return brought_by(paths, scripts=str(venv / "bin"))


def _choose(request: Request, app: App, listener: Listener) -> dict[str, int]:
    """Return how many processes of each type to start, and say which types are left out."""
    if request.command:
        return {}
    names = [process.name for process in app.processes]
    counts = choose_formation(request.named, processes=names, formation=app.formation, where=request.shown)
    if request.dev and "web" not in counts:
        raise errors.dev_without_web()
    if not request.named and (left := left_out_text(names, counts, request.again)):
        listener.say(left)
    return counts


def _virtual_environment(
    request: Request,
    app: App,
    *,
    store: Callable[[], Store],
    environ: Mapping[str, str],
    listener: Listener,
) -> Path:
    asked = app.python
    if request.venv is not None:
        from deployer.engines.local.virtualenv import find_virtual_environment, python_version

        venv = find_virtual_environment(request.venv, folder=request.folder, environ=environ)
        found = python_version(venv)
        if asked and found and not f"{found}.".startswith(f"{asked.version}."):
            listener.warn(errors.another_python(venv, found, asked.version, asked.origin))
        return venv
    from buildpack.session import open_session
    from buildpack.steps.environments import Wanted, make_environment

    begin = time.monotonic()
    opened = store()
    opened.lease.survive_exec()  # the environment is in the store for as long as the processes run
    made = make_environment(Wanted.by(app, environ), open_session(opened, environ, observer=listener.progress))
    for text in made.warnings:
        listener.warn(text)
    if made.made:
        seconds = time.monotonic() - begin
        listener.say(f"Made a virtual environment from Pipfile.lock, on Python {made.python}, in {seconds:.1f} s")
    return made.folder


def _read_variables(
    request: Request, given: Mapping[str, str], environ: Mapping[str, str], listener: Listener
) -> tuple[Defaults, Sequence[Mapping[str, str]]]:
    """Read app.json's env, and .env with the files of the command line; raises AppError for what app.json requires."""
    files = read_env_files(request.env_files, app=request.folder.absolute(), own=True, environ=environ)
    named = {name for values in (*files, environ, given) for name in values if values[name]}
    defaults = default_variables(request.folder, given=named, environ=environ)
    defaults.tell(say=listener.say, warn=listener.warn, insist=not request.command)
    return defaults, files


def _processes(
    request: Request, app: App, counts: Mapping[str, int], env: Mapping[str, str], venv: Path
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

    python = f"{venv}/bin/python"
    webs = {one.name: one.env["PORT"] for one in processes if one.type == "web"}
    develop = {name: development_command(app, python=python, port=port) for name, port in webs.items()}
    return [replace(one, command=develop.get(one.name, one.command)) for one in processes]


def _require_startable(processes: Sequence[Process]) -> None:
    """Check that every command can be started, before any is started."""
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


def development_command(app: App, *, python: str, port: str) -> list[str]:
    """Return the server with reloader and debugger that fits the app, on 127.0.0.1 alone.

    Raises AppError if no app object was found, or no server for it is locked.
    """
    locked = {package.name for package in (*app.lock.packages, *app.lock.develop)}
    if "django" in locked and os.path.isfile(app.folder / "manage.py"):
        return [python, "manage.py", "runserver", f"127.0.0.1:{port}"]
    served = app.app_object
    if served is None:
        raise errors.dev_without_app()
    address = ["--host", "127.0.0.1", "--port", port]
    if served.interface == "asgi":
        if "uvicorn" not in locked:
            raise errors.dev_without_server(served.target, served.interface)
        factory = ["--factory"] if served.target.endswith("()") else []
        search = ["--app-dir", served.search] if served.search else []
        target = served.target.removesuffix("()")
        return [python, "-m", "uvicorn", target, *factory, *search, "--reload", *address]
    if "flask" not in locked:
        raise errors.dev_without_server(served.target, served.interface)
    return [python, "-m", "flask", "--app", f"{_prefix(served.search)}{served.target}", "run", "--debug", *address]


def _prefix(search: str) -> str:
    # A path before the module's name is where Flask imports it from.
    return f"{search}/" if search else ""
