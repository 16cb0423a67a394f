"""Try an image out without an engine: its app layer unpacked, and its wheels in virtual environments.

The tests get the lock's develop packages, the boot does not, as in an engine: an app that needs one of them to run
must not come up here either. Both are the app's code, so root runs them as another user, as hooks.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from buildpack.app.app_json import Script
from buildpack.app.lockfile import Lock
from buildpack.app.read import App
from buildpack.dataclass import replace
from buildpack.errors.build import ran_as_root
from buildpack.oci.compression import gunzip
from buildpack.oci.image import LAYER_TAR
from buildpack.pipeline import BuiltImage
from buildpack.plan import APP_ROOT
from buildpack.python.build_settings import read_settings
from buildpack.session import Session
from buildpack.steps.local import Wanted, check_environment, make_environment
from buildpack.steps.test_image import held_back
from buildpack.system.guard import outliving_nobody
from buildpack.system.processes import User, adopt_orphans, end_strays, hide_process
from buildpack.system.unprivileged import choose_user, give, reachable_path, workplace
from deployer.ci.collecting import Collect, collect_local
from deployer.ci.console import Console
from deployer.ci.layers import Layers
from deployer.ci.trial import Booted, Health, clean_environment, shell_command
from deployer.ci.unpacking import lay_over, limit_of, unpack_app
from deployer.engines.foreground import Boot
from deployer.engines.local.group import LocalGroup
from deployer.engines.ports import free_port, read_port
from deployer.interrupts import keep_for_later, raise_dropped
from deployer.readiness.health import Outcome
from deployer.runner.command import CommandError, command_argv, resolve_argv, with_profile
from deployer.runner.defaults import app_environment, behind_router, own_flask_app, runtime_folder
from deployer.runner.defaults import temporary_folder as writable_folder
from deployer.runner.formation import Process, expand
from deployer.runner.supervisor import Settings
from deployer.settings.environment import local_environment

_STOP_SECONDS = 5.0
_DRAIN_SECONDS = 1.0
_START = """
import os, sys
root, uid, gid, file, *argv = sys.argv[1:]
sys.path.insert(0, root)
from deployer.runner.command import become, exec_error
if uid:
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
    os.umask(0o022)
env = {name: value for name, value in os.environ.items() if name[0] != "_" and name != "LC_CTYPE"}
try:
    become(file, argv, env | {name[1:]: value for name, value in os.environ.items() if name[0] == "_"})
except OSError as failure:
    error = exec_error(failure, argv)
    print(f"error: {error}", file=sys.stderr)
    os._exit(error.code)
"""
"""Becomes a user, and then the program as the image starts it. The app's variables have ``_`` before their names: the
loader obeys some of them (LD_PRELOAD), and until here it loads for root. LC_CTYPE is Python's own (PEP 538)."""
_ROOT = Path(__file__).parents[2]
"""Where `deployer` is imported from."""
_PIPE = 1 << 20
"""Bytes that a pipe holds at most, unless its writer is privileged (pipe(7), F_SETPIPE_SZ)."""


def check_test_packages(app: App, session: Session) -> None:
    """Check that the packages that only tests need can be installed here; raises BuildpackError before a build."""
    if sys.platform == "linux":
        check_environment(_wanted(app, app.lock, choose_user(), session.environ), session)


def _wanted(app: App, lock: Lock, user: User | None, environ: Mapping[str, str]) -> Wanted:
    return Wanted(
        lock=lock,
        app=app.folder,
        python=app.python.version if app.python else None,
        insist=app.python is not None and not app.python.origin.startswith("the default"),
        settings=read_settings(app, environ),
        user=user,
    )


