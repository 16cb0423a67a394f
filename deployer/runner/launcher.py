"""An image's entry point: start a process type, several of them, or any command in the app's environment.

A container with one process imports neither honcho nor json, re or typing: imports here are counted
in tenths of milliseconds.
"""

from __future__ import annotations

import os
import sys

try:
    import _signal as signal  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # not CPython
    import signal

from deployer.runner.bounded import parse_integer, parse_port
from deployer.runner.command import CommandError, become, command_argv, exec_error, resolve_argv, with_profile
from deployer.runner.defaults import app_environment, behind_router, own_flask_app, runtime_folder, temporary_folder
from deployer.runner.init import run_as_init

TYPE_CHECKING = False  # of `typing`, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SCHEMA = 1
"""The version of launch.json that this launcher reads."""

USAGE = 2
MACHINE = 70

_LONGEST_STOP = 86400
_MOST = 1000
"""The most processes of one type."""

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class _RefusedError(Exception):
    def __init__(self, message: str, hint: str = "", code: int = USAGE) -> None:
        super().__init__(message)
        self.message, self.hint, self.code = message, hint, code


def main(
    arguments: list[str],
    *,
    folder: str = "",
    app: str = "/app",
    environ: Mapping[str, str] | None = None,
    init: bool | None = None,
) -> int:
    """Start the processes that the container's arguments name; return an exit code, or become the process.

    No argument means the default process type, ``worker`` that one, ``web=2 worker=1`` several under
    the supervisor; anything else is a command. `folder` holds launch.json, by default the one that
    contains this package; `app` is the app's. With `init` this stays as the process's parent, which is
    the default for PID 1.
    """
    # Three folders up: /opt/deploy/deployer/runner/launcher.py.
    folder = folder or __file__.rsplit("/", 3)[0]
    environ = os.environ if environ is None else environ
    init = os.getpid() == 1 if init is None else init
    try:
        launch = _read_launch(f"{folder}/launch.json")
        processes: dict[str, str] = launch["processes"]
        env = app_environment(environ, launch["app_object"], app=app)
        env.update(behind_router(env, app, commands=[*processes.values(), " ".join(arguments)]))
        env.update(temporary_folder(env))
        formation = _parse_formation(arguments, processes)
        if formation is not None and sum(formation.values()) > 1:
            return _supervise(processes, formation, env, app=app, app_object=launch["app_object"])
        if formation is not None:
            arguments = [name for name, count in formation.items() if count]
        elif not arguments:
            arguments = [_default(launch)]
        known = len(arguments) == 1 and arguments[0] in processes
        if known:
            command = processes[arguments[0]]
            env = dict(own_flask_app(env, command, app_object=launch["app_object"], app=app))
        name = _name(arguments[0], env) if known else "run.1"
        argv = command_argv(processes[arguments[0]], env.get("PATH", os.defpath)) if known else arguments
        argv = with_profile(argv, app, env.get("PATH", os.defpath))
        env = {**env, **runtime_folder(env), "PS": name, "DYNO": name}
        return _start(argv, env, init=init, interactive=not known)
    except _RefusedError as refusal:
        return _complain(refusal.message, refusal.hint, refusal.code)
    except CommandError as error:
        hint = "" if name != "run.1" else f"{_known(processes)}; anything else is run as a command."
        return _complain(str(error), hint, error.code)


def _start(argv: list[str], env: dict[str, str], *, init: bool, interactive: bool) -> int:
    file = resolve_argv(argv, env.get("PATH", os.defpath))
    try:
        if init:
            timeout = _stop_timeout(env)
            return run_as_init(argv, file, env, interactive=interactive, stop_timeout=timeout)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would hand that on
        become(file, argv, env)
    except OSError as error:
        raise exec_error(error, argv) from error


