"""The answer of `deploy build`, for scripts and for people, the same if it built or remembered.

This module imports nothing slow. `deploy ci --json` prints the same object, schema 1.
"""

from __future__ import annotations

from deployer.cli.messages import print_json, print_line, print_warning
from deployer.text import operand_text, plural, short_name, size_text

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from buildpack.oci.transport import Traffic
    from buildpack.steps.built import Built, BuiltImage
    from deployer.building.record import Answer

    Report = Mapping[str, Any]

SCHEMA = 1
_MANY = 3
"""If more layers than this have the same reason, it is printed once."""
_NARROWEST, _WIDEST = 8, 20
"""The width of the summary's first column, in characters."""


def unchanged(answer: Answer) -> Answer:
    """Return the answer of the same call if nothing changed. Its warnings name the app of this call."""
    report = answer["report"]
    if report["warnings"] and answer["style"] != "json":
        from deployer.cli.hints import fit_warning

        report = {**report, "warnings": list(map(fit_warning, report["warnings"]))}
    platforms = [_unchanged(one) for one in _platforms(report)]
    again = {"platforms": platforms} if "platforms" in report else platforms[0]
    return {**answer, "report": {**report, **again}, "unchanged": True}


def _platforms(report: Report) -> Sequence[Report]:
    """Return the report of each platform; a build for one platform has only the report itself."""
    platforms: Sequence[Report] = report.get("platforms", [report])
    return platforms


def _unchanged(report: Report) -> dict[str, Any]:
    return {**report, "layers": [{**layer, "source": "store", "reason": ""} for layer in report["layers"]]}


def show_answer(answer: Answer) -> None:
    """Print the digest or the object on standard output, warnings and the summary on standard error."""
    report, style = answer["report"], answer["style"]
    if style == "json":
        print_json(report)
        return
    for text in report["warnings"]:
        print_warning(text)
    if style != "quiet":
        _summarise(answer, report, verbose=style == "verbose")
    print(report["digest"], flush=True)
    if style != "quiet":
        _say_next(answer, report)


def row_printer(processes: Iterable[str]) -> Callable[[str, str], None]:
    """Return a function that prints a name and a text in two columns, with room for the names of process types."""
    width = min(_WIDEST, max([_NARROWEST, *map(len, processes)]))
    return lambda name, text: print_line(f"  {name:<{width}} {text}")


def _summarise(answer: Answer, report: Report, *, verbose: bool) -> None:
    """Print the summary: python, processes, layers of each platform, destinations."""
    platforms = _platforms(report)
    own = [[layer for layer in one["layers"] if layer["kind"] != "stack"] for one in platforms]
    row = row_printer(platforms[0]["processes"])
    written = any(layer["source"] == "built" for layers in own for layer in layers)
    verb = "Unchanged:" if answer["unchanged"] and not written else "Built"
    print_line(f"{verb} {short_name(report['references'][0])} from {answer['app']} in {report['seconds']:.2f} s")
    stacks: dict[str, list[str]] = {}
    for one in platforms:
        stacks.setdefault(f"{one['python']} on {one['stack']['name']}", []).append(one["platform"])
    for stack, names in stacks.items():
        row("python", f"{stack} ({', '.join(names)})")
    for name, command in platforms[0]["processes"].items():
        row(name, command)
    for one, slots, layers in zip(platforms, answer["slots"], own, strict=True):
        counts = _counts(one, layers)
        row(*(("size", counts) if len(platforms) == 1 else ("image", f"{one['platform']}: {counts}")))
        _print_layers(slots, layers, row, verbose=verbose)
        for text in one["notes"] if verbose else ():
            row("note", text)
    if len(platforms) > 1:
        digests = [layer["digest"] for one in platforms for layer in one["layers"]]
        count = len(set(digests))
        row("size", f"{size_text(report['size'])} in {plural(count, 'layer')}, {len(digests) - count} of them shared")
    for text in answer["sent"]:
        row("sent", text)
    if not answer["kept"]:
        row("kept", "not in the store: reused layers are in the registry only")


def _counts(one: Report, own: Sequence[Report]) -> str:
    written = sum(layer["source"] == "built" for layer in own)
    return (
        f"{size_text(one['size'])} in {plural(len(one['layers']), 'layer')}: {len(one['layers']) - len(own)} of the "
        f"stack, {len(own) - written} reused, {written} written"
    )


def _print_layers(
    slots: Sequence[str], own: Sequence[Report], row: Callable[[str, str], None], *, verbose: bool
) -> None:
    """Print a row for each layer that was written, and with `verbose` for each that was reused."""
    reasons = [layer["reason"] for layer in own if layer["source"] == "built"]
    common = (reason for reason in reasons if reasons.count(reason) > _MANY or reasons.count(reason) == len(own))
    shared = "" if verbose else next(common, "")
    for slot, layer in zip(slots, own, strict=True):
        said = f"{slot:<14} {size_text(layer['size']):>7}"
        if layer["source"] == "built" and layer["reason"] != shared:
            row("written", f"{said}  {layer['reason']}")
        elif verbose:
            members = ", ".join(f"{member['name']} {member['version']}" for member in layer["members"])
            row("reused", f"{said}  {members}".rstrip())
    if shared:
        count = reasons.count(shared)
        row("written", f"{'all' if count == len(own) else count} of ours: {shared}")


def _say_next(answer: Answer, report: Report) -> None:
    if answer["loaded"] or not answer["kept"]:
        print_line(f"\nNext: docker run --rm -e PORT=8000 -p 8000:8000 {short_name(report['references'][0])}")
    elif answer["special"]:
        print_line(f"\nNext: deploy run {short_name(report['references'][0])}")
    else:
        print_line(f"\nNext: deploy run{operand_text(answer['app'])}")


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
