"""Checks of the Procfile's commands: packages are locked, the app object is there, and web listens on ``$PORT``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from buildpack.app.checks.app_target import Files, check_module, check_needs, check_target, modules_brought
from buildpack.app.checks.commands import Invocation, find_slip, inside_app, parse_command, without_runner
from buildpack.app.checks.debugger import check_debugger
from buildpack.app.checks.doubts import Doubt
from buildpack.app.checks.imports import Start, find_imports, list_missing
from buildpack.app.checks.lookup import RUNNERS, has_only_python, look_up_program
from buildpack.app.checks.packages import PROGRAMS, SHARED, modules_of
from buildpack.app.checks.ports import check_file, check_http_server, check_runserver, check_serving
from buildpack.app.checks.programs import HOOKS, check_config_files, check_program
from buildpack.app.checks.server_commands import read_serving
from buildpack.app.checks.serving import Serving
from buildpack.app.lockfile import Lock
from buildpack.app.procfile import Process
from buildpack.app.source import SourceTree
from buildpack.app.textfile import open_inside
from buildpack.dataclass import dataclass, replace
from buildpack.errors import BuildpackError, Notice
from buildpack.errors import checks as errors
from buildpack.errors import modules as module_errors

_EVERYWHERE = (
    *("abc", "asyncio", "collections", "copy", "datetime", "email", "enum", "functools", "hashlib", "html", "http"),
    *("inspect", "io", "json", "logging", "operator", "os", "queue", "random", "re", "select", "signal", "socket"),
    *("ssl", "string", "struct", "subprocess", "tempfile", "threading", "types", "typing", "urllib", "uuid"),
)
"""Modules of Python's that web servers import."""
_ASKING = frozenset({"command", "type", "which", "hash", "test", "["})
_LARGEST = 256 * 1024
_LONGEST = 4096
_MOST = 100
"""Longer commands, and more processes, than anybody wrote are not looked at."""


def check_processes(
    processes: Sequence[Process],
    *,
    files: Files | None,
    lock: Lock | None,
    stack: str | None,
    scripts: Callable[[], Mapping[str, str]] = dict,
    app_object: str = "",
) -> Iterator[BuildpackError | Notice | Doubt]:
    """Check what each command starts; commands that only a shell can read are passed over.

    `stack` is the one that was asked for, None for the default; without `files` or `lock`, which could not be read,
    only what does not need them is checked. `scripts` reads those of Pipfile. `app_object` is the one that the image
    names to Flask.
    """
    told: set[str] = set()
    starts: list[Start] = []
    for process in processes[:_MOST]:
        if len(process.command) > _LONGEST:
            continue
        if slip := find_slip(process.command):
            yield errors.no_shell_reads(process.name, process.line, slip)
            continue
        look = _Look(process=process, files=files, lock=lock, stack=stack, app_object=app_object)
        for found in look.run(scripts, starts):
            text = str(found.finding if isinstance(found, Doubt) else found)
            if text not in told:
                told.add(text)
                yield found
    if files is not None and lock is not None:
        yield from check_imports(starts, files, lock)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """A look at one process; see `check_processes`."""

    process: Process
    files: Files | None
    lock: Lock | None
    stack: str | None
    app_object: str

    def run(
        self, scripts: Callable[[], Mapping[str, str]], starts: list[Start]
    ) -> Iterator[BuildpackError | Notice | Doubt]:
        """Check the command; adds to `starts` what it starts of the app."""
        command, tool = _strip_runner(self.process.command, scripts, lock=self.lock, stack=self.stack)
        if tool:
            started = errors.Started(process=self.process.name, line=self.process.line)
            yield errors.runner_in_image(started, tool, command)
        invocations = parse_command(command)
        # Another command before it may ask whether the program is there.
        plain = not any(one.program in _ASKING for one in invocations) and "||" not in command
        for invocation in invocations:
            yield from self._check(invocation, starts, alone=len(invocations) == 1, plain=plain)

    def _check(
        self, invocation: Invocation, starts: list[Start], *, alone: bool, plain: bool
    ) -> Iterator[BuildpackError | Notice | Doubt]:
        name, line, files = self.process.name, self.process.line, self.files
        if self.lock is not None and files is not None and plain:
            yield from look_up_program(
                invocation, process=name, line=line, files=files, lock=self.lock, stack=self.stack
            )
        if files is None:
            return
        if alone:
            yield from check_program(invocation, process=name, line=line, files=files)
        serving = read_serving(invocation, files.read, app_object=self.app_object)
        starts.extend(_started(invocation, serving))
        if serving is not None:
            yield from check_target(serving, process=name, line=line, files=files)
            if alone:
                yield from check_config_files(serving, process=name, line=line, files=files)
            if self.lock is not None:
                yield from check_needs(serving, process=name, line=line, files=files, lock=self.lock)
        elif invocation.module and plain and invocation.program not in PROGRAMS:
            yield from check_module(invocation, process=name, line=line, files=files)
        if name == "web":
            if serving is not None:
                yield from check_serving(serving, process=name, line=line)
            yield from check_runserver(invocation, process=name, line=line)
            yield from check_http_server(invocation, process=name, line=line)
            yield from check_file(invocation, files.read, process=name, line=line)
            dotenv = self.lock is not None and self.lock.has("python-dotenv")
            yield from check_debugger(invocation, serving, process=name, line=line, files=files, reads_flaskenv=dotenv)


