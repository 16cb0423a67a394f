"""Errors of Pipfile, of Pipfile.lock, and of the Python version that an app asks for."""

from __future__ import annotations

from collections.abc import Sequence

from buildpack.bounded import series_of
from buildpack.errors import AppError, BuildpackError, DependencyError, Notice, UsageError, bullets, file_of, show

_LOCK = "run `deploy lock`, commit Pipfile.lock, and build again."


def no_dependencies(found: str | None) -> BuildpackError:
    """`found` is another file that lists dependencies."""
    if found is None:
        return AppError(
            "there is no Pipfile.lock",
            why="An app is a folder with a Pipfile.lock, which lists exactly what to install.",
            hint="check that this is the app's folder, or run `deploy init` to begin.",
        )
    into = (
        f"`pipenv install -r {found}` makes a Pipfile of it"
        if found.endswith(".txt")
        else f"write the packages that {found} lists into a Pipfile"
    )
    return AppError(
        f"there is {found}, but no Pipfile.lock",
        why=f"Only Pipfile.lock lists exactly what to install: each version, with its hashes. {found} does not.",
        hint=f"{into}; then run `deploy lock`, and commit Pipfile and Pipfile.lock.",
        place=found,
    )


def not_locked() -> BuildpackError:
    return AppError(
        "there is a Pipfile, but no Pipfile.lock",
        why="Pipfile lists what the app asks for; only Pipfile.lock lists exactly what to install.",
        hint="run `deploy lock`, commit Pipfile.lock (check that .gitignore does not name it), and build again.",
        place="Pipfile",
    )


def other_locks(found: Sequence[str]) -> BuildpackError:
    return AppError(
        f"{' and '.join(['Pipfile.lock', *found]) if len(found) == 1 else 'several locks'} say what to install",
        why=bullets(["Pipfile.lock", *found])
        + "\n\nThey belong to different tools, and deploy cannot know which one counts.",
        hint=f"keep Pipfile.lock and remove {' and '.join(found)}.",
        place=found[0],
    )


def no_pipfile() -> str:
    return "there is no Pipfile, so deploy cannot tell if Pipfile.lock is current."


def pipfile_changed() -> str:
    return "Pipfile changed since Pipfile.lock was made, but all it asks for is there; `deploy lock` refreshes it."


def no_lock(reason: str) -> BuildpackError:
    return AppError(
        "Pipfile.lock is not a lock of pipenv", why=f"Pipfile.lock: {reason}.", hint=_LOCK, place="Pipfile.lock"
    )


def other_specification(found: str) -> BuildpackError:
    return AppError(
        "Pipfile.lock has an unknown format",
        why=f"Its `pipfile-spec` is {show(found)}; deploy reads 6, which pipenv has written since 2018.",
        hint=_LOCK,
        place="Pipfile.lock",
    )


def bad_entries(bad: Sequence[str]) -> BuildpackError:
    return AppError(
        "Pipfile.lock has an entry that cannot be used"
        if len(bad) == 1
        else f"Pipfile.lock has {len(bad)} entries that cannot be used",
        why=bullets(bad) + "\n\nEach entry needs a pinned version and its sha256 hashes, or a commit, or a local path.",
        hint=_LOCK,
        place=bad[0].partition(": ")[0],
    )


def misnamed(wanted: str, line: int, name: str) -> str:
    return f"; if {_pipfile(line)} lists it as `{show(wanted)}`, write `{show(name)}` there"


def refused_variables(refused: Sequence[str], *, file: str) -> BuildpackError:
    then = " and run the command again." if file == "Pipfile" else f" {_LOCK}"
    return AppError(
        f"{file} has variables where deploy does not expand them",
        why=bullets(refused) + f"\n\n{file} decides which server gets the value of a variable. The login of an address "
        "may be a variable. In a source the host and parts of the path may be one, too. Variables that belong to "
        "deploy (DEPLOY_*, DOCKER_*, proxies) go to no server.",
        hint=f"change the address in Pipfile,{then}",
        place=file,
    )


