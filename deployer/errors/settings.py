"""Errors and warnings of variables, labels and times that a command is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import AppError, UsageError


def env_file_missing(path: Path) -> UsageError:
    return UsageError(f"no such file: {path}", hint="name an existing file of NAME=value lines.")


def env_file_undecodable(path: Path, offset: int) -> AppError:
    return AppError(
        f"{path} is not UTF-8",
        why=f"The byte at offset {offset} is part of no character.",
        hint="save the file as UTF-8 and try again.",
    )


def env_file_too_large(path: Path, most: int) -> AppError:
    return AppError(
        f"{path} is too large",
        why=f"deploy reads at most {most >> 20} MB of variables.",
        hint="remove what is not a variable of the app.",
    )


def env_file_expands(path: Path, line: int, most: int) -> AppError:
    return AppError(
        f"{path} expands to more than {most >> 20} MB",
        why=f"{path}:{line} refers to variables whose values are too long; no process can be started with them.",
        hint=f"remove a `${{NAME}}` from {path}:{line}.",
    )


def env_file_unreadable(path: Path, lines: Sequence[int]) -> AppError:
    """The lines may be secret, so they are not shown."""
    places = ", ".join(f"{path}:{line}" for line in lines)
    return AppError(
        f"{path} has {'a line' if len(lines) == 1 else f'{len(lines)} lines'} that cannot be read",
        why=f"{places}: a line is NAME=value; a quote that opens must close, and nothing may follow it.",
        hint="fix it, or begin it with `#`.",
    )


def variables_required(names: Sequence[str]) -> AppError:
    subject, pronoun = ("It has", "it") if len(names) == 1 else ("They have", "them")
    return AppError(
        f"app.json requires {_listed(names)}",
        why=f"{subject} no value; nothing was started.",
        hint=f"set {pronoun} in .env, with `-e {names[0]}=VALUE`, or with `--env-file FILE`.",
        place="app.json",
    )


def variables_lacking(names: Sequence[str], *, required: bool, own_file: bool) -> str:
    """Return the warning of variables without a value that app.json requires, or only describes.

    `own_file` is true if the command reads the app's .env.
    """
    verb = "requires" if required else "describes"
    have, pronoun = ("has", "it") if len(names) == 1 else ("have", "them")
    places = "in .env or with -e" if own_file else "with -e or under environments.test.env in app.json"
    otherwise = "" if required else ', or write `"required": false` in app.json'
    return f"app.json {verb} {_listed(names)}, which {have} no value here; set {pronoun} {places}{otherwise}."


def secrets_made(names: Sequence[str], place: Path) -> str:
    return f"made a secret for {_listed(names)} (app.json asks for it); it is kept in {place}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def bad_health_host(text: str) -> UsageError:
    return UsageError(
        f"--health-host {text[:60]!r} is not the name of a host", hint="for example --health-host example.com"
    )


def bad_assignment(text: str) -> UsageError:
    name = text.partition("=")[0]
    return UsageError(
        f"-e {name!r} sets no variable",
        why="A variable is given as NAME=value." if "=" not in text else "The name before the equals sign is empty.",
        hint=f"write -e {name or 'NAME'}=value.",
    )


def bad_label(text: str) -> UsageError:
    return UsageError(
        f"--label {text!r} is not NAME=value", hint="write `--label org.opencontainers.image.version=1.0`."
    )


def undecodable_label(text: str) -> UsageError:
    return UsageError(
        f"--label {text!r} is not UTF-8",
        why="Labels are written into the image as UTF-8.",
        hint="write it in UTF-8; `locale` shows the encoding of this terminal.",
    )


def reserved_label(name: str) -> UsageError:
    return UsageError(
        f"--label {name}: labels that begin with `dev.deploy.` are set by the build",
        hint="choose a prefix of your own, such as com.example.",
    )


def bad_epoch(text: str) -> UsageError:
    return UsageError(
        f"SOURCE_DATE_EPOCH is not a number of seconds: {text[:40]!r}",
        hint="set it to the commit's time, `git log -1 --format=%ct`, or unset it.",
    )
