"""Say why a layer had to be written, by comparing it with the image that had this reference before. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildpack.oci.image import ANNOTATION, Layer
from buildpack.plan import Member, PlannedLayer, members_of

__all__ = ["why_built"]

_NAMED = 3
"""How many changes are named before the rest is counted."""


def why_built(
    planned: PlannedLayer, before: Sequence[Layer], *, old_files: Mapping[str, str] | None, files: Mapping[str, str]
) -> str:
    """Return all reasons in one line; `before` are the layers of the previous image, empty where there was none.

    `old_files` and `files` map the app's paths, then and now, to what tells their contents apart.
    """
    if not before:
        return "first build"
    if any(layer.key == planned.key for layer in before):
        return "the store had lost it, or --no-cache was given"
    old = next((layer for layer in before if layer.annotations.get(ANNOTATION + "slot") == planned.slot), None)
    if planned.kind == "app":
        return _files_changed(old_files, files)
    if planned.kind == "runtime":
        return "the Python of the stack, or the launcher, changed"
    return _members_changed(planned.members, before, old)


def _files_changed(old: Mapping[str, str] | None, new: Mapping[str, str]) -> str:
    if old is None:
        return "the app's files changed"
    changes = [f"{path} changed" for path in sorted(old.keys() & new.keys()) if old[path] != new[path]]
    changes += [f"{path} is new" for path in sorted(new.keys() - old.keys())]
    changes += [f"{path} is gone" for path in sorted(old.keys() - new.keys())]
    return _listed(changes) or "the process types, the times of the files, or what hooks are given changed"


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