class LocalTrial:
    """This machine as the place to try an image out; a context manager that leaves nothing behind."""

    def __init__(self, built: BuiltImage, session: Session, *, layers: Layers, console: Console) -> None:
        self._built, self._session, self._layers, self._console = built, session, layers, console
        self._exits = ExitStack()
        self._scratch = Path()
        self._python = ""
        self._user = choose_user()

    @property
    def where(self) -> str:
        """What it is called, once something ran there."""
        return f"a virtual environment on this machine, with Python {self._python}"

    def __enter__(self) -> Self:
        hide_process()
        self._scratch = self._exits.enter_context(workplace(self._session.store.folder("trials"), self._user))
        if os.geteuid() == 0 and self._user is None:
            self._console.say(f"warning: {ran_as_root('the app')}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def test(self, script: Script, collect: Sequence[Collect] = ()) -> int:
        """Run the tests as a process, in the app's files as they are in the image."""
        folder = self._unpack("test")
        for file in held_back(self._built.app, self._session.environ):
            lay_over(self._built.app.source.disk(file), file.path, folder)
        give(self._scratch / "test", self._user)
        environment = self._environment(folder, script.environment, develop=True)
        command = with_profile(list(shell_command(script)), str(folder), environment["PATH"])
        with _runtime(environment, self._user) as made:
            code = self._run(command, cwd=folder, env={**environment, **made})
        for each in collect:
            collect_local(each, folder, user=self._user, tell=self._console.say)
        return code

    def release(self, environment: Mapping[str, str]) -> int:
        """Run the release process, in the app's files as they are in the image."""
        folder = self._unpack("release")
        give(self._scratch / "release", self._user)
        command = next(process.command for process in self._built.app.processes if process.name == "release")
        env = self._environment(folder, environment, develop=False)
        env = dict(own_flask_app(env, command, app_object=self._app_object, app=str(folder)))
        env |= {"PS": "release.1", "DYNO": "release.1"}
        with _runtime(env, self._user) as made:
            argv = with_profile(command_argv(command, env["PATH"]), str(folder), env["PATH"])
            return self._run(argv, cwd=folder, env={**env, **made})

    def boot(self, health: Health) -> Booted:
        """Start web as a process, and ask it."""
        folder = self._unpack("boot")
        give(self._scratch / "boot", self._user)
        environment = self._environment(folder, health.environment, develop=False)
        port = read_port(environment, 0)
        commands = {process.name: process.command for process in self._built.app.processes}
        with _runtime(environment, self._user) as made:
            processes = expand(
                {"web": commands["web"]},
                {"web": 1},
                port=port,
                env={**environment, **made},
                cwd=str(folder),
                app_object=self._app_object,
                app=str(folder),
            )
            processes = [self._as_in_the_image(process, folder) for process in processes]
            booted: list[Booted] = []
            code = self._run_until_ready(processes, health, environment, booted)
        raise_dropped()
        if not booted:
            raise SystemExit(code)  # its output was lost
        return booted[0]

    def _run_until_ready(
        self, processes: Sequence[Process], health: Health, environ: Mapping[str, str], booted: list[Booted]
    ) -> int:
        """Run web until it has answered; then it has done what it is for."""
        settings = Settings(stop_timeout=_STOP_SECONDS)
        boot = Boot(seconds=health.seconds, path=health.path, host=health.host, strict=health.strict)

        def on_ready(outcome: Outcome) -> None:
            assert outcome.status is not None
            booted.append(Booted(status=outcome.status, seconds=outcome.seconds, reason=outcome.reason))
            group.supervisor.stop()

        group = LocalGroup(processes, settings, boot, out=self._console.output, environ=environ, on_ready=on_ready)
        # The loop stops web, but a signal after its last look at them must count, too: `boot` raises it.
        return group.run(keep_for_later)

    def _as_in_the_image(self, process: Process, folder: Path) -> Process:
        """Start a process as the image's launcher does, and as the user; a missing command is for the runner."""
        path = process.env.get("PATH", os.defpath)
        argv = with_profile(command_argv(str(process.command), path), str(folder), path)
        process = replace(process, command=argv)
        if self._user is None:
            return process
        try:
            file = resolve_argv(argv, path, process.cwd or "")
        except CommandError:
            return process
        command, env = self._start(file, argv, process.env)
        # The runner reads the port.
        return replace(process, command=command, env={**env, "PORT": process.env["PORT"]})

    def _start(self, file: str, argv: Sequence[str], env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
        """Return a command that becomes the user and then a program, and its environment."""
        user = [str(self._user.uid), str(self._user.gid)] if self._user else ["", ""]
        python = [sys.executable, "-I", "-S", "-B", "-c", _START, str(_ROOT)]
        return [*python, *user, file, *argv], {f"_{name}": value for name, value in env.items()}

    def _unpack(self, purpose: str) -> Path:
        """Lay out the app's layer as the image has it; the folder of the app."""
        layer = next(made.layer for made, _ in self._built.layers if made.planned.kind == "app")
        root = self._scratch / purpose

        def unpack() -> None:
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            self._layers.fetch([layer])
            with self._layers.open(layer.digest) as blob:
                pieces = iter(partial(blob.read, 1 << 20), b"") if layer.media_type == LAYER_TAR else gunzip(blob)
                unpack_app(pieces, root, limit=limit_of(layer.size))

        self._layers.whole(unpack)
        return root / APP_ROOT

    def _environment(self, folder: Path, given: Mapping[str, str], *, develop: bool) -> dict[str, str]:
        app = self._built.app
        lock = app.lock if develop else replace(app.lock, develop=())
        wanted = _wanted(app, lock, self._user, self._session.environ)
        made = make_environment(wanted, self._session)
        self._python = made.python
        for text in made.warnings:
            if text not in self._built.warnings:
                self._console.say(f"warning: {text}")
        clean = clean_environment(self._session.environ)
        env = local_environment(
            given={"CI": "true", **given},
            environ={**clean, "PATH": reachable_path(clean["PATH"], self._user)},
            files=[],
            port=None,
            default_port=free_port(),
            folder=folder,
            venv=made.folder,
        )
        env |= {"HOME": str(folder), **(self._own_temporary() or writable_folder(env))}
        env = app_environment(env, self._app_object, app=str(folder))
        return env | behind_router(env, str(folder), commands=[process.command for process in app.processes])

    @property
    def _app_object(self) -> str | None:
        served = self._built.app.app_object
        return served.target if served else None

    def _own_temporary(self) -> dict[str, str]:
        """Make the user's own TMPDIR; nothing if this is an ordinary user, who has one."""
        if self._user is None:
            return {}
        folder = self._scratch / "tmp"
        if not folder.exists():  # else the app's code ran already, and may have put there a link to a file of root
            folder.mkdir(mode=0o700)
            give(folder, self._user)
        return {"TMPDIR": str(folder)}

    def _run(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
        """Run a command, hand on what it prints, and end whatever it started with it."""
        try:
            file = resolve_argv(list(command), env["PATH"], str(cwd))
        except CommandError as error:
            self._console.say(f"error: {error}")
            return error.code
        started, environment = self._start(file, command, env)
        adopt_orphans(self._user)
        with outliving_nobody() as watch:
            process = subprocess.Popen(
                started,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            watch(process.pid)
            assert process.stdout is not None
            try:
                with process.stdout as output:
                    self._pass_on(output.fileno(), process)
                code = process.wait()
            finally:
                _end_group(process.pid)
                process.wait()
                end_strays(self._user)
        return code if code >= 0 else 128 - code

    def _pass_on(self, output: int, process: subprocess.Popen[bytes]) -> None:
        """Hand on what comes until the end, for which nothing that the command left running is waited for.

        What left its group can hold the pipe open, and write to it for ever: what the command itself wrote is no more
        than a pipe holds by then.
        """
        drained_at: float | None = None
        left = _PIPE
        while drained_at is None or time.monotonic() < drained_at or left > 0:
            ready = bool(select.select([output], [], [], 0.1)[0])
            if ready:
                chunk = os.read(output, 1 << 16)
                if not chunk:
                    return
                self._console.write(chunk)
            if drained_at is None and process.poll() is not None:
                _end_group(process.pid)
                drained_at = time.monotonic() + _DRAIN_SECONDS
            elif drained_at is not None:
                left -= len(chunk) if ready else _PIPE


def _end_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


@contextlib.contextmanager
def _runtime(environment: Mapping[str, str], user: User | None) -> Iterator[Mapping[str, str]]:
    """Make what only one process may use; it is removed afterwards."""
    made = runtime_folder(environment)
    for path in made.values():
        give(Path(path), user)
    try:
        yield made
    finally:
        for path in made.values():
            shutil.rmtree(path, ignore_errors=True)
