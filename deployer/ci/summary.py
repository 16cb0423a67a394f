"""The summary of a pipeline as Markdown: what was built, what moved, how each step ended.

Names, commands and messages come from the app, so they are text and never Markdown or HTML: each character that
has a meaning there is written as a character reference, which works in a table's cell and in ``<code>``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployer.errors import ci as errors
from deployer.text import plural, size_text

_REFERENCES = {ord(each): f"&#{ord(each)};" for each in "&<>|`*_[]()!~\\#$@\"'"} | {
    ord("\r"): " ",
    ord("\n"): "<br>",
}
_MARKS = {"passed": "✅", "failed": "❌", "skipped": "⏭"}


def escape(text: str) -> str:
    """Return text that Markdown shows unchanged; line breaks stay."""
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
    # A layer that the first platform wrote is reused by the second one: it counts as written.
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
    shown = [
        escape(f"{layer['kind']} ({size_text(layer['size'])}): {layer['reason']}")
        for layer in layers
        if layer["reason"] and layer["reason"] != "first build"
    ]
    return shown[:10] + ([f"and {len(shown) - 10} more"] if len(shown) > 10 else [])


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


def write_summary(text: str, environ: Mapping[str, str]) -> None:
    """Append Markdown to GITHUB_STEP_SUMMARY if that is set; raises MachineError."""
    _append("GITHUB_STEP_SUMMARY", text, environ)


def write_outputs(values: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Append the outputs to GITHUB_OUTPUT if that is set; raises MachineError."""
    _append("GITHUB_OUTPUT", render_outputs(values), environ)


def render_outputs(
    values: Mapping[str, str], *, token: Callable[[], str] = lambda: f"ghadelimiter_{secrets.token_hex(16)}"
) -> str:
    """Render outputs in the form with delimiters, so that a value with line breaks is one value.

    A delimiter is drawn until no line of the value is equal to it.
    """
    rendered = []
    for name, value in values.items():
        delimiter = token()
        while delimiter in value.splitlines():
            delimiter = token()
        rendered.append(f"{name}<<{delimiter}\n{value}\n{delimiter}\n")
    return "".join(rendered)


def _append(variable: str, text: str, environ: Mapping[str, str]) -> None:
    path = environ.get(variable)
    if not path:
        return
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise errors.file_unwritable(variable, path, error.strerror or str(error)) from error
