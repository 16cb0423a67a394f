"""What `deploy build` prints, from plain values: the same whether it built or remembered.

An answer is what JSON can hold: ``report`` is what ``--json`` prints, ``slots`` names our layers as people know them,
``style`` is ``json``, ``quiet``, ``plain`` or ``verbose``, ``app`` is the folder as it was typed, ``sent`` says what
went where, in words. For several platforms ``slots`` has a list for each.
This module imports nothing slow.
"""

from __future__ import annotations

import sys

from deployer.cli.messages import print_json, print_warning
from deployer.text import operand_text, plural, size_text

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Answer = Mapping[str, Any]

_MANY = 3
"""One reason for more layers than that is told once."""
_NARROWEST, _WIDEST = 8, 20
"""The width of the summary's first column, in characters."""


def unchanged(answer: Answer) -> dict[str, Any]:
    """Return what the same call answers when everything is as it was left. Its warnings name the app of this call."""
    report = answer["report"]
    if report["warnings"] and answer["style"] != "json":
        from deployer.cli.hints import fit_warning

        report = {**report, "warnings": list(map(fit_warning, report["warnings"]))}
    if "platforms" in report:
        again: dict[str, Any] = {"platforms": [_unchanged(each) for each in report["platforms"]]}
    else:
        again = _unchanged(report)
    return {**answer, "report": {**report, **again}, "unchanged": True}


def _unchanged(report: Answer) -> dict[str, Any]:
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
        if "platforms" in report:
            _summarise_index(answer)
        else:
            _summarise(answer, report, verbose=style == "verbose")
    print(report["digest"], flush=True)
    if style != "quiet":
        _say_next(answer, report)


def _say(text: str) -> None:
    """Print a line of the summary, or several; what a terminal would take for a command is escaped."""
    print("\n".join(map(_shown, text.split("\n"))), file=sys.stderr)


def row_printer(processes: Iterable[str]) -> Callable[[str, str], None]:
    """Return a function that prints a row of the summary: a name and a text, in columns as wide as the types need."""
    width = min(_WIDEST, max([_NARROWEST, *map(len, processes)]))
    return lambda name, text: _say(f"  {name:<{width}} {text}")


def _summarise(answer: Answer, report: Answer, *, verbose: bool) -> None:
    row = row_printer(report["processes"])
    stack = [layer for layer in report["layers"] if layer["kind"] == "stack"]
    own = [layer for layer in report["layers"] if layer["kind"] != "stack"]
    written = [layer for layer in own if layer["source"] == "built"]
    verb = "Unchanged:" if answer["unchanged"] and not written else "Built"
    _say(f"{verb} {_short_name(report['references'][0])} from {answer['app']} in {report['seconds']:.2f} s")
    row("python", f"{report['python']} on {report['stack']['name']} ({report['platform']})")
    for name, command in report["processes"].items():
        row(name, command)
    row(
        "size",
        f"{size_text(report['size'])} in {plural(len(report['layers']), 'layer')}: {len(stack)} of the "
        f"stack, {len(own) - len(written)} reused, {len(written)} written",
    )
    reasons = [layer["reason"] for layer in written]
    common = (reason for reason in reasons if reasons.count(reason) > _MANY or reasons.count(reason) == len(own))
    shared = "" if verbose else next(common, "")
    for slot, layer in zip(answer["slots"], own, strict=True):
        said = f"{slot:<14} {size_text(layer['size']):>7}"
        if layer["source"] == "built" and layer["reason"] != shared:
            row("written", f"{said}  {layer['reason']}")
        elif verbose:
            members = ", ".join(f"{member['name']} {member['version']}" for member in layer["members"])
            row("reused", f"{said}  {members}".rstrip())
    if shared:
        count = reasons.count(shared)
        row("written", f"{'all' if count == len(own) else count} of ours: {shared}")
    for text in report.get("notes", ()) if verbose else ():
        row("note", text)
    for text in answer["sent"]:
        row("sent", text)
    if not answer.get("kept", True):
        row("kept", "not in the store: what was reused is in the registry only")


def _summarise_index(answer: Answer) -> None:
    """Say what was built for each platform, and what became of it."""
    report = answer["report"]
    platforms = report["platforms"]
    row = row_printer(platforms[0]["processes"])
    verb = "Unchanged:" if answer["unchanged"] else "Built"
    _say(f"{verb} {_short_name(report['references'][0])} from {answer['app']} in {report['seconds']:.2f} s")
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


def _shown(text: str) -> str:
    if text.isprintable():
        return text
    from buildpack.errors.app import show

    return show(text)


def _short_name(reference: str) -> str:
    """Shorten a full name to what people type: ``docker.io/library/blasto:latest`` to ``blasto:latest``."""
    return reference.removeprefix("docker.io/").removeprefix("library/")


def _say_next(answer: Answer, report: Answer) -> None:
    if answer["loaded"] or not answer.get("kept", True):
        _say(f"\nNext: docker run --rm -e PORT=8000 -p 8000:8000 {_short_name(report['references'][0])}")
    elif answer["special"]:
        _say(f"\nNext: deploy run {_short_name(report['references'][0])}")
    else:
        _say(f"\nNext: deploy run{operand_text(answer['app'])}")
