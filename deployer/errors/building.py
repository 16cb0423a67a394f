"""Errors of builds and of the destinations of images."""

from __future__ import annotations

from collections.abc import Sequence

from buildpack.errors import (
    EngineError,
    LostError,
    UsageError,
)


def push_unnamed() -> UsageError:
    """Return the error of a push to nowhere."""
    return UsageError(
        "there is no registry to push to",
        why="The image has no name with a registry in it.",
        hint="name it: `-t ghcr.io/you/app:1`.",
    )


def made_again(what: str) -> str:
    """Return the warning that something kept from earlier was damaged."""
    return f"{what}; it was made again. If this happens again, check the disk."


def others_made_again(count: int) -> str:
    """Return the warning that more of the store was damaged than what was just needed."""
    blobs = "1 more blob in the store was" if count == 1 else f"{count} more blobs in the store were"
    return f"{blobs} damaged and dropped; what this build needs of them was made again."


def more_lost(lost: LostError, count: int) -> LostError:
    """Add to an error that nothing can heal here how many blobs of the image turned out damaged."""
    if count > 1:
        lost.why = f"{lost.why} So were others that are damaged: {count} blobs of the image are missing now."
    return lost


def destination_in_app(destination: str) -> str:
    """Return the warning that an image was written among the files that the next one is made of."""
    return (
        f"--to {destination} is in the app's folder, so the next image will hold this one; "
        "name a place elsewhere, or list it in .dockerignore."
    )


def unknown_destination(text: str) -> UsageError:
    """Return the error of a `--to` that names no destination."""
    return UsageError(
        f"--to {text!r} is not a destination",
        hint="use docker, registry, oci:DIR or archive:FILE.",
    )


def engine_of_another_platform(engine: str, platforms: Sequence[str]) -> EngineError:
    """Return the error of an engine that runs none of the platforms that an image is built for."""
    return EngineError(
        f"the engine runs {engine}, and the image is for {', '.join(platforms)}",
        why="An engine takes the image of its own platform.",
        hint=f"add {engine} to the platforms, or send the image elsewhere: `--to oci:DIR`, `--to archive:FILE`.",
    )
