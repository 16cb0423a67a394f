"""Match `.dockerignore` and `.slugignore` as Docker's own code does.

Follows moby/patternmatcher (patternmatcher.go and ignorefile.go), and BuildKit's walk, which enters an ignored folder
if a `!` pattern could match a file in it. That code translates a pattern into a regular expression of Go, with oddities
(`[*]` is one). This does the same, and then translates that into one of Python.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence

from buildpack.dataclass import dataclass
from buildpack.errors import app as errors
from buildpack.errors import show

_ESCAPED = frozenset(".+()|{}$")
_GO_ESCAPES = {
    "a": r"\x07", "f": r"\x0c", "n": r"\n", "r": r"\r", "t": r"\t", "v": r"\x0b",
    "d": "[0-9]", "D": "[^0-9]", "s": r"[\t\n\x0c\r ]", "S": r"[^\t\n\x0c\r ]",
    "w": "[0-9A-Za-z_]", "W": "[^0-9A-Za-z_]", "b": r"\b", "B": r"\B", "A": r"\A", "z": r"\Z",
}  # fmt: skip
_MOST_STARS = 6
_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ", "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\x0b\x0c\r ", "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """One line, which leaves files out or brings them back (`!`). `line` counts from 1."""

    text: str
    line: int
    brings_back: bool
    literal: tuple[str, ...]
    """The leading parts without a wildcard: the pattern matches only paths at or below them."""
    exact: bool
    """True if the pattern has no wildcard."""
    match: Callable[[str], bool]

    def may_match_below(self, folder: str) -> bool:
        """Return True if it could match a file in `folder`."""
        parts = tuple(folder.split("/"))
        if len(parts) < len(self.literal):
            return self.literal[: len(parts)] == parts
        return not self.exact and parts[: len(self.literal)] == self.literal

    def is_inside(self, folder: str) -> bool:
        """Return True if it can match only `folder` and the files in it."""
        parts = tuple(folder.split("/"))
        return self.literal[: len(parts)] == parts

    def names(self, path: str) -> bool:
        """Return True if it names `path` or a folder above it, exactly up to its first wildcard."""
        return tuple(path.split("/"))[: len(self.literal)] == self.literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Patterns:
    """An ignore file: its `name` and its patterns, in order; the last that matches decides."""

    name: str
    patterns: tuple[Pattern, ...]

    def verdict(self, path: str, above: Sequence[bool] | None) -> tuple[bool, list[bool]]:
        """Return whether `path` is ignored, and which patterns matched it or its folder.

        `above` is the second value for the folder of `path`; None for the app's folder. This follows
        `PatternMatcher.MatchesUsingParentResults`.
        """
        ignored = False
        matches = [False] * len(self.patterns) if above is None else list(above)
        for index, pattern in enumerate(self.patterns):
            if not matches[index]:
                if pattern.brings_back != ignored:
                    continue
                matches[index] = pattern.match(path)
            if matches[index]:
                ignored = not pattern.brings_back
        return ignored, matches

    def may_bring_back(self, folder: str) -> bool:
        """Return True if a pattern may bring back a file in the ignored `folder`."""
        return any(pattern.brings_back and pattern.may_match_below(folder) for pattern in self.patterns)


def parse_ignore(text: str, name: str) -> Patterns:
    """Parse an ignore file called `name`; raises AppError naming the line of a bad pattern."""
    patterns = []
    # Lines as Go's bufio.ScanLines has them; TrimSpace then removes the rest of the white space.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.startswith("#") or not line.strip():
            continue
        patterns.append(_parse_pattern(line.strip(), name, number))
    return Patterns(name=name, patterns=tuple(patterns))


def _parse_pattern(text: str, name: str, line: int) -> Pattern:
    brings_back = text.startswith("!")
    pattern = text[1:].strip() if brings_back else text
    if not pattern:
        raise errors.bad_ignore_pattern(name, line, text, "nothing follows the `!`")
    cleaned = _clean(pattern)
    if len(cleaned) > 1:
        cleaned = cleaned.removeprefix("/")
    # The matcher cleans once more, `!` and all.
    cleaned = _clean("!" + cleaned)[1:] if brings_back else _clean(cleaned)
    try:
        _check_glob(cleaned)
        match = _compile(cleaned)
    except ValueError as error:
        raise errors.bad_ignore_pattern(name, line, text, str(error)) from None
    parts = cleaned.split("/")
    wild = next((index for index, part in enumerate(parts) if set(part) & set("*?[]\\^")), len(parts))
    return Pattern(
        text=text,
        line=line,
        brings_back=brings_back,
        literal=tuple(parts[:wild]),
        exact=wild == len(parts),
        match=match,
    )


def _clean(path: str) -> str:
    # Go's filepath.Clean; POSIX's leading `//` is special to Python alone.
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _check_glob(pattern: str) -> None:
    """Raise ValueError if Go's filepath.Match returns ErrBadPattern."""
    at, end = 0, len(pattern)

    def member(at: int) -> int:
        if at >= end or pattern[at] in "-]":
            raise ValueError("a character is missing in `[...]`")
        at += 1 if pattern[at] == "\\" else 0
        if at + 1 >= end:
            raise ValueError("`[` is never closed")
        return at + 1

    while at < end:
        if pattern[at] == "\\":
            if at + 1 == end:
                raise ValueError("nothing follows the last backslash")
            at += 2
        elif pattern[at] == "[":
            at += 2 if pattern.startswith("[^", at) else 1
            first = True
            while first or at >= end or pattern[at] != "]":
                at = member(at)
                if pattern[at] == "-":
                    at = member(at + 1)
                first = False
            at += 1
        else:
            at += 1


