"""The wording of what can be wrong with the Python version that an app asks for."""

from __future__ import annotations

from collections.abc import Sequence

from buildpack.errors import AppError, BuildpackError
from buildpack.errors.app import bullets, file_of, show
from buildpack.errors.notice import Notice


def bad_python_version(origin: str, found: str, *, like: str, meant: str = "") -> BuildpackError:
    """A Python version is not written as it must be; `meant` is what can be made out of it."""
    if origin.startswith("Pipfile.lock"):
        hint = f"{_mend(origin, meant or like)}."
    elif meant:
        hint = f"write `{meant}` there."
    else:
        hint = f"write `{like}` there (patch levels then follow by themselves)."
    return AppError(
        f"the Python version in {origin} cannot be read",
        why=f"It says `{show(found)}`. A version is `{like}`, or with a patch level `{like}.7`.",
        hint=hint,
        place=file_of(origin),
    )


def no_python_version(name: str, *, like: str) -> BuildpackError:
    """A file that should hold a version holds none."""
    return AppError(
        f"{name} holds no Python version",
        why="It is empty, or holds only comments (lines that begin with `#`).",
        hint=f"write a version such as `{like}` into {name}, or remove it.",
        place=name,
    )


def conflicting_versions(runtime: str, other: str, origin: str) -> str:
    """Say that runtime.txt and `.python-version` ask for different versions."""
    return (
        f"runtime.txt asks for Python {runtime} and {origin} for {other}: runtime.txt counts; remove runtime.txt, "
        f"and write the version that you mean into .python-version."
    )


def python_not_named(version: str, *, host: bool) -> Notice:
    """No file says which Python the app needs."""
    newest = ", the newest on this machine that the app allows; another machine may choose another" if host else ""
    return Notice(
        what=f"no file names a Python version, so the image gets {version}{newest}",
        hint=f"write `{version}` into .python-version to keep it.",
    )


def requires_another_python(requires: str, version: str, origin: str) -> Notice:
    """pyproject.toml does not allow the Python version that counts."""
    return Notice(
        what=f"requires-python is `{show(requires)}`, and {origin} asks for Python {version}, which counts",
        why="a deployed app has one Python version, and pyproject.toml does not allow this one",
        hint="change one of them so that they agree.",
        place="pyproject.toml",
    )


def several_python_versions(name: str, found: Sequence[tuple[int, str]]) -> BuildpackError:
    """`.python-version` holds several versions: pairs of line and text."""
    return AppError(
        f"{name} holds {len(found)} Python versions",
        why=bullets([f"{name}:{line}: {show(text)}" for line, text in found]) + "\n\nAn image has one Python.",
        hint="keep one; comments are lines that begin with `#`.",
        place=f"{name}:{found[0][0]}",
    )


def invisible_characters(name: str, line: int, text: str) -> BuildpackError:
    """A version is surrounded by characters that do not show."""
    shown = "".join(c if c.isascii() and c.isprintable() else f"<U+{ord(c):04X}>" for c in text)
    return AppError(
        f"{name} holds characters that do not show",
        why=f"{name}:{line}: {shown}",
        hint=f"write the version into {name} again, by hand.",
        place=f"{name}:{line}",
    )


def end_of_life_python(version: str, origin: str, ended: str, oldest: str, suggested: str) -> BuildpackError:
    """The Python version gets no security fixes any more, and nothing here runs on it."""
    return AppError(
        f"Python {version} is no longer supported",
        why=f"{origin} asks for it. It reached its end of life on {ended} and gets no security fixes; images need "
        f"Python {oldest} or later.",
        hint=f"move to Python {suggested}: {_mend(origin, suggested)}.",
        place=file_of(origin),
    )


def unknown_python(version: str, origin: str, newest: str, suggested: str) -> BuildpackError:
    """There is no such Python version, as far as this tool knows."""
    return AppError(
        f"Python {version} is not known",
        why=f"{origin} asks for it. The newest version that this tool knows is {newest}.",
        hint=f"if {version} has been released, update deploy; else {_mend(origin, suggested)}.",
        place=file_of(origin),
    )


def _mend(origin: str, version: str) -> str:
    if origin.startswith("runtime.txt"):
        return f"remove runtime.txt and write `{version}` into .python-version"
    if origin.startswith("Pipfile.lock"):
        key = origin.rpartition(" ")[2].strip("()")
        return f'set `{key} = "{version}"` in Pipfile\'s [requires] and run `deploy lock`'
    return f"write `{version}` into .python-version"
