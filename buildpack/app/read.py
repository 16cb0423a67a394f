"""Read an app: everything its folder says, and everything that is wrong with it at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TypeVar

from buildpack.app.detect import AppObject, Detection, detect_app
from buildpack.app.lockfile import Lock, read_lock
from buildpack.app.pipfile import Pipfile, pipfile_hashes, read_pipfile
from buildpack.app.procfile import Process, read_procfile, select_default
from buildpack.app.python_version import DEFAULT, PythonRequest, read_python_version
from buildpack.app.settings import Settings, folder_name, read_settings
from buildpack.app.source import IGNORE_FILES, SourceTree, read_source
from buildpack.app.sources import holds_credential
from buildpack.app.stamps import Stamp, stamp
from buildpack.errors import BuildpackError, Problems
from buildpack.errors import app as errors
from buildpack.errors import lock as lock_errors

__all__ = ["App", "read_app"]

_T = TypeVar("_T")

_OTHER_LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml")
_OTHER_LISTS = ("requirements.txt", "environment.yml", "pyproject.toml", "setup.py")
_NAME_INDEXES = ("Pipfile", "Pipfile.lock", "pip.conf", "requirements.txt")
_CONTROL = (
    *("deploy.toml", "Procfile", "Pipfile", "Pipfile.lock", ".python-version", "runtime.txt", "app.json"),
    *IGNORE_FILES,
)
"""Files that are read, wherever a link of that name leads, whether they are shipped or not."""
_MISSPELT = {
    "Procfile": ("procfile", "PROCFILE", "ProcFile", "Procfile.txt", "Procfile.web"),
    "Pipfile": ("pipfile", "PIPFILE", "PipFile", "Pipfile.toml"),
    "Pipfile.lock": ("pipfile.lock", "Pipfile.Lock", "PipFile.lock", "Pipfile.lock.json"),
    ".python-version": (
        ".python_version",
        "python-version",
        ".pythonversion",
        ".python-version.txt",
        ".Python-Version",
    ),
    "deploy.toml": (".deploy.toml", "Deploy.toml", "deploy.tml"),
}
_PROGRAMS = {
    program: program
    for program in (
        "gunicorn",
        "uvicorn",
        "hypercorn",
        "daphne",
        "celery",
        "rq",
        "flask",
        "alembic",
        "uwsgi",
        "dramatiq",
    )
} | {"waitress-serve": "waitress", "django-admin": "django"}
"""Programs that Procfiles run, and the packages that bring them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class App:
    """What an app's folder says.

    `processes` are those of the Procfile in its order, else one ``web`` that serves `app_object`; `default` is the one
    to run when none is named, None where that is a choice. `stamps` are of all that was looked at, each from before it
    was read; None where that is not all. `python` is None where the app says nothing and names a
    stack, whose Python it then is. `formation` counts only what app.json names.
    """

    folder: Path
    settings: Settings
    source: SourceTree
    lock: Lock
    processes: tuple[Process, ...]
    default: str | None
    app_object: AppObject | None
    python: PythonRequest | None
    formation: Mapping[str, int]
    warnings: tuple[str, ...] = ()
    stamps: Mapping[str, Stamp | None] | None = field(default=None, compare=False, repr=False)


def read_app(
    folder: Path,
    *,
    environ: Mapping[str, str],
    today: date,
    own_python: str = DEFAULT,
    name: str | None = None,
    stack: str | None = None,
    platform: str | None = None,
    categories: Sequence[str] = (),
) -> App:
    """Read the app in `folder`.

    `name`, `stack`, `platform` and `categories` are what the command line says. `own_python` (``3.12``) is the default
    on the stack ``host``. Raises UsageError where `folder` is none, and else AppError or MachineError, or Problems of
    several.
    """
    stamps = {path: stamp(path) for path in (str(folder), *(f"{folder}/{name}" for name in _CONTROL))}
    reading = _Reading(folder=folder, names=_list_folder(folder), problems=[], warnings=[])
    flags = {"name": name, "stack": stack, "platform": platform}
    settings = reading.attempt(lambda: read_settings(folder, environ=environ, flags=flags))
    source = reading.attempt(lambda: read_source(folder, environ=environ))
    reading.check_names()
    lock = reading.read_lock(categories)
    python = reading.read_python(lock, settings, today=today, own_python=own_python)
    formation = reading.read_formation()
    processes, app_object = reading.read_processes(source, settings, lock)
    if source is not None and not source.files and not reading.problems:
        reading.problems.append(errors.empty_folder(str(folder)))
    reading.warn_formation(formation, processes)
    if reading.problems:
        raise _together(reading.problems)
    assert settings is not None
    assert source is not None
    assert lock is not None
    shipped = reading.withhold(source)
    return App(
        folder=folder,
        settings=settings,
        source=shipped,
        lock=lock,
        processes=processes,
        default=select_default(processes),
        app_object=app_object,
        python=python,
        formation=formation,
        warnings=(*source.warnings, *lock.warnings, *reading.warnings),
        stamps=None if source.stamps is None else {**source.stamps, **stamps},
    )


