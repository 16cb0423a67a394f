"""Docker's patterns: lines, single patterns, and how they add up."""

from __future__ import annotations

import pytest

from buildpack.app.ignore import parse_ignore
from buildpack.errors import AppError


def matches(pattern: str, path: str) -> bool:
    return parse_ignore(pattern, ".dockerignore").patterns[0].match(path)


def left_out(text: str, path: str) -> bool:
    """Decide about `path` as a walk does: folder by folder."""
    patterns = parse_ignore(text, ".dockerignore")
    above, ignored = None, False
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        ignored, above = patterns.verdict("/".join(parts[:depth]), above)
    return ignored


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("a", ["a"], ["b/a", "ab", "A"]),
        ("/a", ["a"], ["b/a"]),
        ("a/", ["a"], ["b/a"]),
        ("./a/../b//c", ["b/c"], ["a/b/c"]),
        ("  a b  ", ["a b"], ["a"]),
        ("*.py", ["a.py", ".py"], ["b/a.py", "a.pyc"]),
        ("*/a", ["b/a"], ["a", "c/b/a"]),
        ("a?c", ["abc", "a.c"], ["ac", "a/c", "abbc"]),
        ("**", ["a", "a/b", ".x"], []),
        ("**/a", ["a", "b/a", "c/b/a"], ["ba", "a/b"]),
        ("**/a/**", ["a/b", "x/a/b/c"], ["a", "x/a"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb"]),
        ("**/*.log", ["x.log", "a/b/x.log"], ["x.log/y"]),
        ("**a", ["a", "ba", "c/ba"], ["ab"]),
        ("a**", ["a", "ab", "a/b"], ["ba"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[^a-c]x", ["dx"], ["ax"]),
        ("[[:digit:]]x", ["1x"], ["ax", ":x"]),
        ("[a\\]]x", ["]x", "ax"], ["\\x"]),
        ("a.b+(c)|{d}$", ["a.b+(c)|{d}$"], ["aXb+(c)|{d}$"]),
        ("*.b+(c)|{d}$", ["a.b+(c)|{d}$"], ["a.b+c|{d}$"]),
        (r"\*a", ["*a"], ["ba"]),
        (r"\!a", ["!a"], ["a"]),
        (r"\#a", ["#a"], ["a"]),
        ("ä*", ["äö"], ["a"]),
        ("*\n", ["a"], ["a/b"]),
        # Oddities that Docker has: a star in a class becomes an expression of its own, and `^` an anchor.
        ("[*].py", ["/].py", "[].py"], ["*.py", "a.py"]),
        ("*^a", [], ["^a", "b^a"]),
        (r"x\d?", ["x1y"], ["xdy"]),
    ],
)
def test_a_pattern_matches_what_docker_matches(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [path for path in yes + no if matches(pattern, path)] == yes


@pytest.mark.parametrize(
    ("text", "out", "kept"),
    [
        ("\ufeffa\r\n# b\n\n c \n", ["a", "c"], ["b", "# b"]),
        (" # not a comment", ["# not a comment"], []),
        ("*\n!a", ["b"], ["a", "a/b"]),
        ("*\n!a\na/b", ["a/b", "a/b/c"], ["a/c"]),
        ("a\n!a/b\n", ["a/c", "a"], ["a/b", "a/b/c"]),
        ("!a\na\n", ["a", "a/b"], []),
        ("a/b\n!a\n", ["a/b"], ["a", "a/c"]),
        ("*\na/b\n!a\n", ["b"], ["a", "a/b"]),
        ("!  /a\n", [], ["a"]),
        ("**\n!**/*.py\n", ["a", "x/a"], ["a.py", "x/a.py"]),
        ("/\n.\n..\n../a\n", [], ["a", "b"]),
        ("", [], ["a"]),
    ],
)
def test_the_last_pattern_that_matches_decides(text: str, out: list[str], kept: list[str]) -> None:
    assert [path for path in out + kept if left_out(text, path)] == out


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("!", "nothing follows the `!`"),
        ("[", "a character is missing in `[...]`"),
        ("[]a]", "a character is missing in `[...]`"),
        ("[a", "`[` is never closed"),
        ("[a-]", "a character is missing in `[...]`"),
        ("a\\", "nothing follows the last backslash"),
        ("[b-a]", "`b-a` is not a range"),
        ("*\\y", "`\\y` has no meaning"),
        ("[\\Q]", "`\\Q` has no meaning in `[...]`"),
        ("[[:none:]]", "`[:none:]` is not a class"),
    ],
)
def test_what_docker_refuses_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(AppError) as caught:
        parse_ignore(f"a\n{pattern}\n", ".dockerignore")
    assert str(caught.value) == (
        ".dockerignore:2 holds a pattern that cannot be read\n\n"
        f"`{pattern}`: {reason}.\n\n"
        "hint: fix or remove the line; the patterns are those of https://docs.docker.com/build/concepts/context/."
    )


@pytest.mark.parametrize(
    ("pattern", "folder", "may"),
    [
        ("!a/b", "a", True),
        ("!a/b", "a/b", False),
        ("!a/b", "b", False),
        ("!a/*.py", "a", True),
        ("!a/*.py", "a/b", True),
        ("!**/x", "any/where", True),
        ("!*", "a", True),
    ],
)
def test_ignored_folders_are_entered_only_where_something_may_come_back(
    pattern: str, folder: str, *, may: bool
) -> None:
    assert parse_ignore(f"*\n{pattern}\n", ".dockerignore").may_bring_back(folder) is may


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a*a*a*a*a*a*a*a*a*a*a*b", "a" * 250),
        ("**/a/**/a/**/a/**/a/**/a/**/a/**/a/b?", "a/" * 120 + "b"),
        ("*[^b]*[^b]*[^b]*b", "a" * 250),
    ],
)
def test_no_pattern_takes_for_ever(pattern: str, path: str) -> None:
    assert not matches(pattern, path)  # a backtracking matcher would not end within years


def test_wildcards_without_end_are_refused_where_they_would_take_for_ever() -> None:
    with pytest.raises(AppError) as caught:
        parse_ignore("*[^b]" * 7, ".dockerignore")
    assert "a pattern with `\\`, `[^...]` or `**` beside other characters cannot have so many wildcards" in str(
        caught.value
    )