def bad_pipfile(bad: Sequence[str]) -> BuildpackError:
    return AppError(
        "Pipfile has an entry that cannot be used"
        if len(bad) == 1
        else f"Pipfile has {len(bad)} entries that cannot be used",
        why=bullets(bad),
        hint='an entry is `name = "*"`, or `name = {version = "*"}`.',
        place=bad[0].partition(": ")[0],
    )


def stale_lock(differences: Sequence[str]) -> BuildpackError:
    return AppError("Pipfile.lock does not match Pipfile", why="\n".join(differences), hint=_LOCK, place="Pipfile.lock")


def stale_dev_packages(differences: Sequence[str]) -> Notice:
    more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    return Notice(
        what="Pipfile.lock does not match the dev-packages of Pipfile",
        why=show(" ".join(differences[:3])).rstrip(".") + more,
        hint="run `deploy lock`, and commit Pipfile.lock.",
        place="Pipfile.lock",
    )


def unknown_category(category: str, known: Sequence[str]) -> BuildpackError:
    return UsageError(
        f"Pipfile.lock has no category `{show(category)}`",
        why=f"Beside the packages of `default` it has: {', '.join(f'`{show(name)}`' for name in known)}.",
        hint="choose one of these, or add the category to Pipfile and run `deploy lock`.",
    )


def missing_variables(where: str, names: Sequence[str]) -> BuildpackError:
    variables = " and ".join(f"${{{show(name)}}}" for name in names)
    return DependencyError(
        f"{' and '.join(show(name) for name in names)} {'is' if len(names) == 1 else 'are'} not set",
        why=f"{where[:1].upper()}{where[1:]} has {variables} in its address in Pipfile.lock.",
        hint=f"set {' and '.join(show(name) for name in names)} in the environment of `deploy`.",
    )


def bad_python_version(origin: str, found: str, *, like: str, meant: str = "") -> BuildpackError:
    """`meant` is the version that the author probably meant."""
    if origin.startswith("Pipfile.lock"):
        hint = f"{_fix(origin, meant or like)}."
    elif meant:
        hint = f"write `{meant}` there."
    else:
        hint = f"write `{like}` there; deploy then takes the newest patch level."
    return AppError(
        f"the Python version in {origin} cannot be read",
        why=f"It says `{show(found)}`. A version is `{like}`, or with a patch level `{like}.7`.",
        hint=hint,
        place=file_of(origin),
    )


def no_python_version(name: str, *, like: str) -> BuildpackError:
    return AppError(
        f"{name} holds no Python version",
        why="It is empty, or holds only comments (lines that begin with `#`).",
        hint=f"write a version such as `{like}` into {name}, or remove it.",
        place=name,
    )


def conflicting_versions(runtime: str, other: str, origin: str) -> str:
    return (
        f"runtime.txt asks for Python {runtime} and {origin} for {other}: runtime.txt counts; remove runtime.txt, "
        f"and write the version that you mean into .python-version."
    )


def python_not_named(version: str, *, host: bool) -> Notice:
    newest = ", the newest on this machine that the app allows; another machine may choose another" if host else ""
    return Notice(
        what=f"no file names a Python version, so the image gets {version}{newest}",
        hint=f"write `{version}` into .python-version to keep it.",
    )


def requires_another_python(requires: str, version: str, origin: str) -> Notice:
    return Notice(
        what=f"requires-python is `{show(requires)}`, and {origin} asks for Python {version}, which counts",
        why="a deployed app has one Python version, and pyproject.toml does not allow this one",
        hint="change one of them so that they agree.",
        place="pyproject.toml",
    )


