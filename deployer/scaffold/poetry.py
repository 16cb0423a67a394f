"""Read Poetry's entries of pyproject.toml as entries of a Pipfile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from deployer.scaffold.entries import render_entry
from deployer.scaffold.indexes import Index, find_origin

_PLAIN = {"version", "extras", "markers"}


def origin_of(written: object, indexes: Iterable[Index]) -> dict[str, str | bool] | None:
    """Return where Poetry takes a package from, as keys of a Pipfile; None if a Pipfile cannot say it."""
    table = written if isinstance(written, dict) else {}
    more = {key: value for key, value in table.items() if key not in _PLAIN}
    return find_origin(more, indexes) if more else {}


def poetry_entry(written: object, origin: Mapping[str, str | bool]) -> str | None:
    """Return Pipfile's entry for one of Poetry's; None if its version is one that pip does not know."""
    table: dict[str, Any] = written if isinstance(written, dict) else {"version": written}
    version = table.get("version", "*" if origin else None)
    if not isinstance(version, str):
        return None
    parts = [_version(part.strip()) for part in version.split(",")]
    if None in parts:
        return None
    extras = table.get("extras")
    named = sorted(one for one in extras if isinstance(one, str)) if isinstance(extras, list) else []
    return render_entry(",".join(map(str, parts)), named, str(table.get("markers", "")), origin)


def _version(part: str) -> str | None:
    """Return a PEP 440 specifier for one of Poetry's (``^1.2``, ``~1.2``, ``1.2.*``, ``1.2``)."""
    if part == "*" or re.fullmatch(r"(?:==|!=|<=|>=|<|>|~=)\s*[\w.*+!]+", part):
        return part
    found = re.fullmatch(r"([\^~]?)(\d{1,9}(?:\.\d{1,9}){0,3})(\.\*)?", part)
    if not found:
        return None
    sign, version, wild = found.groups()
    if not sign:
        return f"=={version}{wild or ''}"
    numbers = [int(number) for number in version.split(".")]
    if sign == "^":
        at = next((place for place, number in enumerate(numbers) if number), len(numbers) - 1)
    else:
        at = min(1, len(numbers) - 1)
    return f">={version},<{'.'.join(map(str, [*numbers[:at], numbers[at] + 1]))}"
