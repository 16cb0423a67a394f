"""Turn plain requirements and Poetry's entries of pyproject.toml into entries of a Pipfile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from buildpack.app.lockfile import canonical_name
from buildpack.bounded import parse_requirement
from deployer.scaffold.indexes import Index, find_origin

Origin = Mapping[str, str | bool] | None
"""Keys of an entry that say where a package comes from; None if a Pipfile cannot say so."""
_PLAIN = {"version", "extras", "markers"}
"""Keys of Poetry's entries that do not say where a package comes from."""
_COMMENT = re.compile(r"(?:^|\s)#.*")


def without_comment(line: str) -> str:
    """Return a line of a list for pip without its comment."""
    return _COMMENT.sub("", line).strip()


def parse_requirements(lines: Iterable[str], origins: Mapping[str, Origin] = {}) -> tuple[dict[str, str], list[str]]:
    """Return requirements as entries of a Pipfile, and the lines that are not a plain requirement.

    `origins` says by canonical name where packages come from.
    """
    entries: dict[str, str] = {}
    left = []
    for written in lines:
        line = without_comment(written).removesuffix("\\").strip()
        line = re.sub(r"(?<!\s)\s+--hash=\S+", "", line)
        if not line or line.startswith("--hash"):
            continue
        requirement = parse_requirement(line)
        origin = origins.get(canonical_name(requirement.name), {}) if requirement else None
        if requirement is None or requirement.url or origin is None:
            left.append(line)
            continue
        marker = str(requirement.marker) if requirement.marker else ""
        version = str(requirement.specifier) or "*"
        entries[requirement.name] = render_entry(version, sorted(requirement.extras), marker, origin)
    return entries, left


def render_entry(version: str, extras: list[str], marker: str, origin: Mapping[str, str | bool] = {}) -> str:
    """Return an entry as TOML. A package from a repository or a folder has no version in it."""
    if not extras and not marker and not origin:
        return json.dumps(version)
    values: dict[str, object] = {} if origin.keys() & {"git", "path"} else {"version": version}
    values |= {**({"extras": extras} if extras else {}), **({"markers": marker} if marker else {}), **origin}
    return f"{{{', '.join(f'{key} = {json.dumps(value)}' for key, value in values.items())}}}"


# Poetry


def origin_of(written: object, indexes: Iterable[Index]) -> dict[str, str | bool] | None:
    """Return where Poetry takes a package from, as keys of a Pipfile; None if a Pipfile cannot say so."""
    table = written if isinstance(written, dict) else {}
    more = {key: value for key, value in table.items() if key not in _PLAIN}
    return find_origin(more, indexes) if more else {}


def poetry_entry(written: object, origin: Mapping[str, str | bool]) -> str | None:
    """Return Pipfile's entry for one of Poetry's; None if pip does not know the form of its version."""
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
