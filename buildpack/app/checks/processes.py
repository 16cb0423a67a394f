"""What the Procfile's commands start: its packages are locked, its app object is there, and web minds ``$PORT``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from buildpack.app.checks.commands import Invocation, find_slip, parse_command
from buildpack.app.checks.ports import check_file, check_http_server, check_runserver, check_serving
from buildpack.app.checks.programs import HOOKS, check_program
from buildpack.app.checks.served import Files, check_target, modules_brought
from buildpack.app.checks.servers import read_serving
from buildpack.app.lockfile import Lock
from buildpack.app.procfile import Process
from buildpack.app.source import SourceTree
from buildpack.app.textfile import open_regular
from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError
from buildpack.errors import checks as errors
from buildpack.errors.notice import Notice

__all__ = ["check_processes", "list_files"]

_PROGRAMS: Mapping[str, str] = {
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
_LARGEST = 256 * 1024
_LONGEST = 4096
_MOST = 100
"""Longer commands, and more processes, than anybody wrote are not looked at."""


def check_processes(
    processes: Sequence[Process], *, files: Files | None, lock: Lock | None, stack: str | None
) -> Iterator[BuildpackError | Notice]:
    """Check what each command starts; commands that only a shell can read are passed over.

    `stack` is the one that was asked for, None for the default; without `files` or `lock`, which could not be read,
    only what does not need them is checked.
    """
    told: set[str] = set()
    for process in processes[:_MOST]:
        if len(process.command) > _LONGEST:
            continue
        if slip := find_slip(process.command):
            yield errors.no_shell_reads(process.name, process.line, slip)
            continue
        invocations = parse_command(process.command)
        for invocation in invocations:
            for found in _check(process, invocation, files=files, lock=lock, stack=stack, alone=len(invocations) == 1):
                if str(found) not in told:
                    told.add(str(found))
                    yield found


def _check(
    process: Process,
    invocation: Invocation,
    *,
    files: Files | None,
    lock: Lock | None,
    stack: str | None,
    alone: bool,
) -> Iterator[BuildpackError | Notice]:
    if lock is not None:
        yield from _check_package(process, invocation, lock, stack)
    if files is None:
        return
    if alone:
        yield from check_program(invocation, process=process.name, line=process.line, files=files)
    serving = read_serving(invocation, files.read)
    if serving is not None:
        yield from check_target(serving, process=process.name, line=process.line, files=files)
    if process.name == "web":
        if serving is not None:
            yield from check_serving(serving, process=process.name, line=process.line)
        yield from check_runserver(invocation, process=process.name, line=process.line)
        yield from check_http_server(invocation, process=process.name, line=process.line)
        yield from check_file(invocation, files.read, process=process.name, line=process.line)


def _check_package(
    process: Process, invocation: Invocation, lock: Lock, stack: str | None
) -> Iterator[BuildpackError | Notice]:
    package = _PROGRAMS.get(invocation.program)
    if package is None or lock.has(package):
        return
    develop = any(one.name == package for one in lock.develop)
    yield errors.program_not_locked(
        process.name,
        process.line,
        package,
        stack=None if _has_only_python(stack) else stack,
        category="develop" if develop else None,
    )


def _has_only_python(stack: str | None) -> bool:
    """Say whether a stack is known to bring no packages."""
    return stack is None or stack == "host" or stack.startswith(("python:", "docker.io/library/python:"))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reader:
    tree: SourceTree
    sizes: Mapping[str, int]
    started: Mapping[str, bool]

    def read(self, path: str) -> bytes | None:
        """Return the content of a file of the app, None where it has none, or one that nobody wrote by hand."""
        if self.sizes.get(path, _LARGEST + 1) > _LARGEST:
            return None
        try:
            with open_regular(self.tree.folder / path) as file:
                return file.read()
        except OSError:
            return None

    def left_out(self, path: str) -> bool:
        """Say whether it is in the folder and not in the image."""
        return path not in self.sizes and (self.tree.folder / path).is_file()


def list_files(tree: SourceTree, lock: Lock | None, *, stack: str | None = None) -> Files:
    """List what the checks may know of the app's files, and of the modules that packages and stack may bring."""
    reader = _Reader(
        tree=tree,
        sizes={file.path: file.size for file in tree.files},
        started={file.path: file.executable for file in tree.files if file.kind == "file"},
    )
    told = lock is not None and _has_only_python(stack)
    elsewhere = {one.name: one.version is None for one in lock.packages} if lock is not None and told else {"": True}
    return Files(
        paths=reader.sizes.keys(),
        read=reader.read,
        left_out=reader.left_out,
        executable=reader.started.get,
        brought=modules_brought(elsewhere),
        generated=any(hook in reader.sizes for hook in HOOKS),
    )
