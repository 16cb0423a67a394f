"""What `deploy build` prints of an index, from plain values, as `summary` does of an image."""

from __future__ import annotations

from deployer.cli.messages import plural, size_text
from deployer.cli.summary import row_printer, say, short_name

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Answer = Mapping[str, Any]


def summarise_index(answer: Answer) -> None:
    """Say what was built for each platform, and what became of it. ``slots`` holds a list for each."""
    report = answer["report"]
    platforms = report["platforms"]
    row = row_printer(platforms[0]["processes"])
    verb = "Unchanged:" if answer["unchanged"] else "Built"
    say(f"{verb} {short_name(report['references'][0])} from {answer['app']} in {report['seconds']:.2f} s")
    stacks: dict[str, list[str]] = {}
    for one in platforms:
        stacks.setdefault(f"{one['python']} on {one['stack']['name']}", []).append(one["platform"])
    for stack, names in stacks.items():
        row("python", f"{stack} ({', '.join(names)})")
    for name, command in platforms[0]["processes"].items():
        row(name, command)
    for one, slots in zip(platforms, answer["slots"], strict=True):
        _summarise_one(one, slots, row, verbose=answer["style"] == "verbose")
    layers = [layer["digest"] for one in platforms for layer in one["layers"]]
    count = len(set(layers))
    row("size", f"{size_text(report['size'])} in {plural(count, 'layer')}, {len(layers) - count} of them shared")
    for text in answer["sent"]:
        row("sent", text)
    if not answer["kept"]:
        row("kept", "not in the store: what was reused is in the registry only")


def _summarise_one(one: Answer, slots: list[str], row: Callable[[str, str], None], *, verbose: bool) -> None:
    own = [layer for layer in one["layers"] if layer["kind"] != "stack"]
    written = sum(layer["source"] == "built" for layer in own)
    row(
        "image",
        f"{one['platform']}: {size_text(one['size'])} in {plural(len(one['layers']), 'layer')}: "
        f"{len(one['layers']) - len(own)} of the stack, {len(own) - written} reused, {written} written",
    )
    for slot, layer in zip(slots, own, strict=True):
        said = f"{slot:<14} {size_text(layer['size']):>7}"
        if layer["source"] == "built" and (verbose or layer["reason"] != "first build"):
            row("written", f"{said}  {layer['reason']}")
        elif verbose and layer["source"] != "built":
            members = ", ".join(f"{member['name']} {member['version']}" for member in layer["members"])
            row("reused", f"{said}  {members}".rstrip())
