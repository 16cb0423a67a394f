"""Render entries of a Pipfile, and turn plain requirements into them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from buildpack.app.pipfile import canonical
from buildpack.bounded import parse_requirement

Origin = Mapping[str, str | bool] | None
"""Keys of an entry that say where a package comes from; None if a Pipfile cannot say it."""
_COMMENT = re.compile(r"(?:^|\s)#.*")


def without_comment(line: str) -> str:
    """Return a line of a list for pip without its comment."""
    return _COMMENT.sub("", line).strip()


def parse_requirements(lines: Iterable[str], origins: Mapping[str, Origin] = {}) -> tuple[dict[str, str], list[str]]:
    """Turn requirements into entries of a Pipfile; gives also the lines that are not a plain requirement.

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
        origin = origins.get(canonical(requirement.name), {}) if requirement else None
        if requirement is None or requirement.url or origin is None:
            left.append(line)
            continue
        marker = str(requirement.marker) if requirement.marker else ""
        version = str(requirement.specifier) or "*"
        entries[requirement.name] = render_entry(version, sorted(requirement.extras), marker, origin)
    return entries, left


def render_entry(version: str, extras: list[str], marker: str, origin: Mapping[str, str | bool] = {}) -> str:
    """Return an entry as TOML. A package from a repository or a folder has no version there."""
    if not extras and not marker and not origin:
        return json.dumps(version)
    values: dict[str, object] = {} if origin.keys() & {"git", "path"} else {"version": version}
    values |= {**({"extras": extras} if extras else {}), **({"markers": marker} if marker else {}), **origin}
    return f"{{{', '.join(f'{key} = {json.dumps(value)}' for key, value in values.items())}}}"
