"""Parse the Procfile.

A line is ``name: command``. Names are letters, digits, ``-`` and ``_``, at most 63 of them, beginning and ending
with a letter or digit. The parser skips blank lines and ``#`` comments, and takes the command verbatim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from buildpack.app.textfile import read_text
from buildpack.dataclass import dataclass
from buildpack.errors import app as errors
from buildpack.errors import show

ONE_OFF = ("release", "postdeploy")
"""Process types that run once and end: Heroku's release phase, and app.json's script after the first deployment.

A formation has them only if the user names them."""

_OUTSIDE_NAME = re.compile(r"[^A-Za-z0-9_-]")
_SPACE = " \t"


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """A process type: its name and command. `line` counts from 1; 0 if no Procfile names it."""

    name: str
    command: str
    line: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Procfile:
    """Process types in the order of the file."""

    processes: tuple[Process, ...]
    warnings: tuple[str, ...] = ()


def select_default(processes: Sequence[Process]) -> str | None:
    """Select ``web``, or the only process type that does not run once and end; None if that leaves a choice."""
    names = [process.name for process in processes if process.name not in ONE_OFF]
    if "web" in names:
        return "web"
    return names[0] if len(names) == 1 else None


def read_procfile(folder: Path) -> Procfile | None:
    """Read the app's Procfile; None if there is none. Raises AppError with every bad line."""
    text = read_text(folder, "Procfile")
    return None if text is None else parse_procfile(text)


def parse_procfile(text: str, *, name: str = "Procfile") -> Procfile:
    """Parse a Procfile, which messages call `name`.

    Raises AppError if lines cannot be read, and shows each with a caret, or if the file names no process type.
    """
    found: dict[str, Process] = {}
    bad: list[errors.BadLine] = []
    warnings: list[str] = []
    for number, line in _lines(text):
        parsed = _parse_line(line, number)
        if isinstance(parsed, errors.BadLine):
            bad.append(parsed)
        elif parsed.name in found:
            column = line.index(parsed.name) + 1
            reason = f"`{parsed.name}` is there already, on line {found[parsed.name].line}"
            bad.append(errors.BadLine(number, column, line, reason))
        else:
            found[parsed.name] = parsed
            warnings.extend(_warn(line, parsed, name))
    if bad:
        raise errors.bad_procfile(name, bad)
    if not found:
        raise errors.empty_procfile(name)
    return Procfile(processes=tuple(found.values()), warnings=tuple(warnings))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines(): that also splits at form feeds and U+2028, which a command may hold.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        content = line.removesuffix("\r")
        stripped = content.lstrip()
        if stripped and not stripped.startswith("#"):
            yield number, content


def _parse_line(line: str, number: int) -> Process | errors.BadLine:
    def bad(column: int, reason: str) -> errors.BadLine:
        return errors.BadLine(number, column, line, reason)

    start = len(line) - len(line.lstrip(_SPACE))
    before, colon, after = line.partition(":")
    name = before.strip(_SPACE)
    outside = _OUTSIDE_NAME.search(name)
    if not colon or (outside and outside[0] in _SPACE and after[:1] not in ("", " ", "\t")):
        # `web gunicorn blasto:APP` has a colon, but not after the name.
        first = line[start:].split(maxsplit=1)[0]
        return bad(start + len(first) + 1, f"a colon is missing after `{show(first[:63])}`")
    if not name:
        return bad(len(before) + 1, "there is no name before the colon")
    if outside:
        return bad(start + outside.start() + 1, f"{_describe(outside[0])} cannot be in a name")
    if len(name) > 63:
        return bad(start + 64, "a name has at most 63 characters")
    if not name[0].isalnum():
        return bad(start + 1, "a name begins with a letter or digit")
    if not name[-1].isalnum():
        return bad(start + len(name), "a name ends with a letter or digit")
    command = after.strip()
    if not command:
        return bad(len(line.rstrip()) + 1, "there is no command after the colon")
    if "\0" in command:
        return bad(line.index("\0") + 1, "a command cannot hold a NUL byte")
    return Process(name=name, command=command, line=number)


def _describe(character: str) -> str:
    if character in _SPACE:
        return "a space" if character == " " else "a tab"
    return f"`{character}`" if character.isprintable() else f"U+{ord(character):04X}"


def _warn(line: str, process: Process, file: str) -> Iterator[str]:
    # See the parsers: honcho 2.0 environ.py, dokku's procfile-util, heroku/buildpacks-procfile procfile.rs.
    place, name = f"{file}:{process.line}", process.name
    if line[0] in _SPACE:
        yield errors.indented_line(place)
    if name != "web" and name.lower() == "web":
        yield errors.web_in_capitals(place, name)
    elif name != name.lower() or "_" in name:
        yield errors.renamed_process(place, name, name.lower().replace("_", "-"))
    if line.partition(":")[0][-1] in _SPACE:
        yield errors.space_before_colon(place)
