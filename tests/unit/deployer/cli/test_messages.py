"""Messages quote what others say: a terminal is shown it, and obeys none of it."""

from __future__ import annotations

import json

import pytest

from buildpack.errors import DependencyError
from deployer.cli.messages import harmless, harmless_json, print_error, print_json, print_warning


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \u00e9 and \u4e2d", "plain, \u00e9 and \u4e2d"),
        ("two\n\tlines", "two\n\tlines"),
        ("\x1b]0;title\x07\x1b[2J", "\\x1b]0;title\\x07\\x1b[2J"),
        ("over\rwritten\b \x9b31m \x7f", "over\\x0dwritten\\x08 \\x9b31m \\x7f"),
        ("no\u00a0break", "no\u00a0break"),
        ("gpj.\u202eexe \u2066x\u2069 \u200f\u2028", "gpj.\\u202eexe \\u2066x\\u2069 \\u200f\\u2028"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_errors_and_warnings_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(DependencyError("what\x1b[2J", why="said:\n  \x1b]0;x\x07", hint="do\x08"))
    print_warning("take care\x07")
    assert capsys.readouterr().err == (
        "error: what\\x1b[2J\n\nsaid:\n  \\x1b]0;x\\x07\n\nhint: do\\x08\nwarning: take care\\x07\n"
    )


def test_json_is_harmless_and_the_same_value(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"a": "\x1b[2J\x7f\x9b31m \u202e \u2066 \u2028 \u00e9 \n\t", "\u200e": ["\x00"]}
    print_json(value)
    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert printed.removesuffix("\n").isprintable()
    document = harmless_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(document) == value
    assert document.replace("\n", "").isprintable()
