"""Errors of the commands that write files for an app: `init`, `lock`, `add`, `remove` and `export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import (
    AppError,
    BuildpackError,
    DependencyError,
    MachineError,
    StackError,
    UsageError,
    bullets,
    show,
)
from deployer.text import folder_text

# init


def no_package_name(name: str, *, asked: bool) -> UsageError:
    """`asked` is true if the command line gave the name."""
    return UsageError(
        f"'{show(name)}' is not a name for a Python package",
        why="Python can import a package whose name has letters, digits and `_`, and begins with a letter.",
        hint="give --package another name." if asked else "name the package: `--package myapp`, or rename the folder.",
    )


def package_name_taken(name: str, why: str) -> UsageError:
    return UsageError(
        f"the package cannot be called {name}",
        why=f"`{name}` {why}.",
        hint=f"name the package: `--package {name}_app`, for example, or rename the folder.",
    )


def in_the_way(place: str, path: str) -> UsageError:
    return UsageError(
        f"{show(place)} is not a folder",
        why=f"A folder is needed there to write {path}. Nothing was written.",
        hint="move it away, or choose another folder, or another name with --package.",
    )


def must_ask(paths: Sequence[str]) -> UsageError:
    return UsageError(
        "there is an app already, and no terminal to ask what to add to it",
        why=f"It lacks:\n{bullets(paths)}",
        hint="pass --yes to add all of them; no file that exists is changed.",
    )


def not_written(place: str, error: OSError, written: Sequence[str]) -> MachineError:
    """`written` are the files that were written before."""
    done = f"These files were written:\n{bullets(written)}" if written else "Nothing was written."
    return MachineError(
        f"{show(place)} cannot be written",
        why=f"The operating system says: {error.strerror or error}. {done}",
        hint="name a folder that you may write to, and that has room; files that exist are kept.",
    )


def not_locked(folder: str, error: BuildpackError) -> DependencyError:
    operand = "" if folder == "." else f" {show(folder)}"
    return DependencyError(
        "everything is written but Pipfile.lock, which pipenv could not make",
        why=f"{error.what[:1].upper()}{error.what[1:]}.\n\n{error.why}" if error.why else error.what,
        hint=f"run `deploy lock{operand}` when the index can be reached.",
    )


# lock, add, remove


def no_pipfile(folder: Path) -> AppError:
    return AppError(
        f"there is no Pipfile in {folder_text(str(folder))}",
        why="pipenv locks the packages that a Pipfile lists.",
        hint="write one, with `flask` and `gunicorn` under [packages], and run the command again.",
    )


def not_a_requirement(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is not a requirement that `deploy add` can write",
        why="A requirement is a name, with extras, versions and a marker if needed, as in 'flask[async]>=3'.",
        hint="write a package from git, a path or a URL into Pipfile by hand, and run `deploy lock`.",
    )


def not_in_pipfile(name: str, *, section: str, other: str) -> AppError:
    """`other` is the section that has the package, or empty."""
    dev = "with" if other == "dev-packages" else "without"
    return AppError(
        f"Pipfile has no {name} under [{section}]",
        why=f"[{other}] has it." if other else "A package that only others need is removed with the last of them.",
        hint=f"run the command again {dev} `--dev`." if other else f"look at the names under [{section}] in Pipfile.",
    )


def no_package_to_move(name: str, known: Sequence[str]) -> UsageError:
    from buildpack.app.nearest import find_nearest

    near = find_nearest(name, known)
    return UsageError(
        f"neither Pipfile nor Pipfile.lock has {name}",
        why="`--upgrade-package` upgrades a package that the app has.",
        hint=f"did you mean `{near}`?" if near else f"add the package with `deploy add {name}`.",
    )


def pipenv_missing(python: str) -> DependencyError:
    """`python` is the interpreter that runs deploy."""
    return DependencyError(
        "pipenv is not installed",
        why=f"{python} -m pipenv does not start.",
        hint="install deploy again with its dependencies, or `pip install pipenv` beside it.",
    )


def lock_failed(folder: Path, output: str, *, edited: bool, built: bool) -> DependencyError:
    """`output` is the end of pipenv's.

    `edited` is true for an add or remove, `built` if a package's own build failed.
    """
    hint = "if the build needs a variable, set it with `--build-env NAME=VALUE`, or below `[build.env]` in deploy.toml."
    if edited:
        return DependencyError(
            f"pipenv could not lock {folder / 'Pipfile'} with the change",
            why=f"Pipfile and Pipfile.lock did not change. The end of pipenv's output:\n\n{output}",
            hint=hint if built else "choose other packages or versions, as pipenv's message suggests.",
        )
    return DependencyError(
        f"pipenv could not lock {folder / 'Pipfile'}",
        why=f"Pipfile.lock did not change. The end of pipenv's output:\n\n{output}",
        hint=hint
        if built
        else "fix the place in Pipfile that pipenv's message names; `deploy lock -v` shows all of its output.",
    )


def stack_not_pinned(error: StackError) -> StackError:
    return StackError(
        f"the stack cannot be pinned: {error.what}",
        why=f"Pipfile.lock is up to date, and deploy.toml did not change. {error.why}",
        hint=f"`deploy lock --no-pin` leaves the stack as it is; {error.hint}",
    )


# export


def bad_user(name: str) -> UsageError:
    return UsageError(f"--user {name!r} is not a user's name", hint="for example --user www-data.")


def image_operand(reference: str) -> UsageError:
    return UsageError(
        f"{reference} is an image, and process types are read from an app's folder",
        hint=f"name the folder; `deploy export compose . --image {reference}` uses the image.",
    )


def foreign_file(paths: Sequence[Path]) -> UsageError:
    names, one = ", ".join(map(str, paths)), len(paths) == 1
    return UsageError(
        f"{names} {'exists' if one else 'exist'} already, and {'is' if one else 'are'} not of this app's export",
        why="Nothing was written.",
        hint="choose another folder with -o, or replace what is there with --force.",
    )


def unportable_path(path: Path, program: str) -> UsageError:
    return UsageError(
        f"{program} cannot use the path {str(path)!r}",
        why="It contains a control character, ends in a space or a backslash, or is not UTF-8.",
        hint="move the folder to a path without these.",
    )


def unportable_variable(name: str, program: str) -> UsageError:
    return UsageError(
        f"{program} refuses the variable {name!r}",
        why="It accepts names of letters, digits and underscores that do not begin with a digit.",
        hint="rename it, or leave it out.",
    )


def unportable_value(name: str, program: str) -> UsageError:
    """The value may be a secret, so it is not shown."""
    return UsageError(
        f"{program} refuses the value of {name}",
        why="It contains a control character, or a byte that is not UTF-8.",
        hint="encode the value, in base64 for example, and decode it in the app.",
    )
