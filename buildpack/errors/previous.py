"""The wording of why an earlier image, or a layer of it, is of no use to a build: reasons in one line, not errors."""

from __future__ import annotations

from pathlib import Path

from buildpack.errors import BuildpackError, StackError, UsageError


class Refuted(StackError):
    """An earlier image told facts of its base that the base itself does not bear out: nothing of it is to be used."""


def not_there(name: str, *, own: bool) -> str:
    """Nothing lies under that name yet."""
    return "first build" if own else f"there is no {name}"


def not_readable(name: str, error: BuildpackError) -> str:
    """What lies there is no image, is for another platform, or did not come."""
    return f"{name} is of no use: {error.what}"


def no_keys(name: str) -> str:
    """An image that deploy did not write, or that lost what deploy wrote on it."""
    return f"the layers of {name} have no keys: it was built, or copied, by a tool that drops annotations"


def vanished(name: str) -> str:
    """The registry lost a blob."""
    return f"the registry had lost it from {name}"


def doubted(name: str, doubt: str) -> str:
    """Its key is right, and something else is not."""
    return f"{name} has a layer with this key that is not believed: {doubt}"


def not_pulled(name: str, error: BuildpackError) -> str:
    """A layer that was wanted here and did not come, or not whole."""
    return f"it could not be taken from {name}: {error.what}"


def other_content(name: str) -> str:
    """A layer that came whole, and unpacks to something else than the image's config says."""
    return f"the layer that {name} has under this key is not what its config says"


def refuted(name: str, digest: str) -> Refuted:
    """Word what is met again as a reason: the base was read, and is not as an earlier image has it."""
    return Refuted(
        f"an earlier image tells of {name} what is not so",
        why=f"Its annotation `dev.deploy.stack` does not agree with the base {digest}.",
        hint="build with `--no-cache`, which looks at no earlier image.",
    )


def not_complete(reference: str, count: int) -> StackError:
    """An image that the store knows, and has only in part."""
    layers = "one of its layers is" if count == 1 else f"{count} of its layers are"
    return StackError(
        f"{reference} cannot be pushed: the store has it only in part",
        why=f"{layers[:1].upper()}{layers[1:]} not here.",
        hint="build it again: `deploy build --to registry` takes from a registry what is there.",
    )


def not_stored(reference: str, root: Path) -> StackError:
    """A name that nothing was built under here."""
    return StackError(
        f"{reference} is not in the store",
        why=f"Nothing in {root} has that name.",
        hint=f"build it first: `deploy build -t {reference}`; or build and push in one: `--to registry`.",
    )


def pushed_to_library(reference: str, name: str) -> UsageError:
    """A name without a registry, which means Docker Hub's own images."""
    return UsageError(
        f"{reference} is no name that an image can be pushed to",
        why="Without a registry it means Docker Hub's official images, which nobody else may write to.",
        hint=f"name a repository of yours: `-t REGISTRY/{name}`, like ghcr.io/you/{name} or docker.io/you/{name}.",
    )
