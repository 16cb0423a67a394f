"""Finds reasons for which an image differs from the one that was built again, in its labels, keys and packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from buildpack.app.hook_programs import plan_hooks
from buildpack.errors import show
from buildpack.oci.compare import Comparison, EntryDifference, LayerDifference
from buildpack.oci.image import Image
from buildpack.plan import APP_ROOT
from buildpack.python.files import WheelFile
from buildpack.steps.built import BuiltImage
from buildpack.steps.provenance import Provenance, read_provenance
from deployer.errors import proof as words
from deployer.errors.proof import Reason

_OWN_LABELS = ("dev.deploy.", "org.opencontainers.image.base.")


def explain(
    image: Image, built: BuiltImage, comparison: Comparison, *, environ: Mapping[str, str]
) -> tuple[Reason, ...]:
    """Return possible causes of the differences, the most likely first; empty if there are no differences."""
    if image.digest == built.image.digest:
        return ()
    its, ours = read_provenance(image), read_provenance(built.image)
    if comparison.same_content:
        return (words.same_content(),)
    if not its.ours:
        return (words.unknown_builder(),)
    hooks = bool(plan_hooks(built.app, given={}, environ=environ))
    found = [
        *_tampered(comparison, hooks=hooks),
        *_stack(its, ours, built),
        *_packages(its, ours),
        *_versions(its, ours, comparison),
        *_settings(its, ours),
        *_app(comparison, built, environ, hooks=hooks),
    ]
    reasons = tuple(Reason(show(why), show(hint)) for why, hint in dict.fromkeys(found))
    return reasons or (words.unexplained(),)


def _tampered(comparison: Comparison, *, hooks: bool) -> Iterator[Reason]:
    """Find layers whose content is not what their key stands for, and layers that no build makes."""
    for layer in comparison.layers:
        altered = layer.same_key and not layer.same_tar
        if altered and layer.kind == "app" and hooks:
            yield words.hooks_at_work()  # its key is made of the hooks' inputs, not of their results
        elif altered:
            yield words.only_bytecode(layer.name) if _is_bytecode(layer) else words.broken_promise(layer.name)
        elif layer.only == "image" and layer.kind not in {"dependencies", "stack"}:
            yield words.added_layer(layer.name)


def _is_bytecode(layer: LayerDifference) -> bool:
    compiled = all(entry.path.endswith(".pyc") for entry in layer.entries)
    return bool(layer.entries) and compiled and not layer.more and not layer.note


def _stack(its: Provenance, ours: Provenance, built: BuiltImage) -> Iterator[Reason]:
    if its.stack == ours.stack:
        return
    same = its.python == ours.python
    pythons = "" if same else f" Its Python is {its.python or 'unknown'}; here it is {ours.python}."
    yield words.another_stack(
        str(its.stack), str(ours.stack), pythons, theirs_host=its.host, ours_host=built.stack.name == "host"
    )


def _packages(its: Provenance, ours: Provenance) -> Iterator[Reason]:
    old = {member.name: member for member in its.packages}
    new = {member.name: member for member in ours.packages}
    changes = [_change(old.get(name), new.get(name), name) for name in sorted({*old, *new})]
    changed = [text for text in changes if text]
    rebuilt = [
        name
        for name, member in new.items()
        if name in old and old[name].filename == member.filename and old[name].sha256 != member.sha256
    ]
    if its.lock != ours.lock:
        yield words.another_lock(changed)
    elif changed:
        yield words.other_packages(changed)
    if rebuilt:
        yield words.built_twice(rebuilt)


def _change(old: WheelFile | None, new: WheelFile | None, name: str) -> str:
    if old is None:
        return f"{name} is not in the image"
    if new is None:
        return f"{name} is only in the image"
    if old.version != new.version:
        return f"{name} {old.version} in the image, {new.version} built"
    return f"{name} as {old.filename} in the image, as {new.filename} built" if old.filename != new.filename else ""


def _versions(its: Provenance, ours: Provenance, comparison: Comparison) -> Iterator[Reason]:
    """Find differences that come from the versions of deploy and Python: launcher, layer format, byte code."""
    if its.bytecode != ours.bytecode:
        yield words.other_bytecode(its.bytecode or "unknown", ours.bytecode)
    if its.stack == ours.stack and any(
        layer.kind == "runtime" and not layer.same_key and not layer.only for layer in comparison.layers
    ):
        yield words.other_tool()


def _settings(its: Provenance, ours: Provenance) -> Iterator[Reason]:
    if its.created != ours.created:
        yield words.other_epoch(its.created, ours.created)
    labels = {
        name: (its.labels.get(name), ours.labels.get(name))
        for name in sorted({*its.labels, *ours.labels})
        if not name.startswith(_OWN_LABELS) and its.labels.get(name) != ours.labels.get(name)
    }
    if labels and its.stack == ours.stack:
        yield words.other_labels({name: value for name, (value, _) in labels.items()})


def _app(comparison: Comparison, built: BuiltImage, environ: Mapping[str, str], *, hooks: bool) -> Iterator[Reason]:
    layer = next((each for each in comparison.layers if each.kind == "app" and not each.same_key), None)
    if layer is None:
        return
    changed = {entry.path.removeprefix(f"{APP_ROOT}/") for entry in layer.entries if not only_times(entry)}
    uncommitted = sorted(changed & _uncommitted(built.app.folder, environ))
    if uncommitted:
        yield words.not_committed(uncommitted)
    elif changed and hooks:
        yield words.hooks_at_work()
    elif changed:
        yield words.other_files()


def only_times(entry: EntryDifference) -> bool:
    """Return True if only the time of an entry differs."""
    return [field.path for field in entry.fields] == ["mtime"]


def _uncommitted(folder: Path, environ: Mapping[str, str]) -> frozenset[str]:
    from buildpack.app.git import find_checkout, git_for
    from buildpack.app.worktree import list_uncommitted

    git = git_for(str(folder), environ)
    if git is None or find_checkout(str(folder)) is None:
        return frozenset()
    return list_uncommitted(git, folder, environ)
