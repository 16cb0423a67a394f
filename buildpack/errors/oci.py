"""Errors of layers and of the store."""

from __future__ import annotations

import errno
from pathlib import Path

from buildpack.errors import AppError, BuildpackError, LostError, MachineError, sentence

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of the operating system if a disk has no room, or this user's part of it."""
_ELSEWHERE = "set DEPLOY_HOME to a folder {what}, and build again."


def bad_path(path: str, reason: str) -> AppError:
    # A name that is not UTF-8 arrives with lone surrogates, which no terminal can print.
    shown = path.encode("utf-8", "backslashreplace").decode()
    return AppError(
        f"{shown!r} cannot be in an image",
        why=f"{sentence(reason)}.",
        hint="rename or delete it, or leave it out with a line in .dockerignore.",
    )


def path_twice(path: str) -> BuildpackError:
    return BuildpackError(
        f"/{path} occurs twice in one layer",
        why="Two things that make up this layer want the same path, and none of them has priority.",
        hint="this is a bug in deploy; please report it.",
    )


def parent_is_no_folder(path: str, parent: str) -> AppError:
    return AppError(
        f"/{path} cannot be in an image",
        why=f"/{parent} is a file or a symbolic link, so nothing can be below it.",
        hint="rename or delete one of the two.",
    )


def content_unreadable(path: Path, error: OSError) -> MachineError:
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return MachineError(
            "too many open files",
            why=f"{path} could not be opened as well.",
            hint="raise the limit with `ulimit -n 4096`, and run the command again.",
        )
    return MachineError(
        f"{path} cannot be read",
        why=f"The system says: {error.strerror}.",
        hint="check that the file is there and that you may read it, and build again.",
    )


class ContentError(MachineError):
    """The file at `path`, from which a layer is made, is not what its entries say: `reason` is a clause."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} is damaged, or changed while it was read",
            why=f"In this file {reason}.",
            hint="build again; if that fails in the same way, delete the file first, so that it is fetched or made "
            "again.",
        )
        self.path = path
        self.reason = reason


def file_changed(path: Path) -> MachineError:
    return MachineError(
        f"{path} changed while it was read",
        why="The image would mix its old and its new content.",
        hint="build again once nothing writes to it, or name it in .dockerignore if the app needs no copy of it.",
    )


def wrong_compressor(found: str, wanted: str) -> MachineError:
    return MachineError(
        f"the package deflate has version {found}, and deploy needs {wanted}",
        why="Layers are compressed with it, and other versions give other bytes, so images would get other digests.",
        hint=f"run `pip install deflate=={wanted}` where deploy is installed.",
    )


def store_failed(root: Path, error: OSError) -> MachineError:
    if error.errno in DISK_FULL:
        return MachineError(
            "the disk is full",
            why=f"Writing to the store at {root} failed: {error.strerror}.",
            hint="free some space, or " + _ELSEWHERE.format(what="on a disk with space"),
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return MachineError(
            f"no permission to write to the store at {root}",
            why=f"{error.filename or root}: {error.strerror}.",
            hint="fix the folder's owner or mode, or " + _ELSEWHERE.format(what="that you may write to"),
        )
    return MachineError(
        f"the store at {root} cannot be written",
        why=f"{error.filename or root}: {error.strerror}.",
        hint=_ELSEWHERE.format(what="on a local disk"),
    )


def temporary_store(refused: Path | None, chosen: Path) -> str:
    reason = f"{refused} cannot be written" if refused else "neither DEPLOY_HOME, XDG_CACHE_HOME nor HOME is set"
    return f"{reason}, so the store is {chosen}, which may not last; set DEPLOY_HOME to a folder that does"


def blob_missing(digest: object, root: Path) -> LostError:
    return LostError(
        f"the store at {root} lacks the blob {digest}",
        why="Something deleted it, or found it damaged and dropped it.",
        hint="build again; what is missing is made or fetched again.",
    )


def blob_damaged(digest: object, root: Path) -> LostError:
    return LostError(
        f"the blob {digest} in the store at {root} is damaged",
        why="Its bytes no longer have this digest, so it was dropped.",
        hint="build again; what is missing is made or fetched again. If it happens again, check the disk.",
    )
