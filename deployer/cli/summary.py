"""What `deploy build` prints, from plain values: the same whether it built or remembered.

An answer is what JSON can hold: ``report`` is what ``--json`` prints, ``slots`` names our layers as people know them,
``style`` is ``json``, ``quiet``, ``plain`` or ``verbose``, ``app`` is the folder as it was typed, ``sent`` says what
went where, in words. Of a build for several platforms, `index_summary` says more. This module imports nothing slow.
"""

from __future__ import annotations

import sys

from deployer.cli.messages import operand_text, plural, print_json, print_warning, size_text

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Answer = Mapping[str, Any]

__all__ = ["say", "short_name", "show_answer", "unchanged"]

_MANY = 3
"""One reason for more layers than that is told once."""


def unchanged(answer: Answer) -> dict[str, Any]:
    """Return what the same call answers when everything is as it was left."""
    report = answer["report"]
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
            from deployer.cli.index_summary import summarise_index

            summarise_index(answer)
        else:
            _summarise(answer, report, verbose=style == "verbose")
    print(report["digest"], flush=True)
    if style != "quiet":
        _say_next(answer, report)


def say(text: str) -> None:
    """Print a line of the summary, or several; what a terminal would take for a command is escaped."""
    print("\n".join(map(_shown, text.split("\n"))), file=sys.stderr)


def _summarise(answer: Answer, report: Answer, *, verbose: bool) -> None:
    stack = [layer for layer in report["layers"] if layer["kind"] == "stack"]
    own = [layer for layer in report["layers"] if layer["kind"] != "stack"]
    written = [layer for layer in own if layer["source"] == "built"]
    verb = "Unchanged:" if answer["unchanged"] and not written else "Built"
    say(f"{verb} {short_name(report['references'][0])} from {answer['app']} in {report['seconds']:.2f} s")
    say(f"  python   {report['python']} on {report['stack']['name']} ({report['platform']})")
    for name, command in report["processes"].items():
        say(f"  {name:<8} {command}")
    say(
        f"  size     {size_text(report['size'])} in {plural(len(report['layers']), 'layer')}: {len(stack)} of the "
        f"stack, {len(own) - len(written)} reused, {len(written)} written"
    )
    reasons = [layer["reason"] for layer in written]
    common = (reason for reason in reasons if reasons.count(reason) > _MANY or reasons.count(reason) == len(own))
    shared = "" if verbose else next(common, "")
    for slot, layer in zip(answer["slots"], own, strict=True):
        said = f"{slot:<14} {size_text(layer['size']):>7}"
        if layer["source"] == "built" and layer["reason"] != shared:
            say(f"  written  {said}  {layer['reason']}")
        elif verbose:
            members = ", ".join(f"{member['name']} {member['version']}" for member in layer["members"])
            say(f"  reused   {said}  {members}".rstrip())
    if shared:
        count = reasons.count(shared)
        say(f"  written  {'all' if count == len(own) else count} of ours: {shared}")
    for text in report.get("notes", ()) if verbose else ():
        say(f"  note     {text}")
    for text in answer["sent"]:
        say(f"  sent     {text}")
    if not answer.get("kept", True):
        say("  kept     not in the store: what was reused is in the registry only")


def _shown(text: str) -> str:
    if text.isprintable():
        return text
    from buildpack.errors.app import show

    return show(text)


def short_name(reference: str) -> str:
    """Shorten a full name to what people type: ``docker.io/library/blasto:latest`` to ``blasto:latest``."""
    return reference.removeprefix("docker.io/").removeprefix("library/")


def _say_next(answer: Answer, report: Answer) -> None:
    if answer["loaded"] or not answer.get("kept", True):
        say(f"\nNext: docker run --rm -e PORT=8000 -p 8000:8000 {short_name(report['references'][0])}")
    elif answer["special"]:
        say(f"\nNext: deploy run {short_name(report['references'][0])}")
    else:
        say(f"\nNext: deploy run{operand_text(answer['app'])}")
