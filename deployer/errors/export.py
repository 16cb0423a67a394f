"""Errors of `deploy export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import UsageError


def bad_user(name: str) -> UsageError:
    """Return the error of a `--user` that is not a user's name."""
    return UsageError(f"--user {name!r} is not a user's name", hint="for example --user www-data.")


def image_operand(reference: str) -> UsageError:
    """Return the error of an image that is given in place of an app's folder."""
    return UsageError(
        f"{reference} is an image, and process types are read from an app's folder",
        hint=f"name the folder; `deploy export compose . --image {reference}` takes the image.",
    )


def foreign_file(paths: Sequence[Path]) -> UsageError:
    """Return the error of files that are in the way and that somebody else wrote."""
    names, verb = ", ".join(map(str, paths)), "is" if len(paths) == 1 else "are"
    return UsageError(
        f"{names} {verb} there already, and not of this app's export",
        why="Nothing was written.",
        hint="choose another folder with -o, or replace what is there with --force.",
    )


def unportable_path(path: Path, program: str) -> UsageError:
    """Return the error of a path that a program's files cannot hold."""
    return UsageError(
        f"{program} cannot use the path {str(path)!r}",
        why="It holds a control character, ends in a space or a backslash, or is not UTF-8.",
        hint="move the folder to a plainer path.",
    )


def unportable_variable(name: str, program: str) -> UsageError:
    """Return the error of a variable whose name a program refuses."""
    return UsageError(
        f"{program} refuses the variable {name!r}",
        why="There a name is made of letters, digits and underscores, and does not begin with a digit.",
        hint="rename it, or leave it out.",
    )


def unportable_value(name: str, program: str) -> UsageError:
    """Return the error of a variable whose value a program refuses; the value may be a secret, so it is not shown."""
    return UsageError(
        f"{program} refuses the value of {name}",
        why="It holds a control character, or a byte that is not UTF-8.",
        hint="encode the value, in base64 for example, and decode it in the app.",
    )
