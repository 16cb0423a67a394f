"""Docker's patterns, against a slow translation that shares nothing with the fast one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buildpack.app.ignore import parse_ignore
from buildpack.errors import AppError

NAME = st.sampled_from(["a", "b", "ab", "a.b", "c", ".x", "ä"])
PATH = st.lists(NAME, min_size=1, max_size=4).map("/".join)
PART = st.sampled_from(["a", "b", "ab", "a.b", ".x", "ä", "*", "?", "a*", "*b", "**", "[a-b]", "[^a]", "a?", "*.b"])
PATTERN = st.lists(PART, min_size=1, max_size=4).map("/".join)
LINE = st.tuples(st.sampled_from(["", "!"]), st.sampled_from(["", "/"]), PATTERN, st.sampled_from(["", "/"])).map(
    "".join
)


def match_name(pattern: str, name: str) -> bool:
    """Match one name, character by character."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return match_name(pattern[1:], name) or (bool(name) and match_name(pattern, name[1:]))
    if not name:
        return False
    if pattern[0] == "[":
        inside, _, rest = pattern[1:].partition("]")
        negated = inside.startswith("^")
        low, high = inside.lstrip("^")[0], inside[-1]
        return (low <= name[0] <= high) != negated and match_name(rest, name[1:])
    return pattern[0] in ("?", name[0]) and match_name(pattern[1:], name[1:])


def match_parts(pattern: list[str], path: list[str]) -> bool:
    """Match part by part: ``**`` stands for any number of them, at the end for at least one."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(path)
        return match_parts(pattern[1:], path) or (bool(path) and match_parts(pattern, path[1:]))
    return bool(path) and match_name(pattern[0], path[0]) and match_parts(pattern[1:], path[1:])


def slow_verdict(lines: list[str], path: str) -> bool:
    """Decide as the documentation says it: the last line that matches the path, or decided about its folder."""
    parts = path.split("/")
    decided: list[bool] = [False] * len(lines)
    ignored = False
    for depth in range(1, len(parts) + 1):
        ignored = False
        for index, line in enumerate(lines):
            back = line.startswith("!")
            pattern = line.lstrip("!").strip("/").split("/")
            if not decided[index] and back == ignored:
                decided[index] = match_parts(pattern, parts[:depth])
            if decided[index]:
                ignored = not back
    return ignored


@given(PATTERN, PATH)
def test_one_pattern(pattern: str, path: str) -> None:
    fast = parse_ignore(pattern, "x").patterns[0].match(path)
    assert fast == match_parts(pattern.split("/"), path.split("/"))


@given(st.lists(LINE, max_size=6), PATH)
def test_a_whole_file(lines: list[str], path: str) -> None:
    patterns = parse_ignore("\n".join(lines), "x")
    above, ignored = None, False
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        ignored, above = patterns.verdict("/".join(parts[:depth]), above)
    assert ignored == slow_verdict(lines, path)


@given(st.lists(LINE, max_size=6), PATH, NAME)
def test_a_folder_that_is_skipped_holds_nothing_that_would_be_taken(lines: list[str], path: str, name: str) -> None:
    patterns = parse_ignore("\n".join(lines), "x")
    ignored = slow_verdict(lines, path)
    if ignored and not patterns.may_bring_back(path):
        assert slow_verdict(lines, f"{path}/{name}")


@given(st.text(alphabet="ab*?[]^-\\!#/. {}()|+$\n\r\tä\0", max_size=30), PATH)
def test_any_text_is_read_or_refused(text: str, path: str) -> None:
    try:
        patterns = parse_ignore(text, "x")
    except AppError:
        return  # any other exception is a mistake of ours
    patterns.verdict(path, None)