def _list_folder(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            names = frozenset(entry.name for entry in entries)
    except (FileNotFoundError, ValueError):  # a NUL in the name is a ValueError
        raise errors.no_such_folder(str(folder)) from None
    except NotADirectoryError:
        raise errors.not_a_folder(str(folder)) from None
    except OSError as error:
        raise errors.unreadable(str(folder), error.strerror or str(error)) from error
    if not names:
        raise errors.empty_folder(str(folder))
    return names


def _together(problems: Sequence[BuildpackError]) -> BuildpackError:
    flat = [one for problem in problems for one in (problem.problems if isinstance(problem, Problems) else [problem])]
    return flat[0] if len(flat) == 1 else Problems(flat)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    """One reading of a folder: what is wrong, and what is worth a warning, is collected on the way."""

    folder: Path
    names: frozenset[str]
    problems: list[BuildpackError]
    warnings: list[str]

    def attempt(self, read: Callable[[], _T]) -> _T | None:
        """Run one reader; what it raises is collected."""
        try:
            return read()
        except BuildpackError as error:
            self.problems.append(error)
            return None

    def check_names(self) -> None:
        """Collect files whose name is almost right."""
        for meant, misspelt in _MISSPELT.items():
            if meant not in self.names:
                self.problems.extend(errors.misspelt_file(name, meant) for name in misspelt if name in self.names)

    def read_lock(self, categories: Sequence[str]) -> Lock | None:
        """Read Pipfile.lock, and compare it with Pipfile."""
        others = [name for name in _OTHER_LOCKS if name in self.names]
        if "Pipfile.lock" not in self.names:
            self._miss_lock(others)
            return None
        if others:
            self.problems.append(lock_errors.other_locks(others))
        before = len(self.problems)
        pipfile = self.attempt(lambda: read_pipfile(self.folder))
        if len(self.problems) > before:
            return None
        lock = self.attempt(lambda: read_lock(self.folder, pipfile, categories))
        if lock is None:
            return None
        if pipfile is None:
            self.warnings.append("there is no Pipfile, so nothing tells whether Pipfile.lock is current.")
        elif lock.pipfile_hash not in pipfile_hashes(pipfile):
            self._compare(pipfile, lock)
        return lock

    def _compare(self, pipfile: Pipfile, lock: Lock) -> None:
        from buildpack.app.freshness import compare

        if differences := compare(pipfile, lock):
            self.problems.append(lock_errors.stale_lock(differences))
        else:
            self.warnings.append(
                "Pipfile changed since Pipfile.lock was made, but all it asks for is there; `deploy lock` refreshes it."
            )

    def _miss_lock(self, others: Sequence[str]) -> None:
        if "Pipfile" in self.names:
            self.problems.append(lock_errors.not_locked())
        elif not self.names.isdisjoint((*_MISSPELT["Pipfile"], *_MISSPELT["Pipfile.lock"])):
            return  # told by its name already
        else:
            found = next((name for name in (*others, *_OTHER_LISTS) if name in self.names), None)
            self.problems.append(lock_errors.no_dependencies(found))

    def read_python(
        self, lock: Lock | None, settings: Settings | None, *, today: date, own_python: str
    ) -> PythonRequest | None:
        """Read which Python the app asks for; where nothing speaks, decide on a default."""
        before = len(self.problems)
        read = self.attempt(lambda: read_python_version(self.folder, lock, today=today))
        if len(self.problems) > before or read is None:
            return None
        request, warnings = read
        self.warnings.extend(warnings)
        if request is not None or settings is None:
            return request
        if settings.stack is None:
            return PythonRequest(version=DEFAULT, origin="the default")
        if settings.stack.value == "host":
            return PythonRequest(version=own_python, origin="the default, this machine's Python")
        return None

    def read_formation(self) -> Mapping[str, int]:
        """Read app.json's formation."""
        if "app.json" not in self.names:
            return {}
        from buildpack.app.formation import read_formation

        return self.attempt(lambda: read_formation(self.folder)) or {}

    def read_processes(
        self, source: SourceTree | None, settings: Settings | None, lock: Lock | None
    ) -> tuple[tuple[Process, ...], AppObject | None]:
        """Read the Procfile, and find the app object; without a Procfile, that one is served."""
        before = len(self.problems)
        procfile = self.attempt(lambda: read_procfile(self.folder))
        processes = procfile.processes if procfile else ()
        detection = Detection(found=None)
        if source is not None:
            commands = [process.command for process in processes]
            # Not the folder's name where another is set: the same app gives the same image in any folder.
            name = settings.name.value.rpartition("/")[2] if settings else folder_name(self.folder)
            detection = detect_app(source, name=name, commands=commands)
        if procfile is not None:
            self.warnings.extend(procfile.warnings)
            self._warn_programs(processes, lock)
            return processes, detection.found
        if len(self.problems) > before or source is None or not self.names.isdisjoint(_MISSPELT["Procfile"]):
            return (), None
        return self._serve(detection, lock), detection.found

    def _serve(self, detection: Detection, lock: Lock | None) -> tuple[Process, ...]:
        served = detection.found
        if served is None:
            choices = [(one.target, one.path, one.line) for one in detection.choices]
            self.problems.append(
                errors.several_app_objects(choices)
                if choices
                else errors.no_process(detection.looked, detection.broken)
            )
            return ()
        server = "uvicorn" if served.interface == "asgi" else "gunicorn"
        if lock is not None and not lock.has(server):
            self.problems.append(errors.server_not_locked(served.target, server))
        return (Process(name="web", command=serving_command(served)),)

    def _warn_programs(self, processes: Sequence[Process], lock: Lock | None) -> None:
        for process in processes:
            words = (word for word in process.command.split() if "=" not in word and word != "exec")
            package = _PROGRAMS.get(next(words, ""))
            if lock is not None and package and not lock.has(package):
                self.warnings.append(
                    f"Procfile:{process.line}: `{process.name}` runs {package}, which Pipfile.lock does not have."
                )

    def warn_formation(self, formation: Mapping[str, int], processes: Sequence[Process]) -> None:
        """Warn of process types that app.json counts and nothing defines."""
        known = {process.name for process in processes}
        if known:
            self.warnings.extend(
                f"app.json: the formation names `{errors.show(name)}`, which the Procfile does not have."
                for name in sorted(set(formation) - known)
            )

    def withhold(self, source: SourceTree) -> SourceTree:
        """Leave out files with an index's credential: an image goes to more people than a repository."""
        shipped = [file for file in source.files if file.path in _NAME_INDEXES and file.kind == "file"]
        held = [file.path for file in shipped if holds_credential(source.disk(file).read_text(errors="replace"))]
        if not held:
            return source
        self.warnings.extend(f"{name} holds a credential, so it is left out of the image." for name in held)
        return replace(source, files=tuple(file for file in source.files if file.path not in held))


def serving_command(served: AppObject) -> str:
    """Make the command that serves an app object; it binds ``$PORT``."""
    search = f" --{'app-dir' if served.interface == 'asgi' else 'pythonpath'} {served.search}" if served.search else ""
    if served.interface == "asgi":
        factory = " --factory" if served.target.endswith("()") else ""
        return f"uvicorn {served.target.removesuffix('()')}{factory}{search} --host 0.0.0.0 --port $PORT"
    target = f"'{served.target}'" if served.target.endswith("()") else served.target
    return f"gunicorn {target}{search} --worker-tmp-dir /dev/shm --graceful-timeout 20 --access-logfile -"
