"""Errors of `deploy lock`, `add` and `remove`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import (
    AppError,
    DependencyError,
    StackError,
    UsageError,
)


def no_pipfile(folder: Path) -> AppError:
    """Return the error that there is nothing to lock."""
    return AppError(
        f"there is no Pipfile in {folder}",
        why="pipenv locks what a Pipfile asks for.",
        hint="write one, with `flask` and `gunicorn` under [packages], and run `deploy lock` again.",
    )


def not_a_requirement(text: str) -> UsageError:
    """Return the error of an operand of `deploy add` that is not a name with a version."""
    return UsageError(
        f"{text!r} is not a requirement that `deploy add` can write",
        why="A requirement is a name, with extras, versions and a marker if need be, as in 'flask[async]>=3'.",
        hint="write a package from git, a path or a URL into Pipfile by hand, and run `deploy lock`.",
    )


def not_in_pipfile(name: str, *, section: str, other: str) -> AppError:
    """Return the error of a package that Pipfile does not ask for; `other` is the section that has it, or empty."""
    dev = "with" if other == "dev-packages" else "without"
    return AppError(
        f"Pipfile has no {name} under [{section}]",
        why=f"[{other}] has it." if other else "A package that only others need goes with the last of them.",
        hint=f"run the command again {dev} `--dev`." if other else f"look at the names under [{section}] in Pipfile.",
    )


def no_package_to_move(name: str, known: Sequence[str]) -> UsageError:
    """Return the error of a package that the app does not have, so that `deploy lock -P` cannot move it."""
    from buildpack.app.nearest import find_nearest

    near = find_nearest(name, known)
    return UsageError(
        f"neither Pipfile nor Pipfile.lock has {name}",
        why="`--upgrade-package` moves a package that the app has to its newest version.",
        hint=f"did you mean `{near}`?" if near else f"add the package with `deploy add {name}`.",
    )


def pipenv_missing(python: str) -> DependencyError:
    """Return the error that pipenv is not installed beside us."""
    return DependencyError(
        "pipenv is not installed",
        why=f"{python} -m pipenv does not start.",
        hint="install deploy again with its dependencies, or `pip install pipenv` beside it.",
    )


def lock_failed(folder: Path, output: str, *, edited: bool, built: bool) -> DependencyError:
    """Return the error of a lock that failed; `output` is the end of what pipenv said.

    `edited` is true for an add or remove, `built` if a package's own build failed.
    """
    hint = (
        "if the build needs a variable, give it with `--build-env NAME=VALUE`, or below `[build.env]` in deploy.toml."
    )
    if edited:
        return DependencyError(
            f"pipenv could not lock {folder / 'Pipfile'} with the change",
            why=f"Pipfile and Pipfile.lock are as they were. The end of what pipenv said:\n\n{output}",
            hint=hint if built else "ask for other packages or versions, where pipenv's message points.",
        )
    return DependencyError(
        f"pipenv could not lock {folder / 'Pipfile'}",
        why=f"Pipfile.lock is as it was. The end of what pipenv said:\n\n{output}",
        hint=hint
        if built
        else "fix the Pipfile where pipenv's message points, and run `deploy lock -v` to see all of it.",
    )


def stack_not_pinned(error: StackError) -> StackError:
    """Return the error of a stack whose digest cannot be looked up, once Pipfile.lock is refreshed."""
    return StackError(
        f"the stack cannot be pinned: {error.what}",
        why=f"Pipfile.lock is refreshed, and deploy.toml is as it was. {error.why}",
        hint=f"`deploy lock --no-pin` leaves the stack as it is; {error.hint}",
    )
