"""What is said about a wheel that cannot go into an image as it is."""

from __future__ import annotations

from buildpack.errors import DependencyError

_HINT = (
    "the file's hash is the one that Pipfile.lock lists, so its publisher made it so: "
    "ask for another version of {name} in Pipfile, run `deploy lock`, and build again."
)


def wheel_damaged(filename: str, detail: str) -> DependencyError:
    """The zip structure contradicts itself or ends early."""
    return DependencyError(
        f"{filename} is not a readable wheel",
        why=f"A wheel is a zip archive, and in this one {detail}.",
        hint=_hint(filename),
    )


def wheel_refused(filename: str, detail: str) -> DependencyError:
    """The archive is sound, but what it says about itself is missing, contradictory or beyond a limit.

    `detail` is a clause that begins with "it" or "its".
    """
    return DependencyError(
        f"{filename} cannot be installed",
        why=f"{detail[0].upper()}{detail[1:]}.",
        hint=_hint(filename),
    )


def member_refused(filename: str, member: str, reason: str) -> DependencyError:
    """One file inside the wheel is unsafe or of a kind that no installer supports."""
    return DependencyError(
        f"{filename} holds a file that cannot go into an image",
        why=f"The file {member!r} {reason}.",
        hint=_hint(filename),
    )


def _hint(filename: str) -> str:
    return _HINT.format(name=filename.partition("-")[0])
