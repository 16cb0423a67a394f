"""Errors of `deploy init`."""

from __future__ import annotations

from collections.abc import Sequence

from buildpack.errors import BuildpackError, DependencyError, MachineError, UsageError, bullets, show


def no_package_name(name: str, *, asked: bool) -> UsageError:
    """Return the error of a name that a package cannot have."""
    return UsageError(
        f"'{show(name)}' is not a name for a Python package",
        why="A package's name has letters, digits and `_`, and begins with a letter, so that it can be imported.",
        hint="give --package another name."
        if asked
        else "name the package: `--package myapp`, or the folder otherwise.",
    )


def package_name_taken(name: str, why: str) -> UsageError:
    """Return the error that a package of this name would stand in the way of another."""
    return UsageError(
        f"the package cannot be called {name}",
        why=f"`{name}` {why}.",
        hint=f"name the package: `--package {name}_app`, for example, or the folder otherwise.",
    )


def in_the_way(place: str, path: str) -> UsageError:
    """Return the error of something else in the place of a folder."""
    return UsageError(
        f"{show(place)} is not a folder",
        why=f"It is where {path} is to be written. Nothing was written.",
        hint="move it away, or choose another folder, or another name with --package.",
    )


def must_ask(paths: Sequence[str]) -> UsageError:
    """Return the error that there is an app already, and nobody to ask."""
    return UsageError(
        "there is an app already, and no terminal to ask what may be added to it",
        why=f"What it lacks:\n{bullets(paths)}",
        hint="say --yes to have all of it written; no file that is there is touched.",
    )


def not_written(place: str, error: OSError, written: Sequence[str]) -> MachineError:
    """Return the error that the system refused a file of the layout; `written` are those that are there by now."""
    done = f"These are written:\n{bullets(written)}" if written else "Nothing was written."
    return MachineError(
        f"{show(place)} cannot be written",
        why=f"The operating system says: {error.strerror or error}. {done}",
        hint="name a folder that you may write to, and that has room; what is there already is kept.",
    )


def not_locked(folder: str, error: BuildpackError) -> DependencyError:
    """Return the error that all is written but the lock."""
    operand = "" if folder == "." else f" {show(folder)}"
    return DependencyError(
        "everything is written but Pipfile.lock, which pipenv could not make",
        why=f"{error.what[:1].upper()}{error.what[1:]}.\n\n{error.why}" if error.why else error.what,
        hint=f"run `deploy lock{operand}` once the index can be reached.",
    )
