"""The wording of what can be wrong with an app's folder: its files, Procfile, Python version, settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from buildpack.errors import AppError, BuildpackError, MachineError, UsageError

_SHOWN = 10
_WIDTH = 96


def show(text: str) -> str:
    """Render a name or value from outside on one line: what would not print is escaped."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode's stand-in for a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def bullets(lines: Sequence[str]) -> str:
    """Render a list, the first `_SHOWN` of it, one to a line."""
    shown = [f"  - {line}" for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        shown.append(f"  and {len(lines) - _SHOWN} more")
    return "\n".join(shown)


def caret(line: str, column: int) -> str:
    """Render a line of a file with a caret under `column` (from 1); a long line is cut to what surrounds it."""
    start = max(0, column - 1 - _WIDTH // 2) if len(line) > _WIDTH else 0
    window = line[start : start + _WIDTH]
    if column - 1 - start > len(window):
        column = start + len(window) + 1
    # One character each, whatever it is, or the caret would point beside it.
    flat = "".join(" " if c == "\t" else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in window)
    return f"    {flat.rstrip()}\n    {' ' * (column - 1 - start)}^"


# The folder


def no_such_folder(folder: str) -> BuildpackError:
    """The folder to build does not exist."""
    return UsageError(
        f"there is no folder {show(folder)}",
        why="The app to build is named by its folder; without a name it is the current one.",
        hint="check the path.",
    )


def not_a_folder(folder: str) -> BuildpackError:
    """The folder to build is a file."""
    return UsageError(
        f"{show(folder)} is not a folder",
        why="The app to build is named by the folder that holds its Pipfile.lock.",
        hint="name the folder instead of a file in it.",
    )


def empty_folder(folder: str) -> BuildpackError:
    """Nothing in the folder would enter the image."""
    return AppError(
        f"there is nothing to build in {show(folder)}",
        why="The folder is empty, or everything in it is left out (by .dockerignore, .slugignore or git).",
        hint="name the folder that holds the app's Pipfile.lock.",
    )


def unreadable(name: str, reason: str) -> BuildpackError:
    """A file or folder of the app cannot be read."""
    return MachineError(
        f"{show(name)} cannot be read",
        why=f"The system says: {reason}.",
        hint=f"let this user read {show(name)}, or name it in .dockerignore.",
        place=name,
    )


def not_a_file(name: str) -> BuildpackError:
    """A file that describes the app is a folder, pipe or device."""
    return AppError(
        f"{show(name)} is not a file",
        why=f"A regular file is expected under the name {show(name)}.",
        hint=f"remove or rename {show(name)}.",
        place=name,
    )


def dangling(name: str, target: str) -> BuildpackError:
    """A file that describes the app is a link to nothing."""
    return AppError(
        f"{show(name)} is a link to a file that does not exist",
        why=f"It points to {show(target)}.",
        hint=f"mend the link, or put a file in the place of {show(name)}.",
        place=name,
    )


def leads_out(name: str, target: str) -> BuildpackError:
    """A file that describes the app is a link to what is not the app's own."""
    return AppError(
        f"{show(name)} is a link that leads out of the app's folder",
        why=f"It leads to {show(target)}. The app's files are read from its folder only, or from visible folders of "
        "the same git work tree.",
        hint=f"put a copy of the file in the place of {show(name)}.",
        place=name,
    )


def too_large(name: str, size: int, limit: int) -> BuildpackError:
    """A file that describes the app is larger than any real one."""
    return AppError(
        f"{show(name)} is too large",
        why=f"It holds {size:,} bytes; at most {limit:,} are read.",
        hint=f"check what {show(name)} really is.",
        place=name,
    )


def not_utf8(name: str, line: int, byte: int) -> BuildpackError:
    """A file that describes the app is not UTF-8."""
    utf16 = " It looks like UTF-16, which PowerShell writes for `>`." if byte in (0xFE, 0xFF) and line == 1 else ""
    return AppError(
        f"{show(name)} is not UTF-8",
        why=f"Line {line} holds the byte 0x{byte:02x}.{utf16}",
        hint=f"save {show(name)} as UTF-8.",
        place=f"{name}:{line}",
    )


def misspelt_file(found: str, meant: str) -> BuildpackError:
    """A file has almost the name of one that is read, and the real one is absent."""
    return AppError(
        f"{show(found)} should be called {meant}",
        why=f"Only a file called exactly {meant} is read, and there is none.",
        hint=f"run `mv {show(found)} {meant}`.",
        place=found,
    )


# What goes into the image


def undecodable_name(path: str, *, target: str = "") -> BuildpackError:
    """A file name, or where a link leads, is not UTF-8."""
    return AppError(
        f"{show(path)} leads to {show(target)}, which is not UTF-8"
        if target
        else f"the file name {show(path)} is not UTF-8",
        why="Names in an image are UTF-8, so that they mean the same on every machine.",
        hint="make the link anew, or name it in .dockerignore."
        if target
        else "rename the file, or name its folder in .dockerignore.",
        place=path,
    )


def whiteout_name(path: str) -> BuildpackError:
    """A name means a deletion in a layer (OCI image specification, layer.md, "Whiteouts")."""
    return AppError(
        f"{show(path)} cannot be in an image",
        why="In an image's layer a name that begins with .wh. means a deletion.",
        hint="rename or remove it, or name it in .dockerignore.",
        place=path,
    )


def escaping_links(links: Sequence[tuple[str, str]]) -> BuildpackError:
    """Symbolic links lead out of the app's folder: pairs of path and target."""
    return AppError(
        "a symbolic link leads out of the app's folder"
        if len(links) == 1
        else f"{len(links)} symbolic links lead out of the app's folder",
        why=bullets([f"{show(path)} -> {show(target)}" for path, target in links])
        + "\n\nOnly the folder is shipped, so in the image there would be nothing there, or something else.",
        hint="put a copy in the place of the link, use a relative link inside the folder, or name it in .dockerignore.",
        place=links[0][0],
    )


def tracked_venv(path: str) -> BuildpackError:
    """Git tracks a virtual environment."""
    return AppError(
        f"git tracks the virtual environment {show(path)}",
        why=f"{show(path)}/pyvenv.cfg makes it one. It works on one machine only; "
        "the image gets its own from Pipfile.lock.",
        hint=f"run `git rm -r --cached {show(path)}`, add `{show(path)}/` to .gitignore, and commit.",
        place=path,
    )


def wanted_venv(path: str, ignore_file: str, line: int, pattern: str) -> BuildpackError:
    """A `!` pattern asks for a virtual environment."""
    return AppError(
        f"{ignore_file} asks for the virtual environment {show(path)}",
        why=f"{ignore_file}:{line} says `{show(pattern)}`. A virtual environment works on one machine only; "
        "the image gets its own from Pipfile.lock.",
        hint=f"remove line {line} of {ignore_file}.",
        place=f"{ignore_file}:{line}",
    )


def folder_is_venv(folder: str) -> BuildpackError:
    """The app's folder itself is a virtual environment."""
    return AppError(
        f"{show(folder)} is a virtual environment",
        why="It holds pyvenv.cfg, so its `bin` and `lib` belong to this machine's Python, not to the app.",
        hint="make the environment in a folder of its own (`python -m venv .venv`), and remove pyvenv.cfg, bin, lib, "
        "lib64 and include here.",
        place="pyvenv.cfg",
    )


def bad_ignore_pattern(name: str, line: int, pattern: str, reason: str) -> BuildpackError:
    """A pattern in an ignore file has no meaning."""
    return AppError(
        f"{name}:{line} holds a pattern that cannot be read",
        why=f"`{show(pattern)}`: {reason}.",
        hint="mend or remove the line; the patterns are those of https://docs.docker.com/build/concepts/context/.",
        place=f"{name}:{line}",
    )


def git_failed(folder: str, reason: str) -> BuildpackError:
    """Git cannot say what it ignores."""
    return AppError(
        "git cannot say which files it ignores",
        why=f"`git ls-files` in {show(folder)} says: {show(reason)}",
        hint=f"mend what `git -C {show(folder)} status` reports.",
    )


# Procfile


class BadLine(NamedTuple):
    """A line of a file that cannot be read; line and column count from 1."""

    line: int
    column: int
    text: str
    told: str


def bad_procfile(name: str, bad: Sequence[BadLine]) -> BuildpackError:
    """Lines of the Procfile cannot be read."""
    blocks = [f"{name}:{one.line}:{one.column}: {one.told}\n{caret(one.text, one.column)}" for one in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        blocks.append(f"and {len(bad) - _SHOWN} more lines")
    return AppError(
        f"{name} has a line that cannot be read"
        if len(bad) == 1
        else f"{name} has {len(bad)} lines that cannot be read",
        why="\n\n".join(blocks),
        hint="a line is `name: command`, for example `web: gunicorn blasto:APP`; the name holds letters, digits, `-` "
        "and `_`, and each name stands once.",
        place=f"{name}:{bad[0].line}",
    )


def empty_procfile(name: str) -> BuildpackError:
    """The Procfile has no process type."""
    return AppError(
        f"{name} names no process type",
        why="It is empty, or holds only comments, so the image would have nothing to run.",
        hint=f"add a line such as `web: gunicorn blasto:APP`, or remove {name} to have the app object looked for.",
        place=name,
    )


def file_of(origin: str) -> str:
    """Return the file, and the line, of an origin such as ``Pipfile.lock (python_version)``; empty for a variable."""
    file = origin.partition(" ")[0]
    return file if "." in file else ""


# The app object


def no_process(looked: Sequence[str], broken: Sequence[str]) -> BuildpackError:
    """There is neither a Procfile nor an app object."""
    why = (
        "There is no Procfile, and no app object was found: `APP`, `app` or `application`, made by a call or imported, "
        "or a factory `create_app` or `make_app`, in a package's __init__.py or in app.py, wsgi.py or main.py."
    )
    if looked:
        why += f"\nLooked at: {', '.join(show(path) for path in looked[:_SHOWN])}."
    if broken:
        why += "\nNot Python that can be read:\n" + bullets(broken)
    return AppError(
        "nothing says what to run",
        why=why,
        hint="add a Procfile with a line such as `web: gunicorn blasto:APP`.",
    )


def several_app_objects(found: Sequence[tuple[str, str, int]]) -> BuildpackError:
    """Several app objects and no Procfile: target, path and line of each."""
    return AppError(
        f"there are {len(found)} app objects and no Procfile to choose one",
        why=bullets([f"{target} ({show(path)}:{line})" for target, path, line in found]),
        hint=f"choose with a Procfile, for example `web: gunicorn {found[0][0]}`.",
        place=f"{found[0][1]}:{found[0][2]}",
    )


def server_not_locked(target: str, server: str) -> BuildpackError:
    """An app without a Procfile would be served by a server that it does not have."""
    return AppError(
        f"{server} is not in Pipfile.lock",
        why=f"There is no Procfile, so {target} would be served by {server}, which Pipfile.lock does not have.",
        hint=f"run `deploy add {server}` and commit Pipfile and Pipfile.lock, or add a Procfile "
        "that starts another server.",
        place="Pipfile.lock",
    )