def _supervise(
    processes: dict[str, str], formation: dict[str, int], env: dict[str, str], *, app: str, app_object: str | None
) -> int:
    """Run several processes under the supervisor, each with a runtime folder of its own."""
    from dataclasses import replace

    from deployer.runner.formation import expand, occupied_ports
    from deployer.runner.printer import FORMATS
    from deployer.runner.processes import Processes
    from deployer.runner.restart import POLICIES
    from deployer.runner.supervisor import Settings, Supervisor

    port = parse_port(env["PORT"])
    if port is None:
        raise _RefusedError(f"PORT is {env['PORT'][:40]!r}, which is not the number of a port")
    started = expand(processes, formation, port=port, env=env, app_object=app_object, app=app)
    for port in occupied_ports(started):
        raise _RefusedError(f"port {port} is taken", "set PORT to another one.", MACHINE)
    if sys.stdout is None:
        raise _RefusedError("standard output is closed", code=MACHINE)
    path = env.get("PATH", os.defpath)
    apart = [
        replace(
            process,
            command=with_profile(command_argv(str(process.command), path), app, path),
            env={**process.env, **runtime_folder(process.env)},
        )
        for process in started
    ]
    settings = Settings(
        log_format=_choice(env, "DEPLOY_LOG_FORMAT", FORMATS),
        restart=_choice(env, "DEPLOY_RESTART", POLICIES),
        stop_timeout=_stop_timeout(env),
    )
    return Supervisor(Processes(apart), settings, out=sys.stdout.buffer, environ=env).run()


def _parse_formation(arguments: list[str], processes: dict[str, str]) -> dict[str, int] | None:
    """Read ``web=2 worker``; None if the arguments are not a formation. Raises _RefusedError for an unknown type."""
    named = [argument.partition("=")[0] for argument in arguments]
    counted = bool(arguments) and "=" in arguments[0] and _NAME.issuperset(named[0])
    several = len(arguments) > 1 and all(name in processes for name in named)
    if not counted and not several:
        return None
    formation: dict[str, int] = {}
    for argument, name in zip(arguments, named):  # noqa: B905 - one comes from the other
        if name not in processes:
            raise _RefusedError(f"there is no process type {name!r} in this image", f"{_known(processes)}.")
        _, equals, count = argument.partition("=")
        number = parse_integer(count, least=0, most=_MOST) if equals else 1
        if number is None:
            raise _RefusedError(
                f"{name}={count[:40]}: {count[:40]!r} is not a number of processes up to {_MOST}",
                f"for example {name}=2.",
            )
        formation[name] = number
    if not any(formation.values()):
        raise _RefusedError(f"{' '.join(arguments)} starts nothing", f"{_known(processes)}.")
    return formation


def _default(launch: dict[str, Any]) -> str:
    if launch["default"] is None:
        hint = f"{_known(launch['processes'])}: name one."
        raise _RefusedError("this image has no default process type", hint)
    return str(launch["default"])


def _known(processes: dict[str, str]) -> str:
    return (
        f"this image has the process types {', '.join(processes)}" if processes else "this image has no process types"
    )


def _choice(env: dict[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = env.get(name) or allowed[0]
    if value not in allowed:
        raise _RefusedError(f"{name} is {value!r}", f"it may be {', '.join(allowed)}.")
    return value


def _stop_timeout(env: dict[str, str]) -> float:
    text = env.get("DEPLOY_STOP_TIMEOUT") or "25"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_STOP:  # nor nan, which compares with nothing
        raise _RefusedError(f"DEPLOY_STOP_TIMEOUT is {text[:40]!r}", "it is a number of seconds, a day's at most.")
    return seconds


def _name(process_type: str, environ: Mapping[str, str]) -> str:
    """Return the process's name: ``web.2`` if DYNO says so, else ``web.1``."""
    named, _, number = environ.get("DYNO", "").rpartition(".")
    return f"{process_type}.{number if named == process_type and parse_integer(number, least=1, most=_MOST) else 1}"


def _read_launch(file: str) -> dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as text:  # noqa: PTH123
            launch = _parse_json(text.read().strip())
    except (OSError, ValueError, StopIteration) as error:
        raise _RefusedError(f"{file} cannot be read: {error}", code=1) from error
    if launch.get("schema") != SCHEMA:
        raise _RefusedError(f"{file} has schema {launch.get('schema')!r}, and this launcher reads {SCHEMA}", code=1)
    return launch


class _Plain:
    """The attributes of a decoder that the json module's scanner reads."""

    strict, memo = True, None
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, float


def _parse_json(text: str) -> dict[str, Any]:
    """Read JSON with the scanner in C alone: `import json` takes 3 to 5 ms, mostly for `re`."""
    try:
        from _json import make_scanner
    except ImportError:
        import json

        return json.loads(text)  # type: ignore[no-any-return]
    scan: Any = make_scanner
    value: dict[str, Any] = scan(_Plain())(text, 0)[0]
    return value


def _complain(message: str, hint: str, code: int) -> int:
    if sys.stderr is not None:
        sys.stderr.write(f"error: {message}\n" + (f"\nhint: {hint}\n" if hint else ""))
    return code
