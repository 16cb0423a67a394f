"""Reads what an image contains: stack, process types, packages, layers. Images of other tools say less."""

from __future__ import annotations

from typing import Any

from buildpack.dataclass import dataclass
from buildpack.oci.compare import layer_name
from buildpack.oci.compression import gunzip
from buildpack.oci.image import ANNOTATION, LAYER_GZIP, Layer
from buildpack.oci.store import Store
from buildpack.plan import LAUNCH_FILE, RUNTIME_ROOT, members_of
from buildpack.steps.provenance import Provenance, read_provenance
from deployer.formation import Launch, parse_launch
from deployer.proof.found import Found

SCHEMA = 1

_FETCHED = 64 << 20
"""The largest app's layer in bytes that is fetched from a registry to read its process types."""
_READ = 4 << 20
"""The largest ``launch.json`` in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """An image and its description; `launch` is None if it was not read, and `unread` says why.

    `stack_name` is this machine's name for the stack's digest, empty if it has none.
    """

    found: Found
    provenance: Provenance
    launch: Launch | None
    unread: str
    stack_name: str


def inspect_image(found: Found) -> Inspection:
    """Read the description of an image; of its layers at most the app's is fetched."""
    provenance = read_provenance(found.image)
    launch, unread = _read_launch(found, provenance)
    return Inspection(
        found=found,
        provenance=provenance,
        launch=launch,
        unread=unread,
        stack_name=_stack_name(provenance, found.store),
    )


def _read_launch(found: Found, provenance: Provenance) -> tuple[Launch | None, str]:
    from buildpack.errors import BuildpackError

    layer = provenance.layer_of("app", found.image)
    if layer is None:
        return None, ""
    if layer.media_type != LAYER_GZIP or (found.origin == "registry" and layer.size > _FETCHED):
        return None, "the app's layer is too large to be downloaded for them"
    try:
        launch = parse_launch(_read_file(found, layer, LAUNCH_FILE))
    except BuildpackError as error:
        return None, f"the app's layer cannot be read: {error.what}"
    return launch, "" if launch else f"/{LAUNCH_FILE} is not in the app's layer, or damaged"


def _read_file(found: Found, layer: Layer, path: str) -> bytes:
    """Return a small file of a layer; empty if it is missing."""
    import zlib

    from buildpack.oci.tar_reader import read_members

    body = b""
    with found.open_layer(layer) as blob:
        pieces = gunzip(blob)
        try:
            for member, content in read_members(pieces, origin="the app's layer"):
                if member.path == path and member.kind == "file" and member.size <= _READ:
                    body = b"".join(content)
        except (zlib.error, EOFError):
            return b""
    return body


def _stack_name(provenance: Provenance, store: Store) -> str:
    """Return the reference for which a build on this machine got this digest."""
    if provenance.host:
        return "host"
    if provenance.stack is None:
        return ""
    from buildpack.stacks.registry import names_of

    return next(iter(names_of(provenance.stack, store)), "")


def render(inspection: Inspection) -> dict[str, Any]:
    """Return what `--json` prints, schema 1."""
    found, origin, launch = inspection.found, inspection.provenance, inspection.launch
    image = found.image
    stack = {
        "name": inspection.stack_name or None,
        "digest": str(origin.stack),
        "layers": len(origin.stack_layers),
    }
    return {
        "schema": SCHEMA,
        "reference": found.name,
        "source": found.origin,
        "digest": str(found.digest),
        "manifest": str(image.digest),
        "built_by_deploy": origin.ours,
        "created": origin.created,
        "platform": str(found.platform),
        "platforms": [str(platform) for platform in found.platforms],
        "stack": stack if origin.stack else None,
        "python": origin.python or None,
        "bytecode": origin.bytecode or None,
        "lock": origin.lock or None,
        "processes": dict(launch.processes) if launch else None,
        "default": launch.default if launch else None,
        "app_object": launch.app_object if launch else None,
        "formation": dict(launch.formation) if launch else None,
        "packages": [
            {"name": m.name, "version": m.version, "filename": m.filename, "sha256": m.sha256, "size": m.size}
            for m in origin.packages
        ],
        "size": image.size,
        "layers": [_render_layer(layer, number, ours=origin.ours) for number, layer in enumerate(image.layers, 1)],
        "entrypoint": _strings(origin.config.get("Entrypoint")),
        "command": _strings(origin.config.get("Cmd")),
        "user": _string(origin.config.get("User")),
        "working_folder": _string(origin.config.get("WorkingDir")),
        "labels": dict(origin.labels),
    }


def launches(provenance: Provenance) -> bool:
    """Return True if a container of the image starts our launcher, and not a program that replaced it."""
    entry = provenance.config.get("Entrypoint")
    python = [provenance.facts.python.executable] if provenance.facts else entry[:1] if isinstance(entry, list) else []
    return entry == [*python, "-I", f"/{RUNTIME_ROOT}"] and not provenance.config.get("Cmd")


def _strings(value: Any) -> list[str] | None:
    """Return a list of strings; None for any other value, because the author of the image chose it."""
    return value if isinstance(value, list) and all(isinstance(each, str) for each in value) else None


def _string(value: Any) -> str | None:
    return value if value and isinstance(value, str) else None


def _render_layer(layer: Layer, number: int, *, ours: bool) -> dict[str, Any]:
    kind = layer.annotations.get(ANNOTATION + "kind") or ("stack" if ours else None)
    return {
        "name": "stack" if kind == "stack" else layer_name(layer, number),
        "kind": kind,
        "key": layer.key or None,
        "digest": str(layer.digest),
        "diff_id": str(layer.diff_id),
        "size": layer.size,
        "members": [{"name": m.name, "version": m.version, "size": m.size} for m in members_of(layer)],
    }
