"""Try an image out without an engine: its app layer unpacked, and its wheels in virtual environments.

The tests get the lock's develop packages, the boot does not, as in an engine: an app that needs one of them to run
must not come up here either. Both are the app's code, so root runs them as another user, as hooks.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from buildpack.app.read import App
from buildpack.dataclass import replace
from buildpack.errors.build import ran_as_root
from buildpack.oci.compression import gunzip
from buildpack.oci.image import LAYER_TAR
from buildpack.plan import APP_ROOT
from buildpack.session import Session
from buildpack.steps.environments import Wanted, check_environment, make_environment
from buildpack.steps.test_image import held_back
from buildpack.system.processes import User, acting_as, hide_process
from buildpack.system.unprivileged import choose_user, give, reachable_path, workplace
from deployer.engines.engine import LARGEST_READ, Candidate, Job, Service, TooLargeError
from deployer.engines.foreground import run_quietly
from deployer.engines.local.ground import LocalGround, with_runtime_folder
from deployer.engines.local.unpacking import lay_over, limit_of, unpack_app
from deployer.engines.ports import free_port, read_port
from deployer.errors.ci import services_not_started
from deployer.runner.command import CommandError, command_argv, resolve_argv, with_profile
from deployer.runner.defaults import app_environment, behind_router, own_flask_app
from deployer.runner.defaults import temporary_folder as writable_folder
from deployer.runner.formation import Process, expand
from deployer.settings.environment import local_environment

_PASSED_ON = ("TZ", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PATH = "/usr/local/bin:/usr/bin:/bin"
_START = """
import os, sys
root, uid, gid, file, *argv = sys.argv[1:]
sys.path.insert(0, root)
from deployer.runner.command import become, exec_error
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
_ROOT = Path(__file__).parents[3]
"""The folder from which `deployer` is imported."""


def check_test_packages(app: App, session: Session) -> None:
    """Check that the packages that only tests need can be installed here; raises BuildpackError before a build."""
    if sys.platform == "linux":
        check_environment(Wanted.by(app, session.environ, user=choose_user()), session)


