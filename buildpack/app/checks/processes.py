"""Check the Procfile's commands: packages are locked, the app object exists, and web listens on ``$PORT``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from buildpack.app.checks.app_target import check_module, check_needs, check_target
from buildpack.app.checks.commands import Invocation, find_slip, inside_app, parse_command, without_runner
from buildpack.app.checks.debugger import check_debugger
from buildpack.app.checks.image_files import Files
from buildpack.app.checks.imports import Start, find_imports, list_missing
from buildpack.app.checks.packages import PROGRAMS, SHARED, has_only_python, modules_of
from buildpack.app.checks.ports import check_port
from buildpack.app.checks.programs import RUNNERS, check_config_files, check_program, look_up_program
from buildpack.app.checks.server_commands import read_serving
from buildpack.app.checks.serving import Serving
from buildpack.app.findings import Doubt
from buildpack.app.lockfile import Lock
from buildpack.app.procfile import Process
from buildpack.dataclass import replace
from buildpack.errors import BuildpackError, Notice
from buildpack.errors import checks as errors
from buildpack.errors import modules as module_errors
from buildpack.errors.checks import Started

_EVERYWHERE = (
    *("abc", "asyncio", "collections", "copy", "datetime", "email", "enum", "functools", "hashlib", "html", "http"),
    *("inspect", "io", "json", "logging", "operator", "os", "queue", "random", "re", "select", "signal", "socket"),
    *("ssl", "string", "struct", "subprocess", "tempfile", "threading", "types", "typing", "urllib", "uuid"),
)
"""Modules of Python that web servers import."""
_ASKING = frozenset({"command", "type", "which", "hash", "test", "["})
_LONGEST = 4096
_MOST = 100
"""Nobody wrote longer commands or more processes, so the checks pass over the rest."""


def check_processes(
    processes: Sequence[Process],
    *,
    files: Files | None,
    lock: Lock | None,
    stack: str | None,
    scripts: Callable[[], Mapping[str, str]] = dict,
    app_object: str = "",
) -> Iterator[BuildpackError | Notice | Doubt]:
    """Check what each command starts, except commands that only a shell can read.

    `stack` is the one that was asked for, None for the default. `files` and `lock` are None if they could not be read;
    then the checks that need them do not run. `scripts` reads those of Pipfile. `app_object` is the one that the image
    names to Flask.
    """
    seen: set[str] = set()
    starts: list[Start] = []
    for process in processes[:_MOST]:
        if len(process.command) > _LONGEST:
            continue
        started = Started(process.name, f"Procfile:{process.line}")
        if slip := find_slip(process.command):
            yield errors.no_shell_reads(started, slip)
            continue
        look = partial(_check_command, files=files, lock=lock, stack=stack, scripts=scripts, app_object=app_object)
        for found in look(started, process.command, starts):
            text = str(found.finding if isinstance(found, Doubt) else found)
            if text not in seen:
                seen.add(text)
                yield found
    if files is not None and lock is not None:
        yield from check_imports(starts, files, lock)


def _check_command(
    started: Started,
    command: str,
    starts: list[Start],
    *,
    files: Files | None,
    lock: Lock | None,
    stack: str | None,
    scripts: Callable[[], Mapping[str, str]],
    app_object: str,
) -> Iterator[BuildpackError | Notice | Doubt]:
    """Check the command of one process; adds to `starts` what it starts of the app. See `check_processes`."""
    command, tool = _strip_runner(command, scripts, lock=lock, stack=stack)
    if tool:
        yield errors.runner_in_image(started, tool, command)
    if files is None:
        return
    invocations = parse_command(command)
    alone = len(invocations) == 1
    # Another command before it may ask whether the program is there.
    plain = not any(one.program in _ASKING for one in invocations) and "||" not in command
    for invocation in invocations:
        if lock is not None and plain:
            yield from look_up_program(invocation, started, files, lock, stack)
        if alone:
            yield from check_program(invocation, started, files)
        serving = read_serving(invocation, files.read, app_object=app_object)
        starts.extend(_started(invocation, serving))
        if serving is not None:
            yield from check_target(serving, started, files)
            if alone:
                yield from check_config_files(serving, started, files)
            if lock is not None:
                yield from check_needs(serving, started, files, lock)
        elif invocation.module and plain and invocation.program not in PROGRAMS:
            yield from check_module(invocation, started, files)
        if started.process == "web":
            yield from check_port(invocation, serving, started, files.read)
            dotenv = lock is not None and lock.has("python-dotenv")
            yield from check_debugger(invocation, serving, started, files, reads_flaskenv=dotenv)


def check_test_command(
    command: str, *, setting: str, lock: Lock, stack: str | None, scripts: Callable[[], Mapping[str, str]]
) -> BuildpackError | None:
    """Check a command that tests the image with the dev-packages; `setting` is the option or script that names it."""
    held = replace(lock, packages=(*lock.packages, *lock.develop))
    stripped, named = _strip_runner(command, scripts, lock=held, stack=stack)
    return errors.runner_in_tests(named, stripped, setting) if named else None


def _strip_runner(
    command: str, scripts: Callable[[], Mapping[str, str]], *, lock: Lock | None, stack: str | None
) -> tuple[str, str]:
    """Return a command without ``pipenv run`` and the like, and the removed words if the image lacks the tool."""
    if not any(tool in command for tool in RUNNERS):
        return command, ""
    stripped, named = without_runner(command, scripts() if "pipenv" in command else {})
    lacks = named and lock is not None and not lock.has(named.partition(" ")[0]) and has_only_python(stack)
    return stripped, named if lacks else ""


def _started(invocation: Invocation, serving: Serving | None) -> Iterator[Start]:
    """Yield the app's code that a command starts: modules that a server imports, and what Python runs."""
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
    """Check for modules of the app that Python imports in place of those of packages, or of its own.

    `brought` names the package of each module that packages bring.
    """
    for folder in dict.fromkeys(folder for start in starts for folder in (*start.search, "")):
        prefix = f"{folder}/" if folder else ""
        for module in (*brought, *_EVERYWHERE):
            for path in (f"{prefix}{module}.py", f"{prefix}{module}/__init__.py"):
                if path in files.paths and module not in SHARED:
                    yield module_errors.hidden_module(path, module, brought.get(module))


def check_imports(starts: Sequence[Start], files: Files, lock: Lock) -> Iterator[Notice | Doubt]:
    """Check the imports of the modules that the processes start."""
    held = {module: one.name for one in lock.packages if one.version for module in modules_of([one.name]) or ()}
    yield from _check_hidden(starts, files, held)
    imports = find_imports(starts, files, brought=held.keys(), django=lock.has("django"))
    seen: set[str] = set()
    for one in imports:
        if one.left_out and one.left_out not in seen:
            seen.add(one.left_out)
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
