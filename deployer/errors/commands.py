"""Errors of command lines, of the variables that they set, and of the machine on which they run."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import AppError, MachineError, UsageError
from buildpack.errors.oci import DISK_FULL


def no_current_folder() -> MachineError:
    return MachineError(
        "the current folder is gone",
        why="It was removed after this shell entered it, or this user may not enter it any more.",
        hint="go to a folder that exists: `cd` alone goes to your home folder.",
    )


def machine_failed(error: OSError | MemoryError) -> MachineError | None:
    """Return the error of an operating system's refusal; None if it is a bug of ours."""
    number = errno.ENOMEM if isinstance(error, MemoryError) else error.errno
    where = f" {error.filename}" if isinstance(error, OSError) and error.filename else ""
    said = f"The operating system says: {os.strerror(number or 0)}."
    if number in DISK_FULL:
        return MachineError(
            f"the disk is full{':' if where else ''}{where}",
            why="No incomplete file was left under its final name.",
            hint="free some space, or set DEPLOY_HOME to a folder on another disk, and run the command again.",
        )
    if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return MachineError(
            f"not permitted:{where or ' (no path named)'}",
            why=said,
            hint="check the owner and mode of that path, or set DEPLOY_HOME to a folder that you may write to.",
        )
    if number == errno.ENAMETOOLONG:
        return MachineError(
            f"a path is too long{':' if where else ''}{where}",
            why="On most file systems a name may have 255 bytes, and a path 4096.",
            hint="use a shorter one.",
        )
    if number in {errno.EMFILE, errno.ENFILE}:
        return MachineError(
            "too many open files",
            why=said,
            hint="raise the limit with `ulimit -n 4096`, and run the command again.",
        )
    if number in {errno.ENOMEM, errno.EAGAIN}:
        return MachineError(
            "this machine has no memory left, or no room for another process",
            why=said,
            hint="end other programs, or raise the container's memory limit or the shell's (`ulimit -a` shows it), "
            "and try again.",
        )
    if number in {errno.EIO, errno.EFBIG, errno.ESTALE, errno.ENODEV}:
        return MachineError(
            f"a disk fails{':' if where else ''}{where}",
            why=said,
            hint="check the disk and `ulimit -f`, or set DEPLOY_HOME to a folder on another disk.",
        )
    return None


def bad_size(option: str, text: str) -> UsageError:
    return UsageError(
        f"{option} {text[:40]!r} is not an amount of bytes",
        why="It is a number with a unit: KB, MB, GB, TB, or KiB, MiB, GiB, TiB.",
        hint=f"for example {option} 2GB.",
    )


def bad_age(option: str, text: str) -> UsageError:
    return UsageError(
        f"{option} {text[:40]!r} is not a length of time",
        why="It is a number with a unit: s, m, h, d or w.",
        hint=f"for example {option} 7d.",
    )


def nothing_to_prune() -> UsageError:
    return UsageError("no limit is given", hint="name one: `--keep-storage 2GB`, or `--older-than 7d`.")


def store_unwritable(root: Path) -> MachineError:
    return MachineError(
        f"the store at {root} cannot be written, so nothing was removed",
        why="It belongs to another user, or its disk is read-only.",
        hint="prune it as its owner, or set DEPLOY_HOME to the store that you mean.",
    )


# Operands


def operand_empty() -> UsageError:
    return UsageError(
        "an operand is empty",
        why="A shell passes an empty operand for a variable that is not set.",
        hint="name the app's folder, or `.` for this one.",
    )


def bad_operand(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is not a process type",
        why="After the app or the image come process types, as TYPE or TYPE=N.",
        hint="for example `web=2 worker`; a command of its own comes after `--`.",
    )


def no_such_folder(text: str) -> UsageError:
    """Return the error of a first operand that can only be a path, and does not exist."""
    return UsageError(
        f"there is no folder {text}",
        why="The name of an image needs a tag or digest here, and process types have no slash.",
        hint=f"check the path; the image would be {text}:latest." if "=" not in text else "check the path.",
    )


def bad_quantity(name: str, count: str, most: int) -> UsageError:
    return UsageError(
        f"{name}={count}: {count!r} is not a number of processes",
        why=f"It is a whole number from 0 to {most}.",
        hint=f"for example {name}=2.",
    )


def counted_twice(name: str) -> UsageError:
    return UsageError(f"{name!r} is named twice", hint=f"write {name}=2 to start two of them.")


def command_missing() -> UsageError:
    return UsageError("no command follows `--`", hint="for example `deploy run -- flask shell`.")


def command_with_types(names: Sequence[str]) -> UsageError:
    return UsageError(
        f"both a process type ({', '.join(names)}) and a command are given",
        why="The command after `--` runs instead of the app's processes.",
        hint="leave one of them out.",
    )


def unknown_type(name: str, known: Sequence[str], where: str) -> UsageError:
    """`where` names the app or image."""
    from buildpack.app.nearest import find_nearest

    near = find_nearest(name, known)
    return UsageError(
        f"{where} has no process type {name!r}",
        why=f"It has {', '.join(known)}.",
        hint=f"did you mean {near!r}?" if near else "name one of these.",
    )


def neither_folder_nor_type(name: str, known: Sequence[str]) -> UsageError:
    """`known` are the process types of the current folder."""
    from buildpack.app.nearest import find_nearest

    near = find_nearest(name, known)
    return UsageError(
        f"{name!r} is neither a folder nor a process type",
        why=f"This folder's process types are {', '.join(known)}." if known else "This folder has no Procfile.",
        hint=f"did you mean {near!r}?" if near else "name the folder of an app, or go into one.",
    )


def nothing_to_start(known: Sequence[str], where: str) -> UsageError:
    return UsageError(
        f"there is nothing to start in {where}",
        why=f"Every process type ({', '.join(known)}) is left out or has the quantity 0.",
        hint="name a process type, for example `web=1`, or set its quantity in app.json.",
    )


# Variables, labels and times


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
