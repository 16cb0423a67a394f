"""Errors of command lines, and of the machine on which they run."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import MachineError, UsageError


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
    if number in {errno.ENOSPC, errno.EDQUOT}:
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
