"""``formation`` of app.json: how many of each process type."""

from __future__ import annotations

from collections.abc import Mapping

from buildpack.app.jsonfile import AppJson
from buildpack.errors import app as errors

_MOST = 1000


def select_formation(app_json: AppJson) -> Mapping[str, int]:
    """Return ``formation``, as ``{"web": {"quantity": 2}}``, by name; raises AppError that names the line."""
    text, formation = app_json.text, app_json.document.get("formation", {})
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
