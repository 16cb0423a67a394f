"""Messages quote other programs, and a terminal obeys none of their control characters."""

from __future__ import annotations

import json

import pytest

from buildpack.errors import DependencyError
from deployer.cli.messages import print_error, print_json, print_warning
from deployer.text import harmless_json


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
