"""Errors of an app's folder: its files, its Procfile and its app object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from buildpack.errors import AppError, BuildpackError, MachineError, Notice, UsageError, bullets, caret, show

_SHOWN = 10


# The folder


def no_such_folder(folder: str) -> BuildpackError:
    return UsageError(
        f"there is no folder {show(folder)}",
        why="deploy builds the app in the folder that you name, else in the current one.",
        hint="check the path.",
    )


def not_a_folder(folder: str) -> BuildpackError:
    return UsageError(
        f"{show(folder)} is not a folder",
        why="deploy needs the folder that holds the app's Pipfile.lock.",
        hint="name the folder instead of a file in it.",
    )


def empty_folder(folder: str) -> BuildpackError:
    return AppError(
        f"there is nothing to build in {show(folder)}",
        why="The folder is empty, or .dockerignore, .slugignore or git leaves out all its files.",
        hint="name the folder that holds the app's Pipfile.lock.",
    )


def unreadable(name: str, reason: str) -> BuildpackError:
    return MachineError(
        f"{show(name)} cannot be read",
        why=f"The system says: {reason}.",
        hint=f"let this user read {show(name)}, or name it in .dockerignore.",
        place=name,
    )


def not_a_file(name: str) -> BuildpackError:
    return AppError(
        f"{show(name)} is not a file",
        why="deploy needs a regular file of this name.",
        hint=f"remove or rename {show(name)}.",
        place=name,
    )


def dangling(name: str, target: str) -> BuildpackError:
    return AppError(
        f"{show(name)} is a link to a file that does not exist",
        why=f"It points to {show(target)}.",
        hint="fix the link, or replace it by a file.",
        place=name,
    )


def leads_out(name: str, target: str) -> BuildpackError:
    return AppError(
        f"{show(name)} is a link that leads out of the app's folder",
        why=f"It leads to {show(target)}. deploy reads an app's files only from its folder, or from visible folders of "
        "the same git work tree.",
        hint="replace the link by a copy of the file.",
        place=name,
    )


def too_large(name: str, size: int, limit: int) -> BuildpackError:
    return AppError(
        f"{show(name)} is too large",
        why=f"It has {size:,} bytes, and deploy reads at most {limit:,}.",
        hint=f"check that {show(name)} is the right file.",
        place=name,
    )


def not_utf8(name: str, line: int, byte: int) -> BuildpackError:
    utf16 = " It looks like UTF-16, which PowerShell writes for `>`." if byte in (0xFE, 0xFF) and line == 1 else ""
    return AppError(
        f"{show(name)} is not UTF-8",
        why=f"Line {line} holds the byte 0x{byte:02x}.{utf16}",
        hint=f"save {show(name)} as UTF-8.",
        place=f"{name}:{line}",
    )


def misspelt_file(found: str, meant: str) -> BuildpackError:
    return AppError(
        f"{show(found)} should be called {meant}",
        why="deploy reads only a file with exactly that name, and there is none.",
        hint=f"run `mv {show(found)} {meant}`.",
        place=found,
    )


# Files of the image


def undecodable_name(path: str, *, target: str = "") -> BuildpackError:
    return AppError(
        f"{show(path)} leads to {show(target)}, which is not UTF-8"
        if target
        else f"the file name {show(path)} is not UTF-8",
        why="Names in an image are UTF-8, so that they mean the same on every machine.",
        hint="make the link again, or name it in .dockerignore."
        if target
        else "rename the file, or name its folder in .dockerignore.",
        place=path,
    )


def whiteout_name(path: str) -> BuildpackError:
    return AppError(
        f"{show(path)} cannot be in an image",
        why="In an image's layer a name that begins with .wh. means a deletion.",
        hint="rename or remove it, or name it in .dockerignore.",
        place=path,
    )


def escaping_links(links: Sequence[tuple[str, str]]) -> BuildpackError:
    """`links` are pairs of path and target."""
    return AppError(
        "a symbolic link leads out of the app's folder"
        if len(links) == 1
        else f"{len(links)} symbolic links lead out of the app's folder",
        why=bullets([f"{show(path)} -> {show(target)}" for path, target in links])
        + "\n\nThe image gets only this folder, so there the link would lead to nothing, or to another file.",
        hint="replace the link by a copy, make it relative and inside the folder, or name it in .dockerignore.",
        place=links[0][0],
    )


def tracked_venv(path: str) -> BuildpackError:
    return AppError(
        f"git tracks the virtual environment {show(path)}",
        why=f"{show(path)}/pyvenv.cfg shows that it is one. It works on one machine only; "
        "the image gets its own from Pipfile.lock.",
        hint=f"run `git rm -r --cached {show(path)}`, add `{show(path)}/` to .gitignore, and commit.",
        place=path,
    )


def wanted_venv(path: str, ignore_file: str, line: int, pattern: str) -> BuildpackError:
    return AppError(
        f"{ignore_file} brings back the virtual environment {show(path)}",
        why=f"{ignore_file}:{line} says `{show(pattern)}`. A virtual environment works on one machine only; "
        "the image gets its own from Pipfile.lock.",
        hint=f"remove line {line} of {ignore_file}.",
        place=f"{ignore_file}:{line}",
    )


def folder_is_venv(folder: str) -> BuildpackError:
    return AppError(
        f"{show(folder)} is a virtual environment",
        why="It holds pyvenv.cfg, so its `bin` and `lib` belong to this machine's Python, not to the app.",
        hint="make the environment in a folder of its own (`python -m venv .venv`), and remove pyvenv.cfg, bin, lib, "
        "lib64 and include here.",
        place="pyvenv.cfg",
    )


def bad_ignore_pattern(name: str, line: int, pattern: str, reason: str) -> BuildpackError:
    return AppError(
        f"{name}:{line} holds a pattern that cannot be read",
        why=f"`{show(pattern)}`: {reason}.",
        hint="fix or remove the line; the patterns are those of https://docs.docker.com/build/concepts/context/.",
        place=f"{name}:{line}",
    )


def git_failed(folder: str, reason: str) -> BuildpackError:
    return AppError(
        "git cannot list the files that it ignores",
        why=f"`git ls-files` in {show(folder)} says: {show(reason)}",
        hint=f"fix what `git -C {show(folder)} status` reports.",
    )


# Procfile


class BadLine(NamedTuple):
    """A line of a file that cannot be read; line and column count from 1."""

    line: int
    column: int
    text: str
    reason: str


def bad_procfile(name: str, bad: Sequence[BadLine]) -> BuildpackError:
    blocks = [f"{name}:{one.line}:{one.column}: {one.reason}\n{caret(one.text, one.column)}" for one in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        blocks.append(f"and {len(bad) - _SHOWN} more lines")
    return AppError(
        f"{name} has a line that cannot be read"
        if len(bad) == 1
        else f"{name} has {len(bad)} lines that cannot be read",
        why="\n\n".join(blocks),
        hint="a line is `name: command`, for example `web: gunicorn blasto:APP`; the name holds letters, digits, `-` "
        "and `_`, and each name is there once.",
        place=f"{name}:{bad[0].line}",
    )


def empty_procfile(name: str) -> BuildpackError:
    return AppError(
        f"{name} names no process type",
        why="It is empty, or holds only comments, so the image would have nothing to run.",
        hint=f"add a line such as `web: gunicorn blasto:APP`, or remove {name}, so that deploy looks for an app "
        "object.",
        place=name,
    )


# The app object


def no_process(looked: Sequence[str], broken: Sequence[str]) -> BuildpackError:
    why = (
        "There is no Procfile, and no app object was found: `APP`, `app` or `application`, made by a call or imported, "
        "or a factory `create_app` or `make_app`, in a package's __init__.py or in app.py, wsgi.py or main.py."
    )
    if looked:
        why += f"\nFiles searched: {', '.join(show(path) for path in looked[:_SHOWN])}."
    if broken:
        why += "\nFiles that are not valid Python:\n" + bullets(broken)
    return AppError(
        "nothing says what to run",
        why=why,
        hint="add a Procfile with a line such as `web: gunicorn blasto:APP`.",
    )


def several_app_objects(found: Sequence[tuple[str, str, int]]) -> BuildpackError:
    return AppError(
        f"there are {len(found)} app objects and no Procfile to choose one",
        why=bullets([f"{target} ({show(path)}:{line})" for target, path, line in found]),
        hint=f"choose with a Procfile, for example `web: gunicorn {found[0][0]}`.",
        place=f"{found[0][1]}:{found[0][2]}",
    )


def server_not_locked(target: str, server: str) -> BuildpackError:
    return AppError(
        f"{server} is not in Pipfile.lock",
        why=f"There is no Procfile, so {target} would be served by {server}, which Pipfile.lock does not have.",
        hint=f"run `deploy add {server}` and commit Pipfile and Pipfile.lock, or add a Procfile "
        "that starts another server.",
        place="Pipfile.lock",
    )


def credential_left_out(name: str) -> str:
    return f"{name} holds a credential, so it is left out of the image."


def almost_named(found: str, meant: str) -> Notice:
    return Notice(
        what=f"deploy does not read {show(found)}, and there is no {meant}",
        hint=f"if it is meant to be one, run `mv {show(found)} {meant}`.",
        place=found,
    )


def indented_line(place: str) -> str:
    return f"{place}: the line is indented; honcho and dokku skip such a line."


def web_in_capitals(place: str, name: str) -> str:
    return f"{place}: only `web` gets requests, here as on Heroku, and this is `{name}`; write `web`."


def renamed_process(place: str, name: str, renamed: str) -> str:
    return f"{place}: Cloud Native Buildpacks rename `{name}` to `{renamed}`."


def space_before_colon(place: str) -> str:
    return (
        f"{place}: there is a space before the colon; honcho and dokku skip such a line, "
        "and Cloud Native Buildpacks refuse it."
    )


def git_not_asked(folder: str) -> str:
    return (
        f"{show(folder)}/.git belongs to another user, so deploy does not ask git, and ships files that git "
        "ignores, unless .dockerignore names them."
    )


def git_not_installed() -> str:
    return "git is not installed here, so deploy ships files that git ignores, unless .dockerignore names them."


def neither_file_nor_link(path: str) -> str:
    return f"{show(path)} is left out: it is neither a file, a folder nor a link."
