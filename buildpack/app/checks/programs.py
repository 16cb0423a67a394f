"""Checks that the files that a Procfile's command starts are in the image, and can be started.

Told only of a command that is one program: another one before it may make the file, or ask whether it is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from buildpack.app.checks.app_target import Files
from buildpack.app.checks.commands import SHELLS, Invocation, inside_app
from buildpack.app.checks.serving import Serving
from buildpack.app.source import SourceTree
from buildpack.app.textfile import open_inside
from buildpack.errors import BuildpackError, Notice
from buildpack.errors import checks as errors

HOOKS = ("bin/pre_compile", "bin/post_compile")


def check_program(
    invocation: Invocation, *, process: str, line: int, files: Files
) -> Iterator[BuildpackError | Notice]:
    """Check the file of the app that is started; yields at most one finding, none if the app's hooks may make it."""
    if files.generated or invocation.folder is None:
        return
    started = errors.Started(process=process, line=line)
    named, read_by = _file(invocation)
    path = inside_app(invocation.folder, named) if named else None
    if not path:
        if _is_meant_as_file(invocation, files):
            yield errors.not_on_path(started, invocation.program)
    elif path not in files.paths:
        if files.left_out(path):
            yield errors.program_left_out(started, path)
        elif not _may_be_there(path, files):
            yield errors.no_such_program(started, path)
    elif not read_by and files.executable(path) is False:
        yield errors.program_not_executable(started, path)
    elif read_by != "python" and _has_windows_line_ends(path, files, shell=read_by == "shell"):
        yield errors.program_of_windows(started, path)


def check_config_files(serving: Serving, *, process: str, line: int, files: Files) -> Iterator[BuildpackError | Notice]:
    """Check the files that a server's options have it read."""
    started = errors.Started(process=process, line=line)
    for path, told in serving.files:
        if path in files.paths or files.generated or _may_be_there(path, files):
            continue
        if files.left_out(path):
            yield errors.config_left_out(started, serving.server, told, path)
        else:
            yield errors.no_such_config(started, serving.server, told, path)


def check_hooks(tree: SourceTree) -> Iterator[BuildpackError]:
    """Check the hooks of the build: one with the line ends of Windows goes wrong in ways that look like success."""
    for file in tree.files:
        if file.path in HOOKS and file.kind == "file":
            try:
                with open_inside(tree.folder, file.path) as content:
                    begin = content.read(4096)
            except OSError:
                continue  # it vanished; copying it will fail
            if begin.partition(b"\n")[0].endswith(b"\r") and not begin.startswith(b"\x7fELF"):
                yield errors.hook_of_windows(file.path)


def _file(invocation: Invocation) -> tuple[str, str]:
    """Return the file that is started as it is written, and what reads it: ``python``, ``shell``, or the system."""
    program, arguments = invocation.program, invocation.arguments
    first = arguments[0] if arguments else ""
    if program == "python" and first.endswith(".py"):
        return first, "python"
    if program in SHELLS and first.endswith(".sh"):
        return first, "shell"
    return (program, "") if "/" in program else ("", "")


def _is_meant_as_file(invocation: Invocation, files: Files) -> bool:
    """Tell whether the program is a file in its folder, which is not searched for programs."""
    program = invocation.program
    if "/" in program or "PATH" in invocation.variables or not program.endswith((".sh", ".py")):
        return False
    return f"{invocation.folder}/{program}".lstrip("/") in files.paths


def _may_be_there(path: str, files: Files) -> bool:
    """Say whether it may be there after all: a folder, or below a link that the app has."""
    return any(str(parent) in files.paths for parent in PurePosixPath(path).parents) or any(
        one.startswith(f"{path}/") for one in files.paths
    )


def _has_windows_line_ends(path: str, files: Files, *, shell: bool) -> bool:
    """Say whether its lines end as on Windows, so that a carriage return is taken for the end of a word."""
    first = (files.read(path) or b"").partition(b"\n")[0]
    return first.endswith(b"\r") and (shell or first.startswith(b"#!"))
