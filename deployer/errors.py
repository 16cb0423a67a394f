"""The wording of the errors that `deployer` itself raises; the type and the exit codes are `buildpack.errors`'s."""

from __future__ import annotations

import errno

from buildpack.errors import MachineError

__all__ = ["machine_failed"]


def machine_failed(error: OSError) -> MachineError | None:
    """Word an operating system's refusal that is not our bug; None for any other."""
    where = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return MachineError(
            f"the disk is full{':' if where else ''}{where}",
            why="Nothing half-written was left under a final name.",
            hint="free some space, or set DEPLOY_HOME to a folder on another disk, and run the command again.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return MachineError(
            f"not permitted:{where or ' (no path named)'}",
            why=f"The operating system says: {error.strerror}.",
            hint="check the owner and mode of that path, or set DEPLOY_HOME to a folder you may write to.",
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return MachineError(
            "too many open files",
            why=f"The operating system says: {error.strerror}.",
            hint="raise the limit with `ulimit -n 4096` and run the command again.",
        )
    return None
