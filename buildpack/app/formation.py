"""``app.json``: how many of each process type. Of that file, nothing else is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from buildpack.app.jsonfile import parse_json
from buildpack.app.textfile import read_text
from buildpack.errors import app as errors

__all__ = ["parse_app_json", "read_formation"]

NAME = "app.json"
_MOST = 1000


def read_formation(folder: Path) -> Mapping[str, int]:
    """Read the formation of the app's app.json; empty where it has none. Raises AppError as `parse_app_json` does."""
    text = read_text(folder, NAME)
    return {} if text is None else parse_app_json(text)


def parse_app_json(text: str) -> Mapping[str, int]:
    """Parse ``formation``, as ``{"web": {"quantity": 2}}``; raises AppError that names the line."""
    document = parse_json(text, NAME, hint="mend app.json, or remove it.")
    if not isinstance(document, dict):
        raise errors.bad_app_json(1, "the file does not hold an object")
    formation = document.get("formation", {})
    if not isinstance(formation, dict):
        raise errors.bad_app_json(_line(text, "formation"), "`formation` is not an object")
    found = {}
    for name, entry in formation.items():
        line, shown = _line(text, name), errors.show(name)
        if not isinstance(entry, dict):
            raise errors.bad_app_json(line, f"`{shown}` is not an object")
        quantity = entry.get("quantity", 1)
        if isinstance(quantity, bool) or not isinstance(quantity, int) or not 0 <= quantity <= _MOST:
            raise errors.bad_app_json(line, f"the quantity of `{shown}` is not a number from 0 to {_MOST}")
        found[name] = quantity
    return found


def _line(text: str, key: str) -> int:
    at = text.find(f'"{key}"', max(0, text.find('"formation"')))
    return text.count("\n", 0, at) + 1 if at >= 0 else 1
