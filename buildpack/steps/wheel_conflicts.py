"""Compare wheels by their summaries: missing setuptools, and paths that several wheels ship. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from buildpack.app.lockfile import canonical_name
from buildpack.bounded import parse_integer
from buildpack.dataclass import dataclass
from buildpack.errors import wheels as errors
from buildpack.python.wheel_choice import same_version
from buildpack.python.wheel_scan import NAMESPACE, Summary

if TYPE_CHECKING:
    from buildpack.python.files import LockedFile, WheelFile

_REQUIRED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STRAYS = frozenset({"tests", "test", "testing", "docs", "doc", "examples", "example", "benchmarks", "scripts"})
_WITHOUT_PKG_RESOURCES = 82
"""The first series of setuptools without `pkg_resources`."""


def setuptools_missing(wheels: Sequence[WheelFile], version: str) -> list[str]:
    """Warn that this setuptools is added, because a wheel imports `pkg_resources` and no locked wheel has it."""
    if any(wheel.name == "setuptools" for wheel in wheels):
        return []
    first = next((wheel for wheel in wheels if wheel.pkg_resources), None)
    return [errors.setuptools_added(first.name, first.version, version)] if first else []


def setuptools_too_new(wheels: Sequence[WheelFile]) -> list[str]:
    """Warn about a wheel that imports `pkg_resources` if the locked setuptools lacks it."""
    locked = next((wheel.version for wheel in wheels if wheel.name == "setuptools"), "")
    series = locked.partition(".")[0]
    if (parse_integer(series) or 0) < _WITHOUT_PKG_RESOURCES:
        return []
    first = next((wheel for wheel in wheels if wheel.pkg_resources), None)
    return [errors.setuptools_outgrown(first.name, first.version, locked)] if first else []


def check_name_and_version(wheel: LockedFile, summary: Summary) -> None:
    """Raise if a wheel's METADATA has another name or version than the lock. pip refuses such a wheel too."""
    if summary.name != wheel.name or not same_version(summary.version, wheel.version or summary.version):
        raise errors.another_package(wheel.filename, (wheel.name, wheel.version), (summary.name, summary.version))


def check_file_or_folder(summaries: Sequence[tuple[WheelFile, Summary]]) -> None:
    """Raise if a file of one wheel is a folder of another: no order of layers keeps both."""
    from buildpack.python.wheel_zip import file_and_folder

    clash = file_and_folder({path for _, summary in summaries for path in summary.paths})
    if not clash:
        return
    names = [
        wheel.name
        for wheel, summary in summaries
        if any(path == clash or path.startswith(f"{clash}/") for path in summary.paths)
    ]
    raise errors.file_and_folder(names, clash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlaps:
    """The wheels that ship different files of the same path, and warnings about them. Equal files do not conflict.

    `names` are these wheels. They share a layer, in which the last name wins, as in an install in the lock's order.
    `warnings` are about files that an app may import. `notes` are about files that make no difference: stray folders
    such as a top-level ``tests``, and modules that only declare a namespace.
    """

    names: frozenset[str]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def find_overlaps(summaries: Sequence[tuple[WheelFile, Summary]]) -> Overlaps:
    """Compare the wheels' paths and contents; `summaries` are in the order of the wheels' names."""
    owners: dict[str, list[tuple[str, str]]] = {}
    for wheel, summary in summaries:
        for path, mark in zip(summary.paths, summary.contents, strict=True):
            owners.setdefault(path, []).append((wheel.name, mark))
    shared: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for path, (*losers, (winner, mark)) in owners.items():
        for loser, other in losers:
            if other != mark:
                shared.setdefault((loser, winner), []).append((path, _why_harmless(path, mark, other)))
    requirers = _requirers(summaries)
    warnings: list[str] = []
    notes: list[str] = []
    for (loser, winner), paths in sorted(shared.items()):
        advice = errors.one_to_drop(loser, winner, requirers.get(loser, ()), requirers.get(winner, ()))
        for reason in ("", *_HARMLESS):
            listed = [path for path, why in sorted(paths) if why == reason]
            if listed:
                (notes if reason else warnings).append(errors.shared_paths(loser, winner, listed, reason or advice))
    names = frozenset(name for pair in shared for name in pair)
    return Overlaps(names=names, warnings=tuple(warnings), notes=tuple(notes))


def _requirers(summaries: Sequence[tuple[WheelFile, Summary]]) -> dict[str, list[str]]:
    """Return, for each package, the wheels that require it without an extra."""
    found: dict[str, list[str]] = {}
    for wheel, summary in summaries:
        for line in summary.requires:
            name = _REQUIRED.match(line)
            if name and "extra" not in line.partition(";")[2]:
                found.setdefault(canonical_name(name[0]), []).append(wheel.name)
    return found


def may_overlap(some: Sequence[str], others: Sequence[str]) -> bool:
    """Return True if two wheels with these roots may ship files of the same path."""
    return any(
        not one or not other or f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
        for one in some
        for other in others
    )


_HARMLESS = ("No app imports them.", "Each only declares the namespace.")


def _why_harmless(path: str, *marks: str) -> str:
    """Return why it does not matter which wheel's file is installed; empty if it may matter.

    It does not matter in a folder that packages put into site-packages by mistake. Nor if each file only declares a
    namespace: all of its parts are in one folder, so an empty ``__init__.py`` does the same.
    """
    if path.partition("/site-packages/")[2].partition("/")[0] in _STRAYS:
        return _HARMLESS[0]
    declares = path.endswith("/__init__.py") and all(mark.endswith(NAMESPACE) or mark[:2] == "0 " for mark in marks)
    return _HARMLESS[1] if declares else ""
