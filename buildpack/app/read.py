"""Read an app: everything its folder says, and everything that is wrong with it at once.

Every command that needs an app calls `examine_app`; `deploy check` prints what it finds.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from functools import partial
from pathlib import Path

from buildpack.app.app_json import FILE as APP_JSON
from buildpack.app.app_json import AppJson, parse_app_json
from buildpack.app.checks.files import check_shipped
from buildpack.app.checks.image_files import list_files
from buildpack.app.checks.imports import Start
from buildpack.app.checks.processes import check_imports, check_processes
from buildpack.app.detect import AppObject, Detection, detect_app
from buildpack.app.file_stamps import Stamp, stamp
from buildpack.app.findings import Doubt, Findings
from buildpack.app.lockfile import Lock
from buildpack.app.locks import read_app_lock
from buildpack.app.nearest import find_almost_named, find_misspelt, missing_file
from buildpack.app.pipfile import read_scripts
from buildpack.app.procfile import Process, read_procfile, select_default
from buildpack.app.python_version import DEFAULT, PythonRequest, choose_python, read_project
from buildpack.app.settings import Settings, folder_name, read_build_env, read_settings
from buildpack.app.source import IGNORE_FILES, SourceTree, look_at_source
from buildpack.app.textfile import decode, read_bytes
from buildpack.dataclass import dataclass, field
from buildpack.errors import BuildpackError, MachineError, Notice, parse_notice, together
from buildpack.errors import app as errors
from buildpack.errors import checks as check_errors
from buildpack.errors import settings as setting_errors
from buildpack.options import Options

_PLAIN = Options()
_CONTROL = (
    *("deploy.toml", "Procfile", "Pipfile", "Pipfile.lock", ".python-version", "runtime.txt", "app.json"),
    "pyproject.toml",
    *IGNORE_FILES,
)
"""Files that are read even if they are not shipped; a link of that name is followed."""
_LONGEST_VERSION = 128


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
    """An app's folder, as far as it can be read.

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
    """Read all that the folder says, and find all that is wrong with it, without fetching anything or running its code.

    `options.build_env` is not merged into the app's own variables, although it wins over them. On the stack ``host``
    the default is the first version of `installed` (usable interpreters of this machine, the newest first) that the
    app allows, else `own_python` (``3.12``). Raises only if `folder` is not a folder.
    """
    stamps = {path: stamp(path) for path in (str(folder), *(f"{folder}/{name}" for name in _CONTROL))}
    names, found = _list_folder(folder), Findings()
    flags = {"stack": options.stack, "platform": options.platform}
    settings = found.attempt(lambda: read_settings(folder, environ=environ, flags=flags))
    source = found.attempt(lambda: _look_at_source(folder, environ, found))
    found.add(errors.misspelt_file(*each) for each in find_misspelt(names))
    lock = read_app_lock(folder, names, options.categories, found)
    python = choose_python(folder, lock, settings, found, today=today, own_python=own_python, installed=installed)
    formation, own_build_env = _read_values(folder, names, found)
    processes, app_object = _read_processes(folder, names, source, found, settings=settings, lock=lock)
    _warn_of_unknown(formation, processes, found)
    if source is not None and not source.files and not found.problems:
        found.problems.append(errors.empty_folder(str(folder)))
    variables = {**environ, **own_build_env, **options.build_env}
    shipped = check_shipped(source, lock, variables, found) if source is not None else None
    problems, doubts = found.all_problems(), tuple(found.doubts)
    notices = _gather_notices(folder, names, source, lock, found)
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
            version=_read_version(shipped),
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


def _read_values(folder: Path, names: Collection[str], found: Findings) -> tuple[Mapping[str, int], Mapping[str, str]]:
    """Return app.json's formation, and the variables of the build."""
    app_json = _read_app_json(folder, names, found)
    formation = found.attempt(app_json.formation) or {}
    return formation, found.attempt(lambda: read_build_env(folder, app_json)) or {}