def _compile(pattern: str) -> Callable[[str], bool]:
    kind, expression = _go_expression(pattern)
    if kind == "exact":
        return pattern.__eq__
    if kind == "prefix":
        prefix = pattern[:-2]
        return lambda path: path.startswith(prefix)
    if kind == "suffix":
        suffix = pattern[2:]
        return lambda path: path.endswith(suffix) or (suffix[:1] == "/" and path == suffix[1:])
    compiled = re.compile(_tame_expression(pattern) or _python_expression(expression))
    return lambda path: compiled.match(path) is not None


def _go_expression(pattern: str) -> tuple[str, str]:
    """Translate a pattern as `Pattern.compile` does; returns the kind of match and the regular expression of Go."""
    kind, made, at, count = "exact", "^", 0, 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*" and pattern.startswith("*", at):
            at += 1
            at += pattern.startswith("/", at)
            if at == len(pattern):
                kind, made = ("prefix", made) if kind == "exact" else ("expression", made + ".*")
            else:
                kind, made = "expression", made + "(.*/)?"
            if count == 0:
                kind = "suffix"
        elif character in "*?":
            kind, made = "expression", made + ("[^/]*" if character == "*" else "[^/]")
        elif character in _ESCAPED:
            made += "\\" + character
        elif character == "\\":
            kind, made, at = "expression", made + "\\" + pattern[at], at + 1
        else:
            kind = "expression" if character in "[]" else kind
            made += character
        count += 1
    return kind, made


def _tame_expression(pattern: str) -> str | None:
    """Translate an ordinary pattern so that Python matches it in quadratic time at most, as Go matches every pattern.

    Go's expressions do not backtrack, but Python's do: `*a*a*a*a*b` would take for ever. The part between two wildcards
    may match at its earliest place, so that choice is final (`(?>...)`). This needs parts that match one by one; None
    if a part may match a slash.
    """
    parts = pattern.split("/")
    if set(pattern) & set("\\^") or any("**" in part and part != "**" for part in parts):
        return None
    try:
        runs = [[_tame_part(part) for part in run] for run in _split(parts)]
    except ValueError:
        return None
    first, *rest = ["/".join(run) for run in runs]
    made = first + "/" if first and rest else first
    for run in rest[:-1]:
        made += f"(?>(?:.*?/)??{run}/)" if run else ""
    if rest:
        made += f"(?:.*/)?{rest[-1]}" if rest[-1] else ".*"
    return made + r"\Z"


