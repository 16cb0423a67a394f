"""Run an app's hooks on a copy of its files when the app's layer is written.

Nothing runs if an earlier build made that layer: its key follows from everything that the hooks get.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from buildpack.app.hook_programs import Step
from buildpack.app.textfile import read_text
from buildpack.bounded import open_regular
from buildpack.dataclass import dataclass, field
from buildpack.errors import hooks as errors
from buildpack.hooks.python import HookPython, make_python
from buildpack.hooks.tree import read_result, write_copy
from buildpack.oci.entry import Entry
from buildpack.progress import Progress
from buildpack.session import Session
from buildpack.steps.assembly import AppContent, WheelFetcher, app_entries
from buildpack.steps.install_target import Resolution
from buildpack.steps.planning import Material
from buildpack.steps.stack_compiler import StackCompiler
from buildpack.system.guard import Guard
from buildpack.system.processes import Outcome, ProcessGroup, User, acting_as
from buildpack.system.unprivileged import choose_user, give, reachable_folder, reachable_path, workplace

_READ_BEFORE = frozenset({"Procfile", "Pipfile", "Pipfile.lock", ".python-version", "runtime.txt", "app.json"})
_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECRET = 6
"""Values with this many characters or more are not shown. Shorter ones are switches, and parts of other words."""
_NLTK = """\
import sys, nltk
# A list, so that NLTK tries each. HOME in the image is the app's folder, where NLTK looks for its data.
sys.exit(not all([nltk.download(name, download_dir="nltk_data") for name in sys.argv[1:]]))
"""
_GRACE = 0.5
"""Seconds that a hook has to end after SIGTERM, and again after SIGKILL."""


@dataclass(kw_only=True, slots=True)
class Preparation:
    """Runs the app's hooks in `entries`; a context manager that ends them with the build, and removes their copy.

    `name` is the app's, and names the cache of its hooks.
    """

    name: str
    material: Material
    resolution: Resolution
    fetcher: WheelFetcher
    compiler: StackCompiler
    session: Session
    _running: ProcessGroup = field(default_factory=ProcessGroup)
    _busy: threading.Lock = field(default_factory=threading.Lock)
    _exits: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.stop()
        self._exits.close()

    def stop(self) -> None:
        """End the running hook, so that the thread in `entries` ends too."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._running.stop(number)
            if self._busy.acquire(timeout=_GRACE):
                self._busy.release()
                break

    def entries(self, layer_key: str) -> Iterator[Entry]:
        """Run the hooks, and return the entries of the app's layer.

        The store remembers their warnings under `layer_key`, as ``hooks``. Raises AppError if a hook fails.
        """
        with self._busy:
            content, warnings = self._run()
        self.session.store.remember("hooks", layer_key, list(warnings))
        return app_entries(content, self.material.launch, mtime=self.material.mtime)

    def _run(self) -> tuple[AppContent, Sequence[str]]:
        self._running.check()
        names = [step.name for step in self.material.hooks.steps]
        user = choose_user()
        guard = self._exits.enter_context(Guard())
        place = self._exits.enter_context(workplace(self.session.store.folder("tmp"), user))
        guard.remove(place)
        folders = {name: place / name for name in ("app", "home", "tmp", "env")}
        for folder in folders.values():
            folder.mkdir()
            folder.chmod(0o755)
        folders["env"].chmod(0o700)  # its path is on the hooks' command lines, which every user can see
        for name, value in self.material.hooks.variables.items():
            (folders["env"] / name).write_bytes(os.fsencode(value))
            (folders["env"] / name).chmod(0o600)  # so that the umask does not count
        for folder in folders.values():
            give(folder, user)
        folders["cache"] = self._cache(user)
        python = make_python(self.resolution, self.fetcher, self.compiler, self.session.store, step=names[0], user=user)
        write_copy(self.material.content, folders["app"], user)
        environment = self._environment(folders, python, user)
        for step in self.material.hooks.steps:
            self.session.observer(Progress(stage="hooks", done=0, item=step.name))
            self._step(step, folders, environment, python, user)
        with acting_as(user):
            result = read_result(folders["app"], self.material.content, steps=names, mtime=self.material.mtime)
        place.chmod(0o700)
        warnings = list(result.warnings)
        if os.geteuid() == 0 and user is None:
            warnings.append(errors.ran_as_root(names))
        if late := [path for path in result.changed if path in _READ_BEFORE]:
            warnings.append(errors.read_before(names, late))
        return result.content, warnings

    def _environment(self, folders: Mapping[str, Path], python: HookPython, user: User | None) -> dict[str, str]:
        """Make the environment of the hooks. Of this machine's environment it has only PATH."""
        path = reachable_path(self.session.environ.get("PATH") or _USUAL_PATH, user)
        app = str(folders["app"])
        return {
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": ":".join([app, *(f"{app}/{path}" for path in python.linked)]),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SOURCE_DATE_EPOCH": str(self.material.mtime),
            **self.material.hooks.variables,
            "BUILD_DIR": app,
            "HOME": str(folders["home"]),
            "TMPDIR": str(folders["tmp"]),
            "PATH": f"{python.folder}/bin:{path}",
            "VIRTUAL_ENV": str(python.folder),
            **python.env,
        }

    def _cache(self, user: User | None) -> Path:
        """Return the app's CACHE_DIR, which lasts from build to build. Its files decide no key."""
        name = hashlib.sha256(f"{self.session.store.root.absolute()}\0{self.name}".encode()).hexdigest()[:32]
        folder = reachable_folder(self.session.store.folder("hook-caches"), user) / name
        self.session.store.lease.use(folder)
        if user and folder.exists() and folder.stat().st_uid != user.uid:
            # Hooks of another user wrote it. A change of owner could also change a file that they linked to.
            shutil.rmtree(folder)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            os.utime(folder)  # the date of its last use
        else:
            folder.chmod(0o700)  # so that the umask does not count
            give(folder, user)
        return folder

    def _step(
        self,
        step: Step,
        folders: Mapping[str, Path],
        environment: Mapping[str, str],
        python: HookPython,
        user: User | None,
    ) -> None:
        folder = folders["app"]
        try:
            with acting_as(user):  # an earlier step may have replaced the folder
                argv = _command(step, folders, environment, python)
        except OSError as error:
            raise errors.cannot_start(step.path, step.path, error.strerror or str(error)) from error
        if not argv:
            return  # a link to nothing, or a file that an earlier step removed
        secrets = [value for value in self.material.hooks.given.values() if len(value) >= _SECRET]

        def heard(line: str) -> None:
            self.session.observer(Progress(stage="hooks", done=0, item=step.name, line=_without(line, secrets)))

        try:
            outcome = self._running.run(argv, folder=folder, environment=environment, user=user, heard=heard)
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            raise errors.cannot_start(step.path, argv[0], error.strerror or str(error)) from error
        if step.kind == "collectstatic":
            from buildpack.hooks import collectstatic

            if why := collectstatic.why_unknown(outcome):
                heard(f"skipped: {why}")
                return
            if outcome.code == 0:
                before = {file.path: file.content for file in self.material.content.files}
                with acting_as(user):
                    collectstatic.settle_manifests(folder, before)
                return
        if outcome.code != 0:
            raise _failed(step, outcome, secrets)


