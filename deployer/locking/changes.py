"""Reads versions in Pipfile.lock: those to keep, and those that a lock changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass

if TYPE_CHECKING:
    from buildpack.app.pipfile import Pipfile

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"={2,3}[A-Za-z0-9.+!_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A package whose locked version differs; `before` is empty for a new package, `after` for a removed one."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        if not self.before:
            return f"{self.name} {self.after} is new"
        return f"{self.name} {self.before} -> {self.after}" if self.after else f"{self.name} {self.before} is gone"


def versions_of(lock: bytes | None) -> dict[str, str]:
    """Return each package's version in a lock, with its category; empty if this is not a lock."""
    try:
        document: Any = parse_json(lock or b"{}")
        return {
            name + ("" if category == "default" else f" ({category})"): _version_of(entry)
            for category, entries in document.items()
            if category != "_meta"
            for name, entry in (entries or {}).items()
        }
    except (ValueError, AttributeError):
        return {}


def _version_of(entry: Any) -> str:
    return str(entry.get("version") or entry.get("ref") or "*").lstrip("=")


def compare_locks(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """Return the differences, in order of names."""
    return tuple(
        Change(name=name, before=before.get(name, ""), after=after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def pins_of(lock: bytes | None, pipfile: Pipfile, move: Iterable[str]) -> dict[str, str]:
    """Return the versions to keep, such as ``==1.0``, by canonical name.

    A package has none if two categories lock different versions, or if Pipfile asks for another version.
    """
    from buildpack.app.pipfile import canonical

    versions: dict[str, set[str]] = {}
    try:
        document: Any = parse_json(lock or b"{}")
        for category, entries in document.items():
            for name, entry in (entries or {}).items() if category != "_meta" else ():
                version = str(entry.get("version", ""))
                if _NAME.fullmatch(name) and _VERSION.fullmatch(version):
                    versions.setdefault(canonical(name), set()).add(version)
    except (ValueError, AttributeError):
        return {}
    moved = {canonical(name) for name in move}
    for wanted in (each for section in ("default", *pipfile.categories) for each in pipfile.wanted(section)):
        if not all(_allows(wanted.specifier, version) for version in versions.get(wanted.name, ())):
            moved.add(wanted.name)
    return {name: found.pop() for name, found in versions.items() if len(found) == 1 and name not in moved}


def _allows(specifier: str, version: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(specifier).contains(version.lstrip("="), prereleases=True)
    except InvalidSpecifier:
        return True
