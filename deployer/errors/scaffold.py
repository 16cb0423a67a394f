"""Errors of `deploy init`."""

from __future__ import annotations

from collections.abc import Sequence

from buildpack.errors import BuildpackError, DependencyError, MachineError, UsageError, bullets, show


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
    """Return the error of a file in the place where a folder is needed to write `path`."""
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
