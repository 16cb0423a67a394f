"""Text for people and terminals."""

from __future__ import annotations

import pytest

from deployer.text import harmless, operand_text, plural, size_text


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


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (51_400, "51 KB"), (9_340_000, "9.3 MB"), (5 * 10**12, "5000 GB")],
)
def test_sizes_count_in_thousands(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(("app", "text"), [(".", ""), ("shop", " shop"), ("my shop", " 'my shop'"), ("-x", " ./-x")])
def test_an_operand_can_be_pasted_into_a_shell(app: str, text: str) -> None:
    assert operand_text(app) == text


def test_one_thing_has_no_plural() -> None:
    assert [plural(count, "layer") for count in (0, 1, 2)] == ["0 layers", "1 layer", "2 layers"]
