"""Say why a layer had to be written, by comparing it with the image that had this reference before. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from buildpack.oci.image import ANNOTATION, Layer
from buildpack.plan import Member, PlannedLayer, members_of

_NAMED = 3
"""How many changes are named before the rest is counted."""


class AppInputs(NamedTuple):
    """What an app's layer is made of, by name, with what tells it from another of that name.

    The names of `files` are paths, those of `others` words that "changed" can follow.
    """

    files: Mapping[str, str]
    others: Mapping[str, str]


def why_built(
    planned: PlannedLayer,
    before: Sequence[Layer],
    *,
    old: AppInputs | None,
    new: AppInputs,
    doubting: bool = False,
) -> str:
    """Return all reasons in one line; `before` are the layers of the previous image, empty where there was none.

    `old` and `new` are what the app's layer was made of, then and now. With `doubting` nothing was to be reused.
    """
    if not before:
        return "first build"
    if any(layer.key == planned.key for layer in before):
        return "--no-cache was given" if doubting else "the store had lost it"
    if planned.kind == "app":
        return _app_changed(old, new)
    if planned.kind == "runtime":
        return "the Python of the stack, or the launcher, changed"
    here = next((layer for layer in before if layer.annotations.get(ANNOTATION + "slot") == planned.slot), None)
    return _members_changed(planned.members, before, here)


def _app_changed(old: AppInputs | None, new: AppInputs) -> str:
    if old is None:
        return "the app's files changed"
    before, now = old.files, new.files
    changes = [f"{path} changed" for path in sorted(before.keys() & now.keys()) if before[path] != now[path]]
    changes += [f"{path} is new" for path in sorted(now.keys() - before.keys())]
    changes += [f"{path} is gone" for path in sorted(before.keys() - now.keys())]
    if not changes:  # else they follow from that
        changes += [f"{name} changed" for name in sorted(new.others) if old.others.get(name, "") != new.others[name]]
    return _listed(changes) or "what hooks run with, or how deploy writes layers, changed"


def _members_changed(members: Sequence[Member], before: Sequence[Layer], old: Layer | None) -> str:
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