def _warn_of_unknown(formation: Mapping[str, int], processes: Collection[Process], found: Findings) -> None:
    """Warn of process types in app.json's formation that no Procfile has."""
    unknown = set(formation) - {process.name for process in processes} if processes else ()
    for name in sorted(unknown):
        found.warn(setting_errors.unknown_process(name))


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


def _look_at_source(folder: Path, environ: Mapping[str, str], found: Findings) -> SourceTree | None:
    tree, problems = look_at_source(folder, environ=environ)
    found.add(problems)
    # A folder that cannot be read may hold a file that a later step looks for.
    return None if any(isinstance(problem, MachineError) for problem in problems) else tree


def _read_app_json(folder: Path, names: Collection[str], found: Findings) -> AppJson:
    """Read app.json; one that does not hold a JSON object counts as empty, and is a notice."""
    raw = found.attempt(lambda: read_bytes(folder, APP_JSON)) if APP_JSON in names else None
    try:
        return AppJson() if raw is None else parse_app_json(decode(raw, APP_JSON))
    except BuildpackError as error:
        found.notices.append(setting_errors.app_json_not_read(error))
        return AppJson()


def _read_processes(
    folder: Path,
    names: frozenset[str],
    source: SourceTree | None,
    found: Findings,
    *,
    settings: Settings | None,
    lock: Lock | None,
) -> tuple[tuple[Process, ...], AppObject | None]:
    """Read the Procfile, and find the app object, which ``web`` serves if there is no Procfile."""
    before = len(found.problems)
    procfile = found.attempt(lambda: read_procfile(folder))
    processes = procfile.processes if procfile else ()
    detection = Detection(found=None)
    if source is not None:
        # A name that is set comes first: the same app gives the same image in any folder.
        name = settings.name.value.rpartition("/")[2] if settings else folder_name(folder)
        detection = detect_app(source, name=name, commands=[process.command for process in processes])
    served = detection.found
    stack = settings.stack.value if settings is not None and settings.stack is not None else None
    files = list_files(source, lock, stack=stack) if source is not None else None
    if procfile is not None:
        for text in procfile.warnings:
            found.warn(text)
        named = served.target if served is not None and not served.search else ""
        scripts = partial(read_scripts, folder)
        found.add(check_processes(processes, files=files, lock=lock, stack=stack, scripts=scripts, app_object=named))
        return processes, served
    if len(found.problems) > before or files is None or "Procfile" in dict(find_misspelt(names)).values():
        return (), None
    if served is None:
        choices = [(one.target, one.path, one.line) for one in detection.choices]
        nothing = errors.no_process(detection.looked, detection.broken)
        problem = errors.several_app_objects(choices) if choices else nothing
        found.problems.append(missing_file(folder, names, "Procfile", problem))
        return (), None
    if lock is not None:
        server = "uvicorn" if served.interface == "asgi" else "gunicorn"
        if not lock.has(server):
            found.problems.append(errors.server_not_locked(served.target, server))
        start = Start(search=tuple(dict.fromkeys((served.search, ""))), module=served.target.partition(":")[0])
        found.add(check_imports([start], files, lock))
    return (Process(name="web", command=served.command),), served


def _read_version(shipped: SourceTree) -> str:
    """Return the version that the shipped pyproject.toml states; empty if there is none, or it is not static."""
    if not any(file.path == "pyproject.toml" and file.kind == "file" for file in shipped.files):
        return ""
    version = read_project(shipped.folder).get("version")
    usable = isinstance(version, str) and version.isprintable() and len(version) <= _LONGEST_VERSION
    return str(version) if usable else ""


def _gather_notices(
    folder: Path, names: frozenset[str], source: SourceTree | None, lock: Lock | None, found: Findings
) -> tuple[Notice, ...]:
    """Return all warnings: those of the files, of the lock, and those found on the way."""
    texts = (*(source.warnings if source else ()), *(lock.warnings if lock else ()))
    reported = {problem.place for problem in found.problems}
    almost = [errors.almost_named(*each) for each in find_almost_named(folder, names) if each[0] not in reported]
    return (*map(parse_notice, texts), *almost, *found.notices)