def _split(parts: Sequence[str]) -> list[list[str]]:
    """Split at each ``**``."""
    runs: list[list[str]] = [[]]
    for part in parts:
        if part == "**":
            runs.append([])
        else:
            runs[-1].append(part)
    return runs


def _tame_part(part: str) -> str:
    """Translate the part between two slashes; raises ValueError if a class in it could match a slash."""
    pieces, at = [""], 0
    while at < len(part):
        character = part[at]
        if character == "[":
            members, at = _class(part, at)
            if "*" in members or "?" in members or re.match(members, "/"):
                raise ValueError(part)
            pieces[-1] += members
            continue
        at += 1
        if character == "*":
            pieces.append("")
        else:
            pieces[-1] += "[^/]" if character == "?" else re.escape(character)
    if len(pieces) == 1:
        return pieces[0]
    between = "".join(f"(?>[^/]*?{piece})" for piece in pieces[1:-1] if piece)
    return f"{pieces[0]}{between}[^/]*{pieces[-1]}"


def _python_expression(expression: str) -> str:
    if expression.count("*") > _MOST_STARS:
        raise ValueError("a pattern with `\\`, `[^...]` or `**` beside other characters cannot have so many wildcards")
    made, at = "", 0
    while at < len(expression):
        character = expression[at]
        if character == "\\":
            made += _escape(expression[at + 1])
            at += 2
        elif character == "[":
            members, at = _class(expression, at)
            made += members
        else:
            made += character if character in "^()?*." else re.escape(character)
            at += 1
    return made + r"\Z"


def _escape(character: str) -> str:
    if not (character.isascii() and character.isalnum()):
        return re.escape(character)
    if character in _GO_ESCAPES:
        return _GO_ESCAPES[character]
    raise ValueError(f"`\\{character}` has no meaning")


def _class(expression: str, start: int) -> tuple[str, int]:
    """Translate the class that begins at `start`, as parseClass of Go's regexp/syntax; returns it and its end."""
    at = start + 1
    made = "["
    if expression.startswith("^", at):
        made, at = "[^", at + 1
    first = True
    while True:
        if at >= len(expression):
            raise ValueError("`[` is never closed")
        if expression[at] == "]" and not first:
            return made + "]", at + 1
        first = False
        if expression.startswith("[:", at) and (end := expression.find(":]", at + 2)) >= 0:
            name = expression[at + 2 : end]
            if name not in _POSIX:
                raise ValueError(f"`[:{name}:]` is not a class")
            made, at = made + _POSIX[name], end + 2
            continue
        low, at = _member(expression, at)
        if len(low) == 1 and expression.startswith("-", at) and expression[at + 1 : at + 2] not in ("", "]"):
            high, at = _member(expression, at + 1)
            if len(high) != 1 or high < low:
                raise ValueError(f"`{show(low)}-{show(high)}` is not a range")
            made += f"{_literal(low)}-{_literal(high)}"
        else:
            made += _literal(low) if len(low) == 1 else low


def _member(expression: str, at: int) -> tuple[str, int]:
    """Read a member of a class: one character, or the content of a class such as ``0-9``."""
    if expression[at] != "\\":
        return expression[at], at + 1
    character = expression[at + 1]
    if not (character.isascii() and character.isalnum()):
        return character, at + 2
    known = _GO_ESCAPES.get(character, "")
    if character in "afnrtv":
        return "\a\f\n\r\t\v"["afnrtv".index(character)], at + 2
    if character in "dsw":
        return known[1:-1], at + 2
    raise ValueError(f"`\\{character}` has no meaning in `[...]`")


def _literal(character: str) -> str:
    return re.escape(character) if character.isascii() and not character.isalnum() else character
