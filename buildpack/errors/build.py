"""The wording of what a build as a whole has to say."""

from __future__ import annotations

import errno
import os

from buildpack.errors import AppError, BuildpackError, MachineError, Problems, StackError, UsageError
from buildpack.errors.app import file_of


def bad_stack(origin: str, error: BuildpackError) -> BuildpackError:
    """Word a stack that can be none, and that a file or variable (`origin`) names rather than an option."""
    kind = AppError if file_of(origin) else UsageError
    return kind(error.what, why=f"{origin} names it as the stack. {error.why}", hint=error.hint)


def default_stack(name: str, error: StackError, *, linux: bool) -> StackError:
    """Say of what went wrong with a stack that nobody named where it comes from."""
    other = " `--stack host` takes this machine's Python and needs no registry." if linux else ""
    return StackError(
        error.what,
        why=f"Nothing names a stack, so it is {name}, from Docker Hub. {error.why}",
        hint=f"{error.hint}{other}",
    )


def digest_asked(reference: str) -> UsageError:
    """Word a name for the image that says already which digest it will have."""
    return UsageError(
        f"an image cannot be built as {reference}",
        why="Its digest follows from what is in it.",
        hint="name it without the part from `@` on.",
    )


def for_platform(platform: str, error: BuildpackError) -> BuildpackError:
    """Say for which of several platforms a build failed; the exit code stays."""
    if isinstance(error, Problems):
        return Problems([for_platform(platform, problem) for problem in error.problems])
    named = BuildpackError(f"{platform}: {error.what}", why=error.why, hint=error.hint)
    named.exit_code = error.exit_code
    return named


def no_bytecode(stack: str, reason: str) -> str:
    """Word the warning that processes will start more slowly."""
    return f"no byte code for {stack}: {reason}. Processes will start more slowly; everything else is the same."


def compiling_failed(reason: str) -> MachineError:
    """Word an interpreter that ran, and then failed while it compiled: an image without byte code is another image."""
    if os.strerror(errno.ENOSPC) in reason:
        return MachineError(
            "the disk is full",
            why=f"Compiling byte code failed: {reason}.",
            hint="free some space, or set DEPLOY_HOME to a folder on a disk with space, and build again.",
        )
    return MachineError(
        "byte code could not be compiled",
        why=f"{reason[:1].upper()}{reason[1:]}.",
        hint="build again; if it fails again, look for a lack of memory (`dmesg`) or of disk space on this machine.",
    )
