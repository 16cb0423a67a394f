"""Errors of `deploy lock`, `add` and `remove`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import AppError, DependencyError, StackError, UsageError
from deployer.text import folder_text


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
    """Return the error of a stack whose digest cannot be looked up, after Pipfile.lock was written."""
    return StackError(
        f"the stack cannot be pinned: {error.what}",
        why=f"Pipfile.lock is up to date, and deploy.toml did not change. {error.why}",
        hint=f"`deploy lock --no-pin` leaves the stack as it is; {error.hint}",
    )
