"""Errors of `deploy export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import UsageError


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