def _command(step: Step, folders: Mapping[str, Path], environment: Mapping[str, str], python: HookPython) -> list[str]:
    """Return the command of a step; an empty list if its file is missing."""
    folder = folders["app"]
    if step.kind == "collectstatic":
        return [f"{python.folder}/bin/python", step.path, "collectstatic", "--noinput"]
    if not os.path.isfile(folder / step.path):
        return []
    if step.kind == "nltk":
        return [f"{python.folder}/bin/python", "-c", _NLTK, *(read_text(folder, step.path) or "").split()]
    given = [str(folders[name]) for name in ("app", "cache", "env")]  # as on Heroku: BUILD_DIR CACHE_DIR ENV_DIR
    return [*_start_of(folder / step.path, environment["PATH"]), *given]


def _failed(step: Step, outcome: Outcome, secrets: Sequence[str]) -> Exception:
    lines = [_without(line, secrets) for line in outcome.lines]
    if step.kind == "nltk":
        return errors.nltk_failed(step.path, outcome.code, lines)
    if step.kind == "hook":
        return errors.hook_failed(step.path, outcome.code, lines)
    from buildpack.hooks.collectstatic import find_remedies

    return errors.collectstatic_failed(step.path, outcome.code, lines, find_remedies(lines))


def _without(line: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        line = line.replace(secret, "[redacted]")
    return line


def _start_of(path: Path, search: str) -> list[str]:
    """Return the command that starts a script as the kernel does (execve(2)), even if its mode has no x, as on Heroku.

    A shell runs it if its first line names no interpreter.
    """
    with open_regular(path) as file:
        head = file.read(256)
        if head.startswith(b"\x7fELF"):
            os.fchmod(file.fileno(), 0o755)
            return [str(path)]
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n", 1)[0].split(None, 1)
        if words:
            return [*(os.fsdecode(word.strip()) for word in words), str(path)]
    return [shutil.which("bash", path=search) or "/bin/sh", str(path)]
