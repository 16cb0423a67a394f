"""Read an app: everything its folder says, and everything that is wrong with it at once.

Every command that needs an app calls `examine_app`; `deploy check` prints what it finds.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

from buildpack.app.checks.packages import Doubt
from buildpack.app.detect import AppObject
from buildpack.app.file_stamps import Stamp, stamp
from buildpack.app.folder_reader import Reading
from buildpack.app.lockfile import Lock
from buildpack.app.procfile import Process, select_default
from buildpack.app.python_version import DEFAULT, PythonRequest
from buildpack.app.settings import Settings, read_build_env, read_settings
from buildpack.app.source import IGNORE_FILES, SourceTree
from buildpack.dataclass import dataclass, field
from buildpack.errors import BuildpackError, Notice, Problems, together
from buildpack.errors import app as errors
from buildpack.errors import checks as check_errors
from buildpack.options import Options

_PLAIN = Options()
_CONTROL = (
    *("deploy.toml", "Procfile", "Pipfile", "Pipfile.lock", ".python-version", "runtime.txt", "app.json"),
    "pyproject.toml",
    *IGNORE_FILES,
)
"""Files that are read even if they are not shipped; a link of that name is followed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class App:
    """An app, as its folder describes it.

    `processes` are those of the Procfile in its order, else one ``web`` that serves `app_object`. `default` is the one
    to run if no other is named; None if the user must choose. `python` is None if the app names no version but a stack,
    whose Python it then gets. `formation` counts only what app.json names. `build_env` are variables for hooks and for
    builds of packages; `given_env`, from the command line, win over them. `doubts` are findings that depend on what the
    wheels bring. `version` is the one in the shipped pyproject.toml, empty without one. `stamps`: file stamps taken
    before reading. None if some input cannot be watched.
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
    build_env: Mapping[str, str] = field(default_factory=dict)
    given_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    notices: tuple[Notice, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    version: str = ""
    stamps: Mapping[str, Stamp | None] | None = field(default=None, compare=False, repr=False)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The notices, a line each."""
        return tuple(map(str, self.notices))


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """What an app's folder says, as far as it can be read.

    `app` is None if there are `problems`; `settings`, `processes` and `python` are what could be read in spite of them.
    """

    app: App | None
    problems: tuple[BuildpackError, ...]
    notices: tuple[Notice, ...]
    doubts: tuple[Doubt, ...]
    settings: Settings | None
    processes: tuple[Process, ...]
    python: PythonRequest | None


def read_app(
    folder: Path,
    options: Options = _PLAIN,
    *,
    environ: Mapping[str, str],
    today: date,
    own_python: str = DEFAULT,
    installed: Callable[[], Iterable[str]] = tuple,
) -> App:
    """Read the app in `folder`, as `examine_app` does; with `options.strict` a notice is an error too.

    Raises UsageError if `folder` is not a folder, else AppError or MachineError, or Problems if there are several.
    """
    found = examine_app(folder, options, environ=environ, today=today, own_python=own_python, installed=installed)
    if found.app is None:
        raise together(found.problems)
    if options.strict and found.notices:
        raise check_errors.strict(found.app.warnings)
    return found.app


def examine_app(
    folder: Path,
    options: Options = _PLAIN,
    *,
    environ: Mapping[str, str],
    today: date,
    own_python: str = DEFAULT,
    installed: Callable[[], Iterable[str]] = tuple,
) -> Examination:
    """Find out what the folder says, and all that is wrong with it; nothing is fetched, and none of its code is run.

    `options.build_env` is not merged into the app's own variables, although it wins over them. On the stack ``host``
    the default is the first version of `installed` (usable interpreters of this machine, the newest first) that the
    app allows, else `own_python` (``3.12``). Raises only if `folder` is not a folder.
    """
    stamps = {path: stamp(path) for path in (str(folder), *(f"{folder}/{name}" for name in _CONTROL))}
    reading = Reading(folder=folder, names=_list_folder(folder))
    flags = {"stack": options.stack, "platform": options.platform}
    settings = reading.attempt(lambda: read_settings(folder, environ=environ, flags=flags))
    source = reading.attempt(lambda: reading.look_at_source(environ))
    reading.check_names()
    lock = reading.read_lock(options.categories)
    python = reading.read_python(lock, settings, today=today, own_python=own_python, installed=installed)
    app_json = reading.read_app_json()
    formation = reading.attempt(app_json.formation) or {}
    own_build_env = reading.attempt(lambda: read_build_env(folder, app_json)) or {}
    processes, app_object = reading.read_processes(source, settings, lock)
    reading.warn_formation(formation, processes)
    shipped = reading.check_source(source, lock, {**environ, **own_build_env, **options.build_env})
    problems = _flatten(reading.problems)
    notices, doubts = reading.gather_notices(source, lock), tuple(reading.doubts)
    app = None
    if not problems and settings is not None and source is not None and lock is not None and shipped is not None:
        app = App(
            folder=folder,
            settings=settings,
            source=shipped,
            lock=lock,
            processes=processes,
            default=select_default(processes),
            app_object=app_object,
            python=python,
            formation=formation,
            build_env=own_build_env,
            given_env=options.build_env,
            notices=notices,
            doubts=doubts,
            version=reading.read_version(shipped),
            stamps=None if source.stamps is None else {**source.stamps, **stamps},
        )
    return Examination(
        app=app,
        problems=problems,
        notices=notices,
        doubts=doubts,
        settings=settings,
        processes=processes,
        python=python,
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
        if error.errno == errno.ENAMETOOLONG:
            raise errors.no_such_folder(str(folder)) from None
        raise errors.unreadable(str(folder), error.strerror or str(error)) from error
    if not names:
        raise errors.empty_folder(str(folder))
    return names


def _flatten(problems: Sequence[BuildpackError]) -> tuple[BuildpackError, ...]:
    flat = (one for problem in problems for one in (problem.problems if isinstance(problem, Problems) else [problem]))
    return tuple({str(one): one for one in flat}.values())  # several readers of one file meet the same fault
