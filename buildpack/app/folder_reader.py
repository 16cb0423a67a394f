"""The readers of an app's files, which collect everything that is wrong; `read` calls them in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TypeVar

from buildpack.app.app_json import FILE as APP_JSON
from buildpack.app.app_json import AppJson, parse_app_json
from buildpack.app.checks.files import check_clone, check_portable, check_private, check_static
from buildpack.app.checks.image_files import list_files
from buildpack.app.checks.imports import Start
from buildpack.app.checks.packages import Doubt
from buildpack.app.checks.processes import check_imports, check_processes
from buildpack.app.checks.programs import check_hooks
from buildpack.app.detect import AppObject, Detection, detect_app
from buildpack.app.indexes import holds_credential
from buildpack.app.links import OutsideError, find_inside
from buildpack.app.lockfile import Lock, read_lock
from buildpack.app.nearest import OTHER_LISTS, OTHER_LOCKS, find_almost_named, find_misspelt
from buildpack.app.pipfile import Pipfile, pipfile_hashes, read_pipfile, read_scripts
from buildpack.app.procfile import Process, read_procfile
from buildpack.app.python_version import (
    DEFAULT,
    HOST_DEFAULT,
    PythonRequest,
    allowed_python,
    first_allowed,
    fits_requires_python,
    read_python_version,
    read_requires_python,
)
from buildpack.app.settings import Settings, folder_name
from buildpack.app.source import SourceFile, SourceTree, look_at_source
from buildpack.app.textfile import LIMIT, decode, open_inside, parse_toml, read_bytes, read_text
from buildpack.dataclass import dataclass, field, replace
from buildpack.errors import BuildpackError, MachineError, Notice, parse_notice
from buildpack.errors import app as errors
from buildpack.errors import lock as lock_errors
from buildpack.errors import settings as setting_errors

_T = TypeVar("_T")

_DEVELOP = frozenset({"develop", "dev-packages"})
_LONGEST_VERSION = 128
_NAME_INDEXES = ("Pipfile", "Pipfile.lock", "pip.conf", "requirements.txt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Reads a folder, file by file, and collects what is wrong and what deserves a warning."""

    folder: Path
    names: frozenset[str]
    problems: list[BuildpackError] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)

    def attempt(self, read: Callable[[], _T]) -> _T | None:
        """Call a reader, and collect the error that it raises."""
        try:
            return read()
        except BuildpackError as error:
            self.problems.append(error)
            return None

    def look_at_source(self, environ: Mapping[str, str]) -> SourceTree | None:
        """List the app's files, and collect what is wrong with them; None if some could not be read."""
        tree, problems = look_at_source(self.folder, environ=environ)
        self.problems.extend(problems)
        # A folder that cannot be read may hold what is looked for.
        return None if any(isinstance(problem, MachineError) for problem in problems) else tree

    def check_names(self) -> None:
        """Collect files whose name is almost right."""
        self.problems.extend(errors.misspelt_file(*each) for each in find_misspelt(self.names))

    def _miss(self, meant: str, otherwise: BuildpackError) -> None:
        """Collect that a file is missing; the error names a file with almost that name, if there is one."""
        found = next((name for name, near in find_almost_named(self.folder, self.names) if near == meant), None)
        self.problems.append(errors.misspelt_file(found, meant) if found else otherwise)

    def read_lock(self, categories: Sequence[str]) -> Lock | None:
        """Read Pipfile.lock, and compare it with Pipfile."""
        others = [name for name in OTHER_LOCKS if name in self.names]
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
        self._check_paths(lock)
        if pipfile is None:
            self.warn(lock_errors.no_pipfile())
        elif lock.pipfile_hash not in pipfile_hashes(pipfile):
            self._compare(pipfile, lock, categories)
        return lock

    def _check_paths(self, lock: Lock) -> None:
        """Collect local packages that are not the app's own to ship."""
        for package in {one.name: one for one in (*lock.packages, *lock.develop) if one.path}.values():
            try:
                find_inside(self.folder, package.path or "")
            except OutsideError as error:
                from buildpack.errors.wheels import path_outside

                self.problems.append(path_outside(package.name, package.path or "", package.place, error.filename))

    def _compare(self, pipfile: Pipfile, lock: Lock, categories: Sequence[str]) -> None:
        from buildpack.app.freshness import compare, compare_develop

        differences = compare(pipfile, lock, categories)
        if differences and differences == compare_develop(pipfile, lock) and _DEVELOP.isdisjoint(categories):
            self.notices.append(lock_errors.stale_dev_packages(differences))
        elif differences:
            self.problems.append(lock_errors.stale_lock(differences))
        else:
            self.warn(lock_errors.pipfile_changed())

    def _miss_lock(self, others: Sequence[str]) -> None:
        if "Pipfile" in self.names:
            self._miss("Pipfile.lock", lock_errors.not_locked())
        elif any(meant in ("Pipfile", "Pipfile.lock") for _, meant in find_misspelt(self.names)):
            return  # `check_names` reports it
        else:
            found = next((name for name in (*others, *OTHER_LISTS) if name in self.names), None)
            self._miss("Pipfile.lock", lock_errors.no_dependencies(found))

    def read_python(
        self,
        lock: Lock | None,
        settings: Settings | None,
        *,
        today: date,
        own_python: str,
        installed: Callable[[], Iterable[str]],
    ) -> PythonRequest | None:
        """Read which Python the app asks for; if no file says it, choose a default."""
        before = len(self.problems)
        read = self.attempt(lambda: read_python_version(self.folder, lock, today=today))
        if len(self.problems) > before or read is None:
            return None
        request, warnings = read
        for text in warnings:
            self.warn(text)
        requires = read_requires_python(self.folder) if "pyproject.toml" in self.names else ""
        if request is not None and not fits_requires_python(requires, request.version):
            self.notices.append(lock_errors.requires_another_python(requires, request.version, request.origin))
        if request is not None and lock is not None:
            self._compare_python(request, lock)
        if request is not None or settings is None:
            return request
        named = self.notices.append if lock is not None else lambda _: None
        if settings.stack is None:
            version = allowed_python(lock, DEFAULT, requires)
            named(lock_errors.python_not_named(version, host=False))
            return PythonRequest(version=version, origin="the default")
        if settings.stack.value == "host":
            newest = first_allowed(installed(), lock, requires)
            version = newest or allowed_python(lock, own_python, requires)
            # An app whose own file names this stack means the Python of each machine that builds.
            if settings.stack.origin.startswith(("--", "DEPLOY_")) or version not in (newest, own_python):
                named(lock_errors.python_not_named(version, host=newest is not None))
            return PythonRequest(version=version, origin=HOST_DEFAULT)
        return None

    def _compare_python(self, request: PythonRequest, lock: Lock) -> None:
        """Warn if the lock was made for another Python than the one that is asked for."""
        for locked in (lock.python_full_version, lock.python_version):
            if locked and locked != "*" and not f"{request.version}.".startswith(f"{locked}."):
                if not f"{locked}.".startswith(f"{request.version}."):
                    self.notices.append(lock_errors.lock_of_another_python(request.version, request.origin, locked))
                return

    def read_app_json(self) -> AppJson:
        """Read app.json; collects a notice if it does not hold a JSON object, and returns an empty one."""
        raw = self.attempt(lambda: read_bytes(self.folder, APP_JSON)) if APP_JSON in self.names else None
        try:
            return AppJson() if raw is None else parse_app_json(decode(raw, APP_JSON))
        except BuildpackError as error:
            self.notices.append(setting_errors.app_json_not_read(error))
            return AppJson()

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
            # A name that is set comes first: the same app gives the same image in any folder.
            name = settings.name.value.rpartition("/")[2] if settings else folder_name(self.folder)
            detection = detect_app(source, name=name, commands=commands)
        if procfile is not None:
            for text in procfile.warnings:
                self.warn(text)
            self._check_processes(processes, source, settings, lock, detection.found)
            return processes, detection.found
        if len(self.problems) > before or source is None or "Procfile" in dict(find_misspelt(self.names)).values():
            return (), None
        return self._serve(detection, source, settings, lock), detection.found

    def _serve(
        self, detection: Detection, source: SourceTree, settings: Settings | None, lock: Lock | None
    ) -> tuple[Process, ...]:
        served = detection.found
        if served is None:
            choices = [(one.target, one.path, one.line) for one in detection.choices]
            self._miss(
                "Procfile",
                errors.several_app_objects(choices)
                if choices
                else errors.no_process(detection.looked, detection.broken),
            )
            return ()
        server = "uvicorn" if served.interface == "asgi" else "gunicorn"
        if lock is not None and not lock.has(server):
            self.problems.append(errors.server_not_locked(served.target, server))
        if lock is not None:
            start = Start(search=tuple(dict.fromkeys((served.search, ""))), module=served.target.partition(":")[0])
            self._collect(check_imports([start], list_files(source, lock, stack=_stack(settings)), lock))
        return (Process(name="web", command=served.command),)

    def _check_processes(
        self,
        processes: Sequence[Process],
        source: SourceTree | None,
        settings: Settings | None,
        lock: Lock | None,
        served: AppObject | None,
    ) -> None:
        stack = _stack(settings)
        files = list_files(source, lock, stack=stack) if source is not None else None
        named = served.target if served is not None and not served.search else ""
        self._collect(
            check_processes(
                processes,
                files=files,
                lock=lock,
                stack=stack,
                scripts=lambda: read_scripts(self.folder),
                app_object=named,
            )
        )

    def _collect(self, findings: Iterable[BuildpackError | Notice | Doubt]) -> None:
        for found in findings:
            if isinstance(found, Notice):
                self.notices.append(found)
            elif isinstance(found, Doubt):
                self.doubts.append(found)
            else:
                self.problems.append(found)

    def warn_formation(self, formation: Mapping[str, int], processes: Sequence[Process]) -> None:
        """Warn of process types that app.json counts and nothing defines."""
        known = {process.name for process in processes}
        for name in sorted(set(formation) - known if known else ()):
            self.warn(setting_errors.unknown_process(name))

    def check_source(
        self, source: SourceTree | None, lock: Lock | None, variables: Mapping[str, str]
    ) -> SourceTree | None:
        """Check the shipped files, and return them without those that hold the credential of an index.

        `variables` are those of the build.
        """
        if source is None:
            return None
        if not source.files and not self.problems:
            self.problems.append(errors.empty_folder(str(self.folder)))
        shipped = self._withhold(source)
        self.problems.extend(check_hooks(shipped))
        self.notices.extend(check_static(shipped, lock, variables))
        self.notices.extend(check_clone(shipped))
        self.notices.extend(check_private(shipped))
        self.notices.extend(check_portable(shipped))
        return shipped

    def read_version(self, shipped: SourceTree) -> str:
        """Return the version that the shipped pyproject.toml states; empty if there is none, or it is not static."""
        if not any(file.path == "pyproject.toml" and file.kind == "file" for file in shipped.files):
            return ""
        try:
            project = parse_toml(read_text(self.folder, "pyproject.toml") or "", "pyproject.toml").get("project")
        except BuildpackError:
            return ""  # The build does not need this file, so a fault in it must not stop the build.
        version = project.get("version") if isinstance(project, dict) else None
        usable = isinstance(version, str) and version.isprintable() and len(version) <= _LONGEST_VERSION
        return version if isinstance(version, str) and usable else ""

    def _withhold(self, source: SourceTree) -> SourceTree:
        """Leave out files with the credential of an index: more people get an image than a repository."""
        shipped = [file for file in source.files if file.path in _NAME_INDEXES and file.kind == "file"]
        held = [file.path for file in shipped if self._holds_credential(source, file)]
        if not held:
            return source
        for name in held:
            self.warn(errors.credential_left_out(name))
        return replace(source, files=tuple(file for file in source.files if file.path not in held))

    def _holds_credential(self, source: SourceTree, file: SourceFile) -> bool:
        try:
            with open_inside(source.folder, file.path) as content:
                return holds_credential(content.read(LIMIT).decode(errors="replace"))
        except OSError as error:
            self.problems.append(errors.unreadable(file.path, error.strerror or str(error)))
            return False

    def warn(self, text: str) -> None:
        """Collect a warning that is one sentence, which may begin with its place."""
        self.notices.append(parse_notice(text))

    def gather_notices(self, source: SourceTree | None, lock: Lock | None) -> tuple[Notice, ...]:
        """Return all warnings: those of the files, of the lock, and those collected on the way."""
        told = (*(source.warnings if source else ()), *(lock.warnings if lock else ()))
        named = {problem.place for problem in self.problems}
        almost = [
            errors.almost_named(*each) for each in find_almost_named(self.folder, self.names) if each[0] not in named
        ]
        return (*map(parse_notice, told), *almost, *self.notices)


def _stack(settings: Settings | None) -> str | None:
    return settings.stack.value if settings is not None and settings.stack is not None else None
