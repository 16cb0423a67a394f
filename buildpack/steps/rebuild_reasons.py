"""Say for each layer of a finished image where it came from and, if it was written, why.

The reasons come from a comparison with the image that had this reference before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from buildpack.app.hook_programs import Hooks
from buildpack.oci.image import ANNOTATION, Image, Layer
from buildpack.oci.store import Store
from buildpack.plan import AppFile, PlannedLayer, members_of
from buildpack.python.files import WheelFile
from buildpack.stacks.stack import Stack
from buildpack.steps.assembly import MadeLayer, Origin
from buildpack.steps.earlier_images import Previous
from buildpack.steps.planning import Decision, Material

_NAMED = 3
"""Changes that are named; the others are counted."""


class AppInputs(NamedTuple):
    """The inputs of an app's layer by name, each with a fingerprint.

    The names of `files` are paths. The names of `others` are subjects of a sentence with "changed".
    """

    files: Mapping[str, str]
    others: Mapping[str, str]


def explain_layers(
    layers: Sequence[MadeLayer],
    decision: Decision,
    material: Material,
    *,
    previous: Previous,
    stored: Image | None,
    store: Store,
) -> tuple[tuple[MadeLayer, str], ...]:
    """Pair each layer with the reason why it was written: how it differs from the earlier or the stored image."""
    app = next(made.layer for made in layers if made.planned.kind == "app")
    before = (not previous.reason and previous.layers) or (stored.layers if stored else ())
    old_app = next((layer for layer in before if layer.annotations.get(ANNOTATION + "kind") == "app"), None)
    old = _recalled(store.recall("app-files", str(old_app.diff_id))) if old_app else None
    new = _inputs(material)

    def explain(planned: PlannedLayer) -> str:
        if planned.key in decision.doubts:
            return decision.doubts[planned.key]
        if not before and previous.reason:
            return previous.reason
        return why_built(planned, before, old=old, new=new, uncached=store.ignore_facts)

    explained = tuple((made, explain(made.planned) if made.source == "built" else "") for made in layers)
    if old_app is None or old_app.diff_id != app.diff_id:
        store.remember("app-files", str(app.diff_id), {"files": new.files, "others": new.others})
    return explained


def explain_stack(stack: Stack, store: Store) -> tuple[tuple[Layer, Origin, str], ...]:
    """Pair the stack's layers with their origins, which is the store for those that it had before."""
    origin: Origin = "registry"
    reason = f"pulled for {stack.name}"
    if stack.name == "host":
        origin, reason = "built", "gathered from this machine"
    elif stack.name.startswith(("oci:", "archive:")):
        origin, reason = "store", f"copied from {stack.name}"

    def explain(layer: Layer) -> tuple[Layer, Origin, str]:
        if layer.digest in store.added:
            return layer, origin, reason
        return layer, "store" if store.has(layer.digest) else "registry", ""

    return tuple(map(explain, stack.layers))


def _inputs(material: Material) -> AppInputs:
    return AppInputs(
        files={file.path: _fingerprint(file) for file in material.content.files},
        others={
            "the process types, or the app object,": hashlib.sha256(material.launch).hexdigest()[:32],
            "SOURCE_DATE_EPOCH": str(material.mtime),
            "the variables for hooks": _variables(material.hooks),
        },
    )


def _variables(hooks: Hooks) -> str:
    plain = sorted((name, value) for name, value in hooks.variables.items() if name not in hooks.given)
    return hashlib.sha256(repr((plain, hooks.hidden)).encode()).hexdigest()[:32] if hooks else ""


def _recalled(value: Any) -> AppInputs | None:
    return AppInputs(**value) if isinstance(value, dict) and value.keys() == {"files", "others"} else None


def _fingerprint(file: AppFile) -> str:
    return f"{file.kind[0]}{'x' if file.executable else '-'}{file.content[:32]}"


def why_built(
    planned: PlannedLayer, before: Sequence[Layer], *, old: AppInputs | None, new: AppInputs, uncached: bool = False
) -> str:
    """Return all reasons in one line; `before` are the layers of the previous image, empty if there was none.

    `old` and `new` are the previous and the present inputs of the app's layer. `uncached` is true with ``--no-cache``.
    """
    if not before:
        return "first build"
    if any(layer.key == planned.key for layer in before):
        return "--no-cache was given" if uncached else "the store had lost it"
    if planned.kind == "app":
        return _app_changed(old, new)
    if planned.kind == "runtime":
        return "the Python of the stack or the launcher changed"
    here = next((layer for layer in before if layer.annotations.get(ANNOTATION + "slot") == planned.slot), None)
    return _members_changed(planned.members, before, here)


def _app_changed(old: AppInputs | None, new: AppInputs) -> str:
    if old is None:
        return "the app's files changed"
    before, now = old.files, new.files
    changes = [f"{path} changed" for path in sorted(before.keys() & now.keys()) if before[path] != now[path]]
    changes += [f"{path} is new" for path in sorted(now.keys() - before.keys())]
    changes += [f"{path} is gone" for path in sorted(before.keys() - now.keys())]
    if not changes:  # else the others follow from the files
        changes += [f"{name} changed" for name in sorted(new.others) if old.others.get(name, "") != new.others[name]]
    return _listed(changes) or "what hooks run with, or how deploy writes layers, changed"


def _members_changed(members: Sequence[WheelFile], before: Sequence[Layer], old: Layer | None) -> str:
    everywhere = {member.name: member for layer in before for member in members_of(layer)}
    changes = []
    for member in members:
        known = everywhere.get(member.name)
        if known is None:
            changes.append(f"{member.name} {member.version} is new")
        elif known.version != member.version:
            changes.append(f"{member.name} {known.version} -> {member.version}")
        elif known.sha256 != member.sha256:
            changes.append(f"{member.name} {member.version} is another file")
    here = {member.name for member in members}
    changes += [f"{member.name} left" for member in (members_of(old) if old else ()) if member.name not in here]
    return _listed(changes) or "the Python of the stack, or how deploy writes layers, changed"


def _listed(changes: Sequence[str]) -> str:
    more = len(changes) - _NAMED
    return ", ".join(changes[:_NAMED]) + (f" and {more} more" if more > 0 else "")
