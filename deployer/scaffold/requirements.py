"""What an app without a Pipfile asks for, as entries of one: from its requirements.txt or pyproject.toml."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from buildpack.app.source import SourceFile, SourceTree
from buildpack.app.textfile import open_inside, read_text
from buildpack.bounded import parse_requirement
from buildpack.errors import BuildpackError

__all__ = ["imported_packages", "listed_packages", "parse_requirements"]

_LARGEST = 256 * 1024
_LISTS = ("requirements.txt", "pyproject.toml")
_FRAMEWORKS = {
    "flask": "flask",
    "django": "django",
    "fastapi": "fastapi",
    "starlette": "starlette",
    "quart": "quart",
    "bottle": "bottle",
    "falcon": "falcon",
    "pyramid": "pyramid",
}
"""Modules of web frameworks, and the packages that bring them."""


def listed_packages(folder: Path) -> tuple[dict[str, str], list[str], str]:
    """Read what a list of another tool asks for.

    Gives Pipfile's entries, the lines that could not be taken over, and the file; nothing where there is no list.
    """
    for name in _LISTS:
        with suppress(BuildpackError, ValueError):
            text = read_text(folder, name) or ""
            lines = _dependencies(text) if name.endswith(".toml") else text.splitlines()
            entries, left = parse_requirements(lines)
            if entries or left:
                return entries, left, name
    return {}, [], ""


def _dependencies(text: str) -> list[str]:
    project: Any = tomllib.loads(text).get("project", {})
    found = project.get("dependencies", []) if isinstance(project, dict) else []
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def parse_requirements(lines: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Turn requirements into entries of a Pipfile; gives also those lines that are no plain requirement."""
    entries: dict[str, str] = {}
    left = []
    for written in lines:
        line = re.sub(r"(?:^|\s)#.*", "", written).strip().removesuffix("\\").strip()
        line = re.sub(r"(?<!\s)\s+--hash=\S+", "", line)
        if not line or line.startswith("--hash"):
            continue
        requirement = parse_requirement(line)
        if requirement is None or requirement.url:
            left.append(line)
        else:
            marker = str(requirement.marker) if requirement.marker else ""
            entries[requirement.name] = _entry(str(requirement.specifier) or "*", sorted(requirement.extras), marker)
    return entries, left


def _entry(version: str, extras: list[str], marker: str) -> str:
    if not extras and not marker:
        return json.dumps(version)
    parts = [f"version = {json.dumps(version)}"]
    parts += [f"extras = {json.dumps(extras)}"] if extras else []
    parts += [f"markers = {json.dumps(marker)}"] if marker else []
    return f"{{{', '.join(parts)}}}"


def imported_packages(tree: SourceTree) -> list[str]:
    """List the packages of web frameworks that the app's modules import."""
    found = {
        _FRAMEWORKS[module]
        for file in tree.files
        if file.path.endswith(".py") and file.size <= _LARGEST
        for module in _imports(tree, file)
        if module in _FRAMEWORKS
    }
    return sorted(found)


def _imports(source: SourceTree, file: SourceFile) -> Iterator[str]:
    try:
        with open_inside(source.folder, file.path) as content:
            tree = ast.parse(content.read(_LARGEST))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]
