"""The object that `deploy build --json` and `deploy ci --json` print, schema 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from buildpack.build import Built
    from buildpack.oci.transport import Traffic
    from buildpack.platforms import BuiltIndex

SCHEMA = 1


def moved(traffic: Traffic) -> dict[str, int]:
    """Return what was moved to and from registries, as `--json` prints it."""
    return {"requests": traffic.requests, "bytes_sent": traffic.sent, "bytes_received": traffic.received}


def report(built: Built) -> dict[str, Any]:
    """Return what `--json` prints, schema 1."""
    stack_layers = [
        {
            "digest": str(layer.digest),
            "diff_id": str(layer.diff_id),
            "size": layer.size,
            "kind": "stack",
            "members": [],
            "source": source,
            "reason": reason,
        }
        for layer, source, reason in built.stack_layers
    ]
    own = [
        {
            "digest": str(made.layer.digest),
            "diff_id": str(made.layer.diff_id),
            "size": made.layer.size,
            "kind": made.planned.kind,
            "members": [{"name": m.name, "version": m.version, "size": m.size} for m in made.planned.members],
            "source": made.source,
            "reason": reason,
        }
        for made, reason in built.layers
    ]
    return {
        "schema": SCHEMA,
        "digest": str(built.image.digest),
        "references": list(built.references),
        "platform": str(built.stack.platform),
        "stack": {"name": built.stack.name, "reference": built.stack.reference, "digest": str(built.stack.digest)},
        "python": built.stack.python.version,
        "processes": {process.name: process.command for process in built.app.processes},
        "size": built.image.size,
        "seconds": round(built.seconds, 3),
        "layers": [*stack_layers, *own],
        "warnings": list(built.warnings),
        "notes": list(built.notes),
    }


def report_index(built: BuiltIndex) -> dict[str, Any]:
    """Return what `--json` prints, schema 1: the index, and each platform's build as if it were alone."""
    return {
        "schema": SCHEMA,
        "digest": str(built.index.digest),
        "references": list(built.references),
        "size": built.index.size,
        "seconds": round(built.seconds, 3),
        "platforms": [report(one) for one in built.platforms],
        "warnings": list(built.warnings),
    }
