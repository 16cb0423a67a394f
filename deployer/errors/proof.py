"""Errors of `inspect`, `verify` and the bill of materials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import BuildpackError, LostError, StackError, UsageError
from deployer.text import operand_text


class Differs(BuildpackError):
    """The image is not what its source builds."""

    exit_code = 60


def differs(name: str, source: str, *, details: str, hints: Sequence[str]) -> Differs:
    """Return the error of an image that is not what `source` builds; `details` are lines that say where and why."""
    return Differs(f"{name} is not what {source} builds", why=details, hint="\nhint: ".join(dict.fromkeys(hints)))


def blobs_damaged(name: str, damaged: Sequence[str], count: int, root: Path) -> LostError:
    """Return the error of an image whose digest is right, while some of its blobs were damaged and dropped."""
    return LostError(
        f"{len(damaged)} of {count} blobs of {name} in the store at {root} are damaged",
        why="The image has the digest that its source builds, but these blobs do not have theirs any more. They were "
        f"dropped: {', '.join(damaged)}.",
        hint="build again: what is missing is made again. If it is damaged again, check the disk.",
    )


def digest_not_stored(digest: str, root: Path) -> UsageError:
    """Return the error of a digest alone that the store does not have."""
    return UsageError(
        f"the store at {root} has no image {digest}",
        why="A digest alone does not say which registry to ask.",
        hint=f"name the repository as well: REGISTRY/NAME@{digest}.",
    )


def nowhere(root: Path, error: BuildpackError, *, remote: bool) -> StackError:
    """Return the error of an image that is not in the store, and that its registry does not give either (`error`)."""
    here = "" if remote else f"It is not in the store at {root}, so its registry was asked. "
    return StackError(error.what, why=f"{here}{error.why}".strip(), hint=error.hint)


def empty_index(name: str) -> StackError:
    """Return the error of an index without an image."""
    return StackError(f"{name} is an index that lists no image", hint="push the image again.")


def nested_index(name: str) -> StackError:
    """Return the error of an index in which a platform is an index again."""
    return StackError(f"{name} lists another index for a platform", hint="name that index by its digest.")


def other_platform(name: str, wanted: str, offered: str) -> StackError:
    """Return the error of an image for one platform alone, which is another one."""
    return StackError(f"{name} is for {offered}, not for {wanted}", hint="leave --platform out.")


def not_built(app: str, name: str, root: Path) -> StackError:
    """Return the error of an app's folder whose image is not in the store, and has no registry in its name."""
    return StackError(
        f"the app in {'this folder' if app == '.' else app} has no image yet",
        why=f"The store at {root} has none of the name {name}.",
        hint=f"build it with `deploy build{operand_text(app)}`, or name the image that was built.",
    )
