"""The files that a CI service reads back: a summary for people, outputs for the steps that follow."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from deployer.errors import ci as errors


def write_summary(text: str, environ: Mapping[str, str]) -> None:
    """Append Markdown to GITHUB_STEP_SUMMARY, where that is set; raises MachineError."""
    _append("GITHUB_STEP_SUMMARY", text, environ)


def write_outputs(values: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Append the outputs to GITHUB_OUTPUT, where that is set; raises MachineError."""
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
