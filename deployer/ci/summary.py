"""The summary of a pipeline as Markdown: what was built, what moved, how each step ended.

Names, commands and messages come from the app, so they are text and never Markdown or HTML: whatever means something
to either is written as a character reference, which a table's cell and ``<code>`` take alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deployer.text import plural, size_text

_REFERENCES = {ord(each): f"&#{ord(each)};" for each in "&<>|`*_[]()!~\\#$@\"'"} | {
    ord("\r"): " ",
    ord("\n"): "<br>",
}
_MARKS = {"passed": "✅", "failed": "❌", "skipped": "⏭"}


def escape(text: str) -> str:
    """Return text that Markdown shows as it stands; line breaks stay."""
    shown = "".join(each if each.isprintable() or each in "\r\n" else "\ufffd" for each in text)
    return shown.translate(_REFERENCES)


def render_summary(report: Mapping[str, Any], *, app: str, error: str = "") -> str:
    """Render what `deploy ci --json` prints; `app` is the folder as it was typed, `error` the message that ended it."""
    parts = [f"### {_title(report, app)}", _steps(report["steps"])]
    if "digest" in report:
        parts.insert(1, _image(report))
    if error:
        parts.append(f"<pre>{escape(error)}</pre>")
    if warnings := report.get("warnings"):
        parts.append("**Warnings**\n\n" + "\n".join(f"- {escape(text)}" for text in warnings))
    return "\n\n".join(parts) + "\n\n"


def _title(report: Mapping[str, Any], app: str) -> str:
    failed = next((step["name"] for step in report["steps"] if step["status"] == "failed"), "")
    named = _code(report["references"][0]) if report.get("references") else _code(app)
    if failed:
        return (
            f"{_MARKS['failed']} {named}: {failed} failed, nothing was pushed"
            if failed != "push"
            else (f"{_MARKS['failed']} {named}: push failed")
        )
    pushed = any(step["name"] == "push" and step["status"] == "passed" for step in report["steps"])
    return f"{_MARKS['passed']} {named} {'built and pushed' if pushed else 'built, not pushed'}"


def _image(report: Mapping[str, Any]) -> str:
    images = report.get("platforms") or [report]
    # What the first platform wrote the second one reuses: it counts as written.
    listed = sorted(
        (layer for image in images for layer in image["layers"]), key=lambda each: each["source"] == "built"
    )
    layers = {layer["digest"]: layer for layer in listed}.values()
    built = [layer for layer in layers if layer["source"] == "built"]
    reused = [layer for layer in layers if layer["source"] != "built"]
    stacks = [escape(f"{each['python']} on {each['stack']['name']} ({each['platform']})") for each in images]
    rows = [
        ("image", "<br>".join(_code(name) for name in report["references"])),
        ("digest", _code(report["digest"])),
        ("size", f"{size_text(report['size'])} in {plural(len(layers), 'layer')}"),
        ("python", "<br>".join(stacks)),
        ("reused", _amount(reused)),
        ("written", "<br>".join([_amount(built), *_reasons(built)])),
        ("moved", escape(_moved(report))),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _amount(layers: Sequence[Mapping[str, Any]]) -> str:
    return (
        f"{plural(len(layers), 'layer')}, {size_text(sum(layer['size'] for layer in layers))}" if layers else "nothing"
    )


def _reasons(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    told = [
        escape(f"{layer['kind']} ({size_text(layer['size'])}): {layer['reason']}")
        for layer in layers
        if layer["reason"] and layer["reason"] != "first build"
    ]
    return told[:10] + ([f"and {len(told) - 10} more"] if len(told) > 10 else [])


def _moved(report: Mapping[str, Any]) -> str:
    if not report["requests"]:
        return "nothing to or from a registry"
    sent, received = size_text(report["bytes_sent"]), size_text(report["bytes_received"])
    return f"{sent} sent, {received} received, {plural(report['requests'], 'request')}"


def _steps(steps: Sequence[Mapping[str, Any]]) -> str:
    rows = ["| step | | seconds | |", "|---|---|--:|---|"]
    for step in steps:
        seconds = "" if step["status"] == "skipped" else f"{step['seconds']:.2f}"
        rows.append(
            f"| {step['name']} | {_MARKS[step['status']]} {step['status']} | {seconds} | {escape(step['reason'])} |"
        )
    return "\n".join(rows)


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