class LocalTrial:
    """This machine as the place to try an image out; a context manager that leaves nothing behind."""

    def __init__(self, candidate: Candidate, *, why: str) -> None:
        self._candidate, self._why = candidate, why
        self._app, self._session = candidate.built.app, candidate.session
        self._commands = {process.name: process.command for process in self._app.processes}
        self._exits = ExitStack()
        self._scratch = Path()
        self._python = ""
        self._user = choose_user()

    @property
    def where(self) -> str:
        """The place, once something ran there."""
        return f"a virtual environment on this machine, with Python {self._python}"

    def __enter__(self) -> Self:
        hide_process()
        say = self._candidate.say
        say("tried out: the app's layer and the same wheels on this machine's Python, not the image")
        self._scratch = self._exits.enter_context(workplace(self._session.store.folder("trials"), self._user))
        if os.geteuid() == 0 and self._user is None:
            say(f"warning: {ran_as_root('the app')}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def start(self, services: Sequence[Service], *, seconds: float) -> Mapping[str, str]:
        """Warn that services need a container engine, and start none."""
        if services:
            self._candidate.warn(services_not_started([each.addon for each in services], self._why))
        return {}

    def run(self, job: Job) -> int:
        """Run a process in the app's files as they are in the image."""
        folder = self._unpack("test" if job.develop else "release", develop=job.develop)
        env = self._environment(folder, job.environment, develop=job.develop)
        text = self._commands.get(job.command[0]) if len(job.command) == 1 else None
        if text is not None:  # a process type, as the image's launcher takes it
            env = dict(own_flask_app(env, text, app_object=self._app_object, app=str(folder)))
        one = Process(name=job.process, command=list(job.command) if text is None else text, env=env, cwd=str(folder))
        made: list[str] = []
        try:
            resolve_argv(self._argv(one), env["PATH"], str(folder))
        except CommandError as error:
            self._candidate.say(f"error: {error}")
            return error.code
        ground = LocalGround([self._as_in_the_image(one, made)], temporary=made, quiet=True)
        code = run_quietly(ground, write=self._candidate.write)
        job.read(lambda path: read_folder(folder, path, user=self._user))
        return code

    def web(self, environment: Mapping[str, str]) -> LocalGround:
        """Return a process for web, in the app's files as they are in the image."""
        folder = self._unpack("boot")
        env = self._environment(folder, environment, develop=False)
        processes = expand(
            {"web": self._commands["web"]},
            {"web": 1},
            port=read_port(env, 0),
            env=env,
            cwd=str(folder),
            app_object=self._app_object,
            app=str(folder),
        )
        made: list[str] = []
        return LocalGround([self._as_in_the_image(process, made) for process in processes], temporary=made)

    def _argv(self, process: Process) -> list[str]:
        path, command = process.env.get("PATH", os.defpath), process.command
        argv = command_argv(command, path) if isinstance(command, str) else list(command)
        return with_profile(argv, process.cwd or "", path)

    def _as_in_the_image(self, process: Process, made: list[str]) -> Process:
        """Start a process as the image's launcher does, and as the user. The runner reports a missing command."""
        process = with_runtime_folder(process, made, self._user)
        process = replace(process, command=self._argv(process))
        if self._user is None:
            return process
        try:
            file = resolve_argv(list(process.command), process.env.get("PATH", os.defpath), process.cwd or "")
        except CommandError:
            return process
        start = [sys.executable, "-I", "-S", "-B", "-c", _START, str(_ROOT), str(self._user.uid), str(self._user.gid)]
        env = {f"_{name}": value for name, value in process.env.items()}
        # The runner reads the port.
        port = {name: value for name, value in process.env.items() if name == "PORT"}
        return replace(process, command=[*start, file, *process.command], env={**env, **port})

    def _unpack(self, purpose: str, *, develop: bool = False) -> Path:
        """Lay out the app's layer as the image has it, with `develop` also what only tests need; return the folder."""
        layers = self._candidate.layers
        layer = next(made.layer for made, _ in self._candidate.built.layers if made.planned.kind == "app")
        root = self._scratch / purpose

        def unpack() -> None:
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            layers.fetch([layer])
            with layers.open(layer.digest) as blob:
                pieces = iter(partial(blob.read, 1 << 20), b"") if layer.media_type == LAYER_TAR else gunzip(blob)
                unpack_app(pieces, root, limit=limit_of(layer.size))

        layers.whole(unpack)
        folder = root / APP_ROOT
        if develop:
            for file in held_back(self._app, self._session.environ):
                lay_over(self._app.source.folder / file.path, file.path, folder)
        give(root, self._user)
        return folder

    def _environment(self, folder: Path, given: Mapping[str, str], *, develop: bool) -> dict[str, str]:
        app = self._app
        wanted = Wanted.by(app, self._session.environ, develop=develop, user=self._user)
        made = make_environment(wanted, self._session)
        self._python = made.python
        for text in made.warnings:
            if text not in self._candidate.built.warnings:
                self._candidate.say(f"warning: {text}")
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
        served = self._app.app_object
        return served.target if served else None

    def _own_temporary(self) -> dict[str, str]:
        """Make the user's own TMPDIR; nothing if this is an ordinary user, who has one."""
        if self._user is None:
            return {}
        folder = self._scratch / "tmp"
        if (
            not folder.exists()
        ):  # if it exists, the app's code ran already, and may have put a link to a file of root there
            folder.mkdir(mode=0o700)
            give(folder, self._user)
        return {"TMPDIR": str(folder)}


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of a pipeline's environment that processes on its machine need.

    The rest holds the pipeline's tokens, and is none of the app's business. A container gets none of it either.
    """
    kept = {name: environ[name] for name in _PASSED_ON if name in environ}
    return {"LANG": "C.UTF-8", **kept, "PATH": environ.get("PATH") or _PATH}


def read_folder(folder: Path, path: str, *, user: User | None) -> Iterator[bytes] | None:
    """Read a file or folder below `folder` as the pieces of a tar, as `user`; None if it is missing.

    Links and devices are left out, since the app's own code wrote them. Raises TooLargeError.
    """
    place, size = folder / path, 0

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        nonlocal size
        if not (member.isreg() or member.isdir()):
            return None
        size += member.size
        if size > LARGEST_READ:
            raise TooLargeError
        return member

    archive = tempfile.TemporaryFile()  # noqa: SIM115  it is read after this returns
    try:
        with acting_as(user), tarfile.open(fileobj=archive, mode="w") as tar:
            if not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder)):
                raise FileNotFoundError
            tar.add(place, arcname=place.name, filter=plain)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        archive.close()
        return None
    except TooLargeError:
        archive.close()
        raise
    return _pieces(archive)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        yield from iter(partial(file.read, 1 << 20), b"")
