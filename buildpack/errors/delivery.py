"""Errors and warnings about the destinations of images, and about the blobs that go there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import EngineError, LostError, StackError, UsageError, sentence


def push_unnamed() -> UsageError:
    return UsageError(
        "the registry to push to is not named",
        why="None of the image's names has a registry in it.",
        hint="name it: `-t ghcr.io/you/app:1`.",
    )


def made_again(what: str) -> str:
    return f"{what}; it was made again. If this happens again, check the disk."


def others_made_again(count: int) -> str:
    blobs = "1 more blob in the store was" if count == 1 else f"{count} more blobs in the store were"
    return f"{blobs} damaged and dropped; what this build needs of them was made again."


def more_lost(lost: LostError, count: int) -> LostError:
    """Add the number of damaged blobs to an error of a command that cannot make them again."""
    if count > 1:
        lost.why = f"{lost.why} Other blobs were damaged and dropped too: {count} blobs of the image are missing now."
    return lost


def destination_in_app(destination: str) -> str:
    return (
        f"--to {destination} is in the app's folder, so the next image would contain this one; "
        "name a place elsewhere, or list it in .dockerignore."
    )


def unknown_destination(text: str) -> UsageError:
    return UsageError(f"--to {text!r} is not a destination", hint="use docker, registry, oci:DIR or archive:FILE.")


def engine_of_another_platform(engine: str, platforms: Sequence[str]) -> EngineError:
    return EngineError(
        f"the engine runs {engine}, and the image is for {', '.join(platforms)}",
        why="An engine takes the image of its own platform.",
        hint=f"add {engine} to the platforms, or send the image elsewhere: `--to oci:DIR`, `--to archive:FILE`.",
    )


def digest_asked(reference: str) -> UsageError:
    return UsageError(
        f"an image cannot be built as {reference}",
        why="The digest of an image follows from its content.",
        hint="leave out the part from `@` on.",
    )


def not_complete(reference: str, count: int) -> StackError:
    layers = "one of its layers is" if count == 1 else f"{count} of its layers are"
    return StackError(
        f"{reference} cannot be pushed: the store has it only in part",
        why=f"{sentence(layers)} missing.",
        hint="build it again with `deploy build --to registry`, which takes those layers from a registry.",
    )


def not_stored(reference: str, root: Path) -> StackError:
    return StackError(
        f"{reference} is not in the store",
        why=f"Nothing in {root} has that name.",
        hint=f"build it first with `deploy build -t {reference}`, or build and push in one with `--to registry`.",
    )


def pushed_to_library(reference: str, name: str) -> UsageError:
    return UsageError(
        f"you cannot push to {reference}",
        why="Without a registry it means Docker Hub's official images, which nobody else may write to.",
        hint=f"name your own repository: `-t ghcr.io/you/{name}`, or `-t docker.io/you/{name}`.",
    )
