"""Errors and warnings: what happened, why, how to fix it, and an exit code.

Other code calls a function of a module in this package with the facts; only these modules hold sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from buildpack.bounded import parse_integer
from buildpack.dataclass import dataclass

_SHOWN = 10
_WIDTH = 96
_PLACE = re.compile(r"([\w./-]+:\d+|app\.json): (.*)", re.DOTALL)


class BuildpackError(Exception):
    """An error: `what` happened (one line), `why` (perhaps several lines), and a `hint` at what to do next.

    `place` is the file of the app to fix, relative to its folder, with the first line there that is wrong
    (``Procfile:3``); empty if no single line is wrong.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", hint: str = "", place: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint
        self.place = place

    def __str__(self) -> str:
        """Render the whole message, without the leading ``error:``."""
        parts = [self.what, self.why, f"hint: {self.hint}" if self.hint else ""]
        return "\n\n".join(part for part in parts if part)


class UsageError(BuildpackError):
    """Wrong usage."""

    exit_code = 2


class AppError(BuildpackError):
    """The app cannot be built until a file that the error names is fixed."""

    exit_code = 10


class DependencyError(BuildpackError):
    """A dependency could not be fetched, verified or built."""

    exit_code = 20


class StackError(BuildpackError):
    """A stack or registry could not be reached, or refused."""

    exit_code = 30


class EngineError(BuildpackError):
    """No engine, or the engine refused."""

    exit_code = 40


class MachineError(BuildpackError):
    """This machine: disk full, permission, port taken."""

    exit_code = 70


class LostError(MachineError):
    """A stored file is damaged or gone; it was dropped, so the same command run again makes it again."""


class Problems(BuildpackError):
    """Several errors found in one pass; the exit code is the first one's."""

    def __init__(self, problems: Sequence[BuildpackError]) -> None:
        super().__init__("; ".join(problem.what for problem in problems))
        self.problems = tuple(problems)
        self.exit_code = problems[0].exit_code

    def __str__(self) -> str:
        return "\n\n".join(str(problem) for problem in self.problems)


def together(problems: Sequence[BuildpackError]) -> BuildpackError:
    """Return the only problem, or several as one error."""
    return problems[0] if len(problems) == 1 else Problems(problems)


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """A warning about an app; it fails no build unless ``--strict`` asks for that.

    `what`, `why` and `hint` are parts of one sentence, and the last part has its full stop. `place` is the file to look
    at, relative to the app's folder, with its line (``Procfile:1``); empty if there is none.
    """

    what: str
    why: str = ""
    hint: str = ""
    place: str = ""

    def __str__(self) -> str:
        """Render it on one line."""
        place = show(self.place)
        # A sentence may begin with its place: "app.py:1 imports requests".
        text = f"{place}: {self.what}" if place and not self.what.startswith(f"{place} ") else self.what
        if self.why:
            text += f": {self.why}"
        return f"{text}; {self.hint}" if self.hint else text


def parse_notice(text: str) -> Notice:
    """Make a notice of a warning that is one sentence, which may begin with its place."""
    found = _PLACE.fullmatch(text)
    return Notice(what=found[2], place=found[1]) if found else Notice(what=text)


def split_place(place: str) -> tuple[str | None, int | None]:
    """Split ``Procfile:1`` into path and line, None for what it lacks."""
    path, colon, line = place.rpartition(":")
    if colon and (number := parse_integer(line)) is not None:
        return path, number
    return place or None, None


def show(text: str) -> str:
    """Render a name or value from outside on one line: what would not print is escaped."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode's stand-in for a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def bullets(lines: Sequence[str]) -> str:
    """Render a list, one item to a line, at most ten of them."""
    shown = [f"  - {line}" for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        shown.append(f"  and {len(lines) - _SHOWN} more")
    return "\n".join(shown)


def listed(names: Sequence[str], most: int = 8) -> str:
    """Render a list of names within a sentence, at most `most` of them."""
    if not names:
        return "nothing"
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def quoted(names: Sequence[str]) -> str:
    """Render a list of names of code within a sentence, at most eight of them."""
    return listed([f"`{name}`" for name in names])


def pinned(name: str, version: str | None) -> str:
    """Render a package with its version, if it has one."""
    return f"{name} {version}" if version else name


def caret(line: str, column: int) -> str:
    """Render a line of a file with a caret under `column` (from 1); a long line is cut to what surrounds it."""
    start = max(0, column - 1 - _WIDTH // 2) if len(line) > _WIDTH else 0
    window = line[start : start + _WIDTH]
    if column - 1 - start > len(window):
        column = start + len(window) + 1
    # One character for each, so that the caret points at the right one.
    flat = "".join(" " if c == "\t" else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in window)
    return f"    {flat.rstrip()}\n    {' ' * (column - 1 - start)}^"


def file_of(origin: str) -> str:
    """Return the file and the line of an origin such as ``Pipfile.lock (python_version)``; empty for a variable."""
    file = origin.partition(" ")[0]
    return file if "." in file else ""


def sentence(text: str) -> str:
    """Begin with a capital, and leave out the last full stop."""
    text = text.strip().rstrip(".")
    return text[:1].upper() + text[1:]