def several_python_versions(name: str, found: Sequence[tuple[int, str]]) -> BuildpackError:
    """`found` are pairs of line and text."""
    return AppError(
        f"{name} holds {len(found)} Python versions",
        why=bullets([f"{name}:{line}: {show(text)}" for line, text in found]) + "\n\nAn image has one Python.",
        hint="keep one; comments are lines that begin with `#`.",
        place=f"{name}:{found[0][0]}",
    )


def invisible_characters(name: str, line: int, text: str) -> BuildpackError:
    shown = "".join(c if c.isascii() and c.isprintable() else f"<U+{ord(c):04X}>" for c in text)
    return AppError(
        f"{name} holds characters that do not show",
        why=f"{name}:{line}: {shown}",
        hint=f"write the version into {name} again, by hand.",
        place=f"{name}:{line}",
    )


def end_of_life_python(version: str, origin: str, ended: str, oldest: str, suggested: str) -> BuildpackError:
    return AppError(
        f"Python {version} is no longer supported",
        why=f"{origin} asks for it. It reached its end of life on {ended} and gets no security fixes; images need "
        f"Python {oldest} or later.",
        hint=f"move to Python {suggested}: {_fix(origin, suggested)}.",
        place=file_of(origin),
    )


def unknown_python(version: str, origin: str, newest: str, suggested: str) -> BuildpackError:
    return AppError(
        f"deploy does not know Python {version}",
        why=f"{origin} asks for it. The newest version that deploy knows is {newest}.",
        hint=f"if {version} has been released, update deploy; else {_fix(origin, suggested)}.",
        place=file_of(origin),
    )


def _fix(origin: str, version: str) -> str:
    if origin.startswith("runtime.txt"):
        return f"remove runtime.txt and write `{version}` into .python-version"
    if origin.startswith("Pipfile.lock"):
        key = origin.rpartition(" ")[2].strip("()")
        return f'set `{key} = "{version}"` in Pipfile\'s [requires] and run `deploy lock`'
    return f"write `{version}` into .python-version"


def lock_of_another_python(asked: str, origin: str, locked: str) -> Notice:
    place = origin if ":" in origin else ""
    subject = "this" if place else origin
    return Notice(
        what=f"{subject} asks for Python {asked}, and Pipfile.lock was made for {show(locked)}",
        why="what a lock holds depends on the version",
        hint=f'write `python_version = "{series_of(asked)}"` into Pipfile\'s [requires] and run `deploy lock`.',
        place=place,
    )


def not_in_lock(wanted: str, line: int) -> str:
    return f"Pipfile asks for {wanted}; Pipfile.lock does not have it ({_pipfile(line)})."


def locked_otherwise(wanted: str, line: int, locked: str) -> str:
    return f"Pipfile asks for {wanted}; Pipfile.lock pins {locked} ({_pipfile(line)})."


def locked_for_another_python(wanted: str, line: int, locked: str | None) -> str:
    made = show(locked) if locked else "no version in particular"
    return f"Pipfile asks for Python {show(wanted)}; Pipfile.lock was made for {made} ({_pipfile(line)})."


def _pipfile(line: int) -> str:
    return f"Pipfile:{line}" if line else "Pipfile"


def credential_in_lock(source: str) -> str:
    return (
        f"the source `{show(source)}` has a credential in Pipfile.lock; write ${{NAME}} in its place in Pipfile, keep "
        "the value in the environment, and run `deploy lock`."
    )


def unverified_source(source: str) -> str:
    return f"deploy does not verify the server of the source `{show(source)}` (verify_ssl = false)."


def deprecated_runtime_txt(version: str) -> str:
    return (
        f"runtime.txt is deprecated: remove it, and write `{version}` into .python-version, which pyenv and uv read "
        "too."
    )


def python_without_fixes(version: str, origin: str, ended: str, suggested: str) -> str:
    return (
        f"Python {version} ({origin}) reached its end of life on {ended} and gets no security fixes; move to "
        f"{suggested}."
    )


def python_preview(version: str, origin: str, due: str) -> str:
    return f"Python {version} ({origin}) is due on {due}; until then it is a preview."
