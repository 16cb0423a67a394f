"""A warning about an app: what is worth a look, and fails no build unless ``--strict`` asks for that."""

from __future__ import annotations

import re

from buildpack.bounded import parse_integer
from buildpack.dataclass import dataclass
from buildpack.errors.app import show

_PLACE = re.compile(r"([\w./-]+:\d+|app\.json): (.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """What is so, why that matters, what to do: each part of a sentence, the last one with its full stop.

    `place` is the file to look at, relative to the app's folder, with its line (``Procfile:1``); empty where there is
    no one such place.
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
    """Split ``Procfile:1`` into path and line, each None where it is not told."""
    path, colon, line = place.rpartition(":")
    if colon and (number := parse_integer(line)) is not None:
        return path, number
    return place or None, None
