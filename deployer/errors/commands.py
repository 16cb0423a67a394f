"""Errors of command lines, and of the machine that runs them."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import (
    MachineError,
    UsageError,
)


def no_current_folder() -> MachineError:
    """Return the error of a current folder that was removed meanwhile."""
    return MachineError(
        "the current folder is gone",
        why="It was removed after this shell entered it, or may not be entered any more.",
        hint="go to one that is there: `cd` alone leads home.",
    )


def machine_failed(error: OSError | MemoryError) -> MachineError | None:
    """Return the error of an operating system's refusal that is not our bug; None for any other."""
    number = errno.ENOMEM if isinstance(error, MemoryError) else error.errno
    where = f" {error.filename}" if isinstance(error, OSError) and error.filename else ""
    said = f"The operating system says: {os.strerror(number or 0)}."
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return MachineError(
            f"the disk is full{':' if where else ''}{where}",
            why="Nothing half-written was left under a final name.",
            hint="free some space, or set DEPLOY_HOME to a folder on another disk, and run the command again.",
        )
    if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return MachineError(
            f"not permitted:{where or ' (no path named)'}",
            why=said,
            hint="check the owner and mode of that path, or set DEPLOY_HOME to a folder you may write to.",
        )
    if number == errno.ENAMETOOLONG:
        return MachineError(
            f"a path is too long{':' if where else ''}{where}",
            why="A name may have 255 bytes on most file systems, and a path 4096.",
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
            hint="end other programs, raise the container's memory limit (`ulimit -a` shows a shell's), and try again.",
        )
    if number in {errno.EIO, errno.EFBIG, errno.ESTALE, errno.ENODEV}:
        return MachineError(
            f"a disk fails{':' if where else ''}{where}",
            why=said,
            hint="check the disk and `ulimit -f`, or set DEPLOY_HOME to a folder on another one.",
        )
    return None


def bad_size(option: str, text: str) -> UsageError:
    """Return the error of an operand that is not an amount of bytes."""
    return UsageError(
        f"{option} {text[:40]!r} is not an amount of bytes",
        why="It is a number with a unit: KB, MB, GB, TB, or KiB, MiB, GiB, TiB.",
        hint=f"for example {option} 2GB.",
    )


def bad_age(option: str, text: str) -> UsageError:
    """Return the error of an operand that is not an age."""
    return UsageError(
        f"{option} {text[:40]!r} is not a length of time",
        why="It is a number with a unit: s, m, h, d or w.",
        hint=f"for example {option} 7d.",
    )


def nothing_to_prune() -> UsageError:
    """Return the error of a `cache prune` that says no limit."""
    return UsageError(
        "nothing says what to drop",
        hint="name a limit: `--keep-storage 2GB`, or `--older-than 7d`.",
    )


# Operands


def operand_empty() -> UsageError:
    """Return the error of an operand without a character, as shells make of a variable that is not set."""
    return UsageError(
        "an operand is empty",
        why="It names neither a folder nor anything else; a shell makes that of a variable that is not set.",
        hint="name the app's folder, or `.` for this one.",
    )


def bad_operand(text: str) -> UsageError:
    """Return the error of an operand that is neither an app, nor an image, nor a process type."""
    return UsageError(
        f"{text!r} is not a process type",
        why="After the app or the image come process types, as TYPE or TYPE=N.",
        hint="for example `web=2 worker`; a command of its own comes after `--`.",
    )


def no_such_folder(text: str) -> UsageError:
    """Return the error of a first operand that can only be a path, and leads nowhere."""
    return UsageError(
        f"there is no folder {text}",
        why="An image is named with its tag or digest, and process types have no slash.",
        hint=f"check the path; the image would be {text}:latest." if "=" not in text else "check the path.",
    )


def bad_quantity(name: str, count: str, most: int) -> UsageError:
    """Return the error of an operand that is not a number of processes."""
    return UsageError(
        f"{name}={count}: {count!r} is not a number of processes",
        why=f"It is a whole number from 0 to {most}.",
        hint=f"for example {name}=2.",
    )


def counted_twice(name: str) -> UsageError:
    """Return the error of a process type that is named twice."""
    return UsageError(f"{name!r} is named twice", hint=f"write {name}=2 to start two of them.")


def command_missing() -> UsageError:
    """Return the error of a ``--`` that nothing follows."""
    return UsageError("no command follows `--`", hint="for example `deploy run -- flask shell`.")


def command_with_types(names: Sequence[str]) -> UsageError:
    """Return the error of process types beside a command."""
    return UsageError(
        f"both a process type ({', '.join(names)}) and a command are given",
        why="What follows `--` is run instead of the app's processes.",
        hint="leave one of them out.",
    )


def unknown_type(name: str, known: Sequence[str], where: str) -> UsageError:
    """Return the error of a process type that the app or image does not have; `where` names which one."""
    from buildpack.app.nearest import find_nearest

    near = find_nearest(name, known)
    return UsageError(
        f"{where} has no process type {name!r}",
        why=f"It has {', '.join(known)}.",
        hint=f"did you mean {near!r}?" if near else "name one of these.",
    )


def neither_folder_nor_type(name: str, known: Sequence[str]) -> UsageError:
    """Return the error of a first operand that is nothing; `known` are the process types of the current folder."""
    from buildpack.app.nearest import find_nearest

    near = find_nearest(name, known)
    return UsageError(
        f"{name!r} is neither a folder nor a process type",
        why=f"This folder's process types are {', '.join(known)}." if known else "This folder holds no Procfile.",
        hint=f"did you mean {near!r}?" if near else "name a folder that holds an app, or go into one.",
    )


def nothing_to_start(known: Sequence[str], where: str) -> UsageError:
    """Return the error of a formation of no process at all."""
    return UsageError(
        f"there is nothing to start in {where}",
        why=f"Every process type ({', '.join(known)}) is left out or counted 0.",
        hint="name a process type, for example `web=1`, or set its quantity in app.json.",
    )


def store_unwritable(root: Path) -> MachineError:
    """Return the error of a store that is to be pruned and cannot be written."""
    return MachineError(
        f"the store at {root} cannot be written, so nothing was dropped",
        why="It is another user's, or on a disk that cannot be written to.",
        hint="prune it as its owner, or set DEPLOY_HOME to the store that you mean.",
    )
