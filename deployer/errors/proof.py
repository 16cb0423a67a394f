"""Errors of `inspect`, `verify` and the bill of materials, and the reasons for which two images differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from buildpack.errors import BuildpackError, LostError, StackError, UsageError
from deployer.text import operand_text, plural

_NAMED = 5


class Differs(BuildpackError):
    """The image is not what its source builds."""

    exit_code = 60


def differs(name: str, source: str, *, details: str, hints: Sequence[str]) -> Differs:
    """`details` are lines that say where the image and the build of `source` differ, and why."""
    return Differs(f"{name} is not what {source} builds", why=details, hint="\nhint: ".join(dict.fromkeys(hints)))


def blobs_damaged(name: str, damaged: Sequence[str], count: int, root: Path) -> LostError:
    return LostError(
        f"{len(damaged)} of {count} blobs of {name} in the store at {root} are damaged",
        why="The image has the digest that its source builds, but these blobs no longer have theirs. They were "
        f"removed: {', '.join(damaged)}.",
        hint="build again, which makes the missing blobs. If this happens a second time, check the disk.",
    )


def digest_not_stored(digest: str, root: Path) -> UsageError:
    return UsageError(
        f"the store at {root} has no image {digest}",
        why="A digest alone does not say which registry to ask.",
        hint=f"name the repository as well: REGISTRY/NAME@{digest}.",
    )


def nowhere(root: Path, error: BuildpackError, *, remote: bool) -> StackError:
    """`error` is the registry's refusal."""
    here = "" if remote else f"It is not in the store at {root}, so its registry was asked. "
    return StackError(error.what, why=f"{here}{error.why}".strip(), hint=error.hint)


def empty_index(name: str) -> StackError:
    return StackError(f"{name} is an index that lists no image", hint="push the image again.")


def nested_index(name: str) -> StackError:
    return StackError(f"{name} lists another index for a platform", hint="name that index by its digest.")


def other_platform(name: str, wanted: str, offered: str) -> StackError:
    return StackError(f"{name} is for {offered}, not for {wanted}", hint="leave --platform out.")


def not_built(app: str, name: str, root: Path) -> StackError:
    """`name` is the image's, which has no registry in it."""
    return StackError(
        f"the app in {'this folder' if app == '.' else app} has no image yet",
        why=f"The store at {root} has no image {name}.",
        hint=f"build it with `deploy build{operand_text(app)}`, or name the image that was built.",
    )


# Reasons for which two images differ


class Reason(NamedTuple):
    """A possible cause in a sentence or two, and what to do about it, if anything."""

    why: str
    hint: str = ""


def same_content() -> Reason:
    return Reason(
        "Only compression or annotations differ: containers of both see the same files. "
        "Engines and other tools write images again when they pass them on, and another version of deploy may write "
        "other annotations."
    )


def unknown_builder() -> Reason:
    return Reason(
        "None of its layers has a key: another tool built it, or removed the annotations when it copied the image."
    )


def unexplained() -> Reason:
    return Reason("Labels, keys and packages agree, so someone or something changed it after it was built.")


def broken_promise(layer: str) -> Reason:
    """Return the reason for a layer whose content is not what its key stands for."""
    return Reason(
        (
            f"The layer {layer} has the key of the layer that was built here, but other content. The key decides the "
            "content, so the layer was changed after it was built, or taken from an earlier image that was changed."
        ),
        "do not run it; run `deploy build --no-cache`, and check who may push to the repository.",
    )


def only_bytecode(layer: str) -> Reason:
    return Reason(
        (
            f"In the layer {layer} only byte code differs, under the same key. Python runs byte code instead of the "
            "source beside it. It was changed, or another build of the same Python version compiled it."
        ),
        "run `deploy build --no-cache`, and compare that.",
    )


def added_layer(layer: str) -> Reason:
    """Return the reason for a layer that no build makes."""
    return Reason(
        f"The {layer if layer.startswith('layer ') else f'layer {layer}'} was put on top of what deploy builds.",
        "look for the Dockerfile or tool that adds it, or check who may push to the repository.",
    )


def another_stack(theirs: str, ours: str, pythons: str, *, theirs_host: bool, ours_host: bool) -> Reason:
    why = f"It was built on another stack: on {theirs}, and this build on {ours}.{pythons}"
    if theirs_host and ours_host:
        return Reason(
            f"{why} The stack `host` consists of files of the machine that builds.",
            "verify on the machine that built it, or on one with the same packages, or choose a stack from a registry.",
        )
    if theirs_host != ours_host:
        return Reason(
            why, f"repeat with {'--stack host' if theirs_host else '--stack and the base that it was built on'}."
        )
    return Reason(why, "pin the base's digest with `deploy lock`, or name it with --stack REF@DIGEST.")


def another_lock(changes: Sequence[str]) -> Reason:
    packages = f" These packages differ: {_named(changes)}." if changes else " Its packages are the same."
    return Reason(
        f"It was built from another Pipfile.lock.{packages}",
        "check out the commit that it was built from, and verify there.",
    )


def other_packages(changes: Sequence[str]) -> Reason:
    return Reason(
        f"The same lock resulted in other files: {_named(changes)}. An index may have a better wheel since.",
        "lock only the file that you want, or build the image again.",
    )


def built_twice(names: Sequence[str]) -> Reason:
    return Reason(
        (
            f"{_named(names)} {'was' if len(names) == 1 else 'were'} built from source. Two such builds may differ in "
            "times, paths and what the compiler writes."
        ),
        "lock versions that have wheels.",
    )


def other_bytecode(theirs: str, ours: str) -> Reason:
    return Reason(f"Its byte code was compiled by Python {theirs}, here by Python {ours}.")


def other_tool() -> Reason:
    return Reason(
        "Its launcher is of another version of deploy.",
        "verify with the version of deploy that built it.",
    )


def other_epoch(theirs: str, ours: str) -> Reason:
    from datetime import datetime

    why = (
        f"Its time of creation is {theirs}, and this build's is {ours}: SOURCE_DATE_EPOCH, which also sets the "
        "times of the app's files."
    )
    if theirs == "1980-01-01T00:00:00Z":
        return Reason(why, "unset SOURCE_DATE_EPOCH, and repeat.")
    try:
        seconds = int(datetime.fromisoformat(theirs).timestamp())
    except (ValueError, OverflowError):
        return Reason(why)
    return Reason(why, f"repeat with SOURCE_DATE_EPOCH={seconds}.")


def other_labels(theirs: Mapping[str, str | None]) -> Reason:
    """`theirs` are the image's values of the labels that differ."""
    why = f"It has other labels: {_named(list(theirs))}."
    options = " ".join(f"--label {quote(f'{name}={value}')}" for name, value in theirs.items() if value is not None)
    return Reason(why, f"repeat with {options}." if options else "repeat without --label.")


def not_committed(paths: Sequence[str]) -> Reason:
    files, verb = plural(len(paths), "file"), "is" if len(paths) == 1 else "are"
    return Reason(
        f"{files} of this folder {verb} not as committed: {_named(paths)}.",
        "commit or stash the changes, and repeat.",
    )


def hooks_at_work() -> Reason:
    return Reason(
        (
            "The app's files differ, and programs of its own (bin/pre_compile, bin/post_compile, collectstatic) help "
            "to build it: they may write something else each time."
        ),
        "run `deploy build --no-cache` twice, and compare the two; if they differ, a hook is the cause.",
    )


def other_files() -> Reason:
    return Reason(
        "The app's files are not those that it was built from.",
        "check out the commit that it was built from, and verify there.",
    )


def _named(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more
