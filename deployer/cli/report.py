"""The object that `deploy build --json` and `deploy ci --json` print, schema 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from buildpack.oci.transport import Traffic
    from buildpack.steps.built import Built, BuiltImage

SCHEMA = 1


def report(made: Built) -> dict[str, Any]:
    """Return the object of a build; for several platforms it has ``platforms``, an object for each."""
    reports = [_report_one(one) for one in made.images]
    of_all = {
        "schema": SCHEMA,
        "digest": str(made.image.digest),
        "references": list(made.references),
        "size": made.image.size,
        "seconds": round(made.seconds, 3),
    }
    warnings = list(made.warnings)
    if len(reports) == 1:
        return {**reports[0], **of_all, "warnings": warnings}
    return {**of_all, "platforms": reports, "warnings": warnings}


def moved(traffic: Traffic) -> dict[str, int]:
    """Return the counts of the traffic with registries."""
    return {"requests": traffic.requests, "bytes_sent": traffic.sent, "bytes_received": traffic.received}


def _report_one(built: BuiltImage) -> dict[str, Any]:
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
