"""Summarise each wheel, and compare the summaries: missing setuptools, and paths that several wheels ship. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from buildpack.bounded import parse_integer, parse_version
from buildpack.dataclass import dataclass
from buildpack.errors import wheels as errors
from buildpack.oci.entry import Inline
from buildpack.python.about import About
from buildpack.python.files import canonical_name

if TYPE_CHECKING:
    from buildpack.oci.entry import Entry
    from buildpack.python.files import LockedFile, WheelFile
    from buildpack.python.venv import VenvLayout
    from buildpack.python.wheel import WheelContents
    from buildpack.python.wheel_scan import Scan

_REQUIRED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STRAYS = frozenset({"tests", "test", "testing", "docs", "doc", "examples", "example", "benchmarks", "scripts"})
NAMESPACE = " namespace"
_DIST_INFO = re.compile(r"[^/]+\.dist-info/")
_MOST_ROOTS = 50
_WITHOUT_PKG_RESOURCES = 82
"""The first series of setuptools without `pkg_resources`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One wheel's requirements and files, for a comparison with the others; `size` is that of its file, in bytes.

    `contents` has a mark for each of `paths`: files with equal marks are equal. The mark of a module that only declares
    a namespace ends with `NAMESPACE`. `about` lacks the required packages, which depend on the target.
    """

    name: str
    version: str
    size: int
    needed: tuple[str, ...]
    provided: tuple[str, ...]
    requires: tuple[str, ...]
    paths: tuple[str, ...]
    contents: tuple[str, ...]
    roots: tuple[str, ...]
    imports_pkg_resources: bool
    about: About
    warnings: tuple[str, ...]


def summarise(contents: WheelContents, scan: Scan, size: int, layout: VenvLayout) -> Summary:
    """Return the summary of a wheel; `size` is in bytes, and `layout` is that of its environment."""
    namespaces = {f"{layout.site_packages}/{name}" for name in scan.namespaces}
    entries = sorted(contents.entries, key=lambda entry: entry.path)
    return Summary(
        name=contents.name,
        version=contents.version,
        size=size,
        needed=scan.needed,
        provided=scan.provided,
        requires=contents.requires_dist,
        paths=tuple(entry.path for entry in entries),
        roots=find_roots([entry.path for entry in entries], layout.root),
        contents=tuple(_mark(entry) + NAMESPACE * (entry.path in namespaces) for entry in entries),
        imports_pkg_resources=scan.imports_pkg_resources,
        about=contents.about,
        warnings=contents.warnings,
    )


def _mark(entry: Entry) -> str:
    """Return size, checksum and mode of a file from the wheel's directory. Nothing is unpacked."""
    from zlib import crc32

    content = entry.content
    body = content.body if isinstance(content, Inline) else b""
    found = crc32(body) if content is None or isinstance(content, Inline) else content.crc32
    return f"{content.size if content else 0:x} {found:x} {entry.mode:o}"


def setuptools_missing(wheels: Sequence[WheelFile], importing: frozenset[str], version: str) -> list[str]:
    """Warn that this setuptools is added, because a wheel imports `pkg_resources` and no locked wheel has it."""
    if any(wheel.name == "setuptools" for wheel in wheels):
        return []
    first = next((wheel for wheel in wheels if wheel.name in importing), None)
    return [errors.setuptools_added(first.name, first.version, version)] if first else []


def setuptools_too_new(wheels: Sequence[WheelFile], importing: frozenset[str]) -> list[str]:
    """Warn about a wheel that imports `pkg_resources` if the locked setuptools lacks it."""
    locked = next((wheel.version for wheel in wheels if wheel.name == "setuptools"), "")
    series = locked.partition(".")[0]
    if (parse_integer(series) or 0) < _WITHOUT_PKG_RESOURCES:
        return []
    first = next((wheel for wheel in wheels if wheel.name in importing), None)
    return [errors.setuptools_outgrown(first.name, first.version, locked)] if first else []


def check_name_and_version(wheel: LockedFile, summary: Summary) -> None:
    """Raise if a wheel's METADATA has another name or version than the lock. pip refuses such a wheel too."""
    versions = [parse_version(version) or version for version in (summary.version, wheel.version or summary.version)]
    if summary.name != wheel.name or versions[0] != versions[1]:
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


def find_roots(paths: Sequence[str], environment: str) -> tuple[str, ...]:
    """Return the top files and folders of a wheel without its ``.dist-info``, sorted.

    A folder that only has folders, such as that of a namespace, may belong to several wheels, so the folders in it are
    returned. Paths in site-packages are relative to it; others begin with a slash, which means the `environment`.
    ``""`` alone means too many.
    """
    places = [place for path in paths if not _DIST_INFO.match(place := _place(path, environment))]
    holding = {place.rpartition("/")[0] for place in places} - {"", "/bin"}
    roots = sorted({_root(place, holding) for place in places})
    return tuple(roots) if len(roots) <= _MOST_ROOTS else ("",)


def _place(path: str, environment: str) -> str:
    _, installed, module = path.partition("/site-packages/")
    return module if installed else path.removeprefix(environment)


def _root(place: str, holding: set[str]) -> str:
    end = place.find("/", 1)
    while end > 0:
        if place[:end] in holding:
            return place[:end]
        end = place.find("/", end + 1)
    return place


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
