"""Tell of each layer of a finished image where it came from and, where it was written, why."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from buildpack.app.hook_programs import Hooks
from buildpack.oci.image import ANNOTATION, Image, Layer
from buildpack.oci.store import Store
from buildpack.plan import AppFile, PlannedLayer
from buildpack.stacks.stack import Stack
from buildpack.steps.assembly import MadeLayer, Origin
from buildpack.steps.earlier_images import Previous
from buildpack.steps.planning import Decision, Material
from buildpack.steps.rebuild_reasons import AppInputs, why_built


def explain_layers(
    layers: Sequence[MadeLayer],
    decision: Decision,
    material: Material,
    *,
    previous: Previous,
    stored: Image | None,
    store: Store,
) -> tuple[tuple[MadeLayer, str], ...]:
    """Pair each layer with why it was written: compared with an earlier image, else with what its name means here."""
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
        return why_built(planned, before, old=old, new=new, doubting=store.ignore_facts)

    explained = tuple((made, explain(made.planned) if made.source == "built" else "") for made in layers)
    if old_app is None or old_app.diff_id != app.diff_id:
        store.remember("app-files", str(app.diff_id), {"files": new.files, "others": new.others})
    return explained


def explain_stack(stack: Stack, store: Store) -> tuple[tuple[Layer, Origin, str], ...]:
    """Pair the stack's layers with where they came from, which is another place than the store for new ones."""
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