def check_test_command(
    command: str, *, setting: str, lock: Lock, stack: str | None, scripts: Callable[[], Mapping[str, str]]
) -> BuildpackError | None:
    """Check a command that tests the image, with the packages of dev-packages; `setting` is what names the command."""
    held = replace(lock, packages=(*lock.packages, *lock.develop))
    stripped, named = _strip_runner(command, scripts, lock=held, stack=stack)
    return errors.runner_in_tests(named, stripped, setting) if named else None


def _strip_runner(
    command: str, scripts: Callable[[], Mapping[str, str]], *, lock: Lock | None, stack: str | None
) -> tuple[str, str]:
    """Return a command without what starts ``pipenv run`` and the like, and those words if the image lacks the tool."""
    if not any(tool in command for tool in RUNNERS):
        return command, ""
    stripped, named = without_runner(command, scripts() if "pipenv" in command else {})
    lacks = named and lock is not None and not lock.has(named.partition(" ")[0]) and has_only_python(stack)
    return stripped, named if lacks else ""


def _started(invocation: Invocation, serving: Serving | None) -> Iterator[Start]:
    """Give what a command starts of the app: modules that a server imports, and files and modules that Python runs."""
    if serving is not None:
        module = serving.module
        if serving.config:
            yield Start(search=serving.search or ("",), path=serving.config)
        if serving.search is not None and module:
            yield Start(search=serving.search, module=module)
            if serving.server == "celery":
                yield Start(search=serving.search, module=f"{module}.celery")
        for need in serving.needs:
            yield Start(search=need.search or serving.search or ("",), module=need.module)
    elif invocation.folder is not None:
        search = tuple(dict.fromkeys((invocation.folder, "")))
        if invocation.module:
            yield Start(search=search, module=invocation.program)
            yield Start(search=search, module=f"{invocation.program}.__main__")
        elif invocation.program == "python" and invocation.arguments[:1]:
            path = inside_app(invocation.folder, invocation.arguments[0]) or ""
            yield Start(search=tuple(dict.fromkeys((path.rpartition("/")[0], ""))), path=path)


def _check_hidden(starts: Sequence[Start], files: Files, brought: Mapping[str, str]) -> Iterator[Notice]:
    """Check for modules of the app that come before those of packages, or of Python, on the path of imports.

    `brought` names the package of each module that packages bring.
    """
    for folder in dict.fromkeys(folder for start in starts for folder in (*start.search, "")):
        prefix = f"{folder}/" if folder else ""
        for module in (*brought, *_EVERYWHERE):
            for path in (f"{prefix}{module}.py", f"{prefix}{module}/__init__.py"):
                if path in files.paths and module not in SHARED:
                    yield module_errors.hidden_module(path, module, brought.get(module))


def check_imports(starts: Sequence[Start], files: Files, lock: Lock) -> Iterator[Notice | Doubt]:
    """Check what the modules that the processes start import."""
    held = {module: one.name for one in lock.packages if one.version for module in modules_of([one.name]) or ()}
    yield from _check_hidden(starts, files, held)
    imports = find_imports(starts, files, brought=held.keys(), django=lock.has("django"))
    told: set[str] = set()
    for one in imports:
        if one.left_out and one.left_out not in told:
            told.add(one.left_out)
            yield module_errors.import_left_out(one.place, one.left_out)
    if files.generated or "" in files.brought:
        return
    complete = modules_of(package.name for package in lock.packages) is not None
    develop = {package.name for package in lock.develop}
    missing = (one for one in imports if not one.left_out)
    for one, owners in list_missing(missing, lock, files.brought):
        only_develop = next((name for name in (*owners, one.module.replace("_", "-").lower()) if name in develop), None)
        finding = module_errors.missing_import(one.place, one.module, owners, develop=only_develop)
        if "*" not in files.brought and (owners or only_develop or complete):
            yield finding
        else:
            yield Doubt(kind="module", name=one.module, finding=finding)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reader:
    tree: SourceTree
    sizes: Mapping[str, int]
    started: Mapping[str, bool]

    def read(self, path: str) -> bytes | None:
        """Return the content of a file of the app; None if it cannot be read, or if nobody wrote it by hand."""
        if self.sizes.get(path, _LARGEST + 1) > _LARGEST:
            return None
        try:
            with open_inside(self.tree.folder, path) as file:
                content = file.read(_LARGEST + 1)
        except OSError:
            return None
        return content if len(content) <= _LARGEST else None

    def left_out(self, path: str) -> bool:
        """Say whether it is in the folder and not in the image."""
        return path not in self.sizes and os.path.isfile(self.tree.folder / path)


def list_files(tree: SourceTree, lock: Lock | None, *, stack: str | None = None) -> Files:
    """List what the checks may know of the app's files, and of the modules that packages and stack may bring."""
    reader = _Reader(
        tree=tree,
        sizes={file.path: file.size for file in tree.files},
        started={file.path: file.executable for file in tree.files if file.kind == "file"},
    )
    told = lock is not None and has_only_python(stack)
    elsewhere = {one.name: one.version is None for one in lock.packages} if lock is not None and told else {"": True}
    return Files(
        paths=reader.sizes.keys(),
        read=reader.read,
        left_out=reader.left_out,
        executable=reader.started.get,
        brought=modules_brought(elsewhere),
        complete=modules_of(elsewhere) is not None,
        generated=any(hook in reader.sizes for hook in HOOKS),
    )
