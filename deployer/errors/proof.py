"""Errors of `inspect`, `verify` and the bill of materials, and the reasons for which two images differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from buildpack.errors import BuildpackError, LostError, StackError, UsageError
from deployer.text import operand_text, plural

_Found = tuple[str, str]
_NAMED = 5


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


# Reasons for which two images differ


def same_content() -> str:
    """Return the reason for images that differ in how they are written down alone."""
    return (
        "Only compression or annotations differ: containers of both see the same files. "
        "Engines and other tools write images again when they pass them on, and another version of deploy may note "
        "other things about them."
    )


def unknown_builder() -> str:
    """Return the reason for an image without layer keys."""
    return "None of its layers bears a key: another tool built it, or dropped the annotations when it was copied."


def unexplained() -> str:
    """Return the reason for differences that nothing explains."""
    return "Labels, keys and packages agree, so someone or something changed it after it was built."


def broken_promise(layer: str) -> _Found:
    """Return the reason for a layer that is not what its key says."""
    return (
        (
            f"The layer {layer} bears the key of what was built here, and holds something else. Layers follow from "
            "their keys, so it was altered after it was built, or taken from an earlier image that was."
        ),
        "do not run it; run `deploy build --no-cache`, and check who may push to the repository.",
    )


def only_bytecode(layer: str) -> _Found:
    """Return the reason for a layer under the right key in which byte code alone differs."""
    return (
        (
            f"In the layer {layer} byte code alone differs, under the same key. Python runs it in place of the source "
            "beside it, so it was altered, or compiled by another build of the same Python version."
        ),
        "run `deploy build --no-cache`, and compare that.",
    )


def added_layer(layer: str) -> _Found:
    """Return the reason for a layer that no build makes."""
    return (
        f"The {layer if layer.startswith('layer ') else f'layer {layer}'} was put on top of what deploy builds.",
        "look at the Dockerfile or tool that adds it, or at who may push to the repository.",
    )


def another_stack(theirs: str, ours: str, pythons: str, *, theirs_host: bool, ours_host: bool) -> _Found:
    """Return the reason for images on two bases."""
    why = f"It stands on another stack: on {theirs}, and this build on {ours}.{pythons}"
    if theirs_host and ours_host:
        return (
            f"{why} The stack `host` is gathered from the machine that builds.",
            "verify on the machine that built it, or on one with the same packages, or choose a stack from a registry.",
        )
    if theirs_host != ours_host:
        return why, f"repeat with {'--stack host' if theirs_host else '--stack and the base that it was built on'}."
    return why, "pin the base's digest with `deploy lock`, or name it with --stack REF@DIGEST."


def another_lock(changes: Sequence[str]) -> _Found:
    """Return the reason for two locks, with the packages that differ."""
    packages = f" Of its packages differ: {_named(changes)}." if changes else " Its packages are the same."
    return (
        f"It was built from another Pipfile.lock.{packages}",
        "check out the commit that it was built from, and verify there.",
    )


def other_packages(changes: Sequence[str]) -> _Found:
    """Return the reason for one lock that gave two sets of files."""
    return (
        f"The same lock gave other files: {_named(changes)}. An index may have got a better fitting wheel since.",
        "lock the file you want alone, or build the image again.",
    )


def built_twice(names: Sequence[str]) -> _Found:
    """Return the reason for packages that were built from source."""
    return (
        (
            f"{_named(names)} {'was' if len(names) == 1 else 'were'} built from source, and two such builds need not "
            "give the same bytes: times, paths and compilers get in."
        ),
        "lock versions that have wheels.",
    )


def other_bytecode(theirs: str, ours: str) -> _Found:
    """Return the reason for byte code of two interpreters."""
    return f"Its byte code was compiled by Python {theirs}, here by Python {ours}.", ""


def other_tool() -> _Found:
    """Return the reason for two versions of this tool."""
    return (
        "Its launcher is another one, which each version of deploy brings along.",
        "verify with the version of deploy that built it.",
    )


def other_epoch(theirs: str, ours: str) -> _Found:
    """Return the reason for two values of SOURCE_DATE_EPOCH, which sets the time of the app's files."""
    from datetime import datetime

    why = (
        f"It says it was created at {theirs}, and this build at {ours}: SOURCE_DATE_EPOCH, which dates the app's files."
    )
    if theirs == "1980-01-01T00:00:00Z":
        return why, "unset SOURCE_DATE_EPOCH, and repeat."
    try:
        seconds = int(datetime.fromisoformat(theirs).timestamp())
    except (ValueError, OverflowError):
        return why, ""
    return why, f"repeat with SOURCE_DATE_EPOCH={seconds}."


def other_labels(theirs: Mapping[str, str | None]) -> _Found:
    """Return the reason for labels from the command line, with the image's values."""
    why = f"It has other labels: {_named(list(theirs))}."
    options = " ".join(f"--label {quote(f'{name}={value}')}" for name, value in theirs.items() if value is not None)
    return why, f"repeat with {options}." if options else "repeat without --label."


def not_committed(paths: Sequence[str]) -> _Found:
    """Return the reason for files that differ from the commit here."""
    return (
        (
            f"{plural(len(paths), 'file')} of this folder {'is' if len(paths) == 1 else 'are'} not as committed: "
            f"{_named(paths)}."
        ),
        "commit or stash the changes, and repeat.",
    )


def hooks_at_work() -> _Found:
    """Return the reason for an app whose own programs write a part of its layer."""
    return (
        (
            "The app's files differ, and programs of its own (bin/pre_compile, bin/post_compile, collectstatic) help "
            "to build it: they may write something else each time."
        ),
        "run `deploy build --no-cache` twice, and compare the two; if they differ, a hook is the cause.",
    )


def other_files() -> _Found:
    """Return the reason for an app's folder that is not the one it was built from."""
    return (
        "The app's files are not those that it was built from.",
        "check out the commit that it was built from, and verify there.",
    )


def _named(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more
