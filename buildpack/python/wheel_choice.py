"""Chooses the file of an index that is installed on a target, and explains why others do not fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

from buildpack.app.lockfile import canonical_name
from buildpack.bounded import allows_version, parse_version
from buildpack.dataclass import dataclass
from buildpack.python.files import IndexFile
from buildpack.python.target import Target

if TYPE_CHECKING:
    from packaging.version import Version

    from buildpack.app.lockfile import LockedPackage

_SDIST = re.compile(r"\.(tar\.gz|zip|tar\.bz2|tgz|tar\.xz)$")
_SYSTEMS = (("win", "win32"), ("macosx_", "darwin"))
_BUILD = re.compile(r"(\d{1,18})(?!\d)(.*)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelName:
    """A wheel's file name, taken apart (binary distribution format, "File name convention")."""

    name: str
    version: str
    build: tuple[int, str]
    pythons: tuple[str, ...]
    abis: tuple[str, ...]
    platforms: tuple[str, ...]


def parse_wheel_name(filename: str) -> WheelName | None:
    """Take a wheel's file name apart, even an old or sloppy one; None if it is not a wheel's."""
    stem, dot, extension = filename.rpartition(".")
    parts = stem.split("-")
    if not dot or extension.lower() != "whl" or len(parts) not in {5, 6}:
        return None
    build = _BUILD.fullmatch(parts[2]) if len(parts) == 6 else None
    if len(parts) == 6 and build is None:
        return None
    pythons, abis, platforms = (tuple(part.lower().split(".")) for part in parts[-3:])
    return WheelName(
        name=canonical_name(parts[0]),
        version=parts[1].replace("_", "-"),
        build=(int(build[1]), build[2]) if build else (0, ""),
        pythons=pythons,
        abis=abis,
        platforms=platforms,
    )


def is_sdist(filename: str) -> bool:
    """Return True for the name of an archive of sources."""
    return _SDIST.search(filename) is not None


def file_version(filename: str, name: str) -> str | None:
    """Read the version out of a file's name, for `name` in canonical form; None for other projects' files."""
    if wheel := parse_wheel_name(filename):
        return wheel.version if wheel.name == name else None
    stem = _SDIST.sub("", filename)
    if stem == filename:
        return None
    # The name may hold dashes, in older files, and so may the version: try each.
    for match in re.finditer("-", stem):
        if canonical_name(stem[: match.start()]) == name:
            return stem[match.end() :]
    return None


def same_version(one: str, other: str) -> bool:
    """Return True if these versions are equal (PEP 440); texts that are not versions must be the same."""
    parsed = parse_version(one)
    return one == other or (parsed is not None and parsed == parse_version(other))


def best_wheel(files: Iterable[IndexFile], target: Target) -> IndexFile | None:
    """Choose as pip does: the best tag, then the highest build number; then the name, so that order does not matter."""
    ranked = []
    for file in files:
        wheel = parse_wheel_name(file.filename)
        rank = rank_wheel(wheel, target) if wheel else None
        if wheel is not None and rank is not None and requires_python_fits(file.requires_python, target):
            ranked.append((-rank, wheel.build, file.filename, file))
    return max(ranked, key=lambda each: each[:3])[3] if ranked else None


@lru_cache(maxsize=4)
def _order(target: Target) -> Mapping[str, int]:
    return {tag: index for index, tag in enumerate(target.tags)}


@lru_cache(maxsize=4)
def _parts(target: Target) -> tuple[frozenset[str], ...]:
    return tuple(map(frozenset, zip(*(tag.split("-") for tag in target.tags), strict=True)))


def rank_wheel(wheel: WheelName, target: Target) -> int | None:
    """Return the place of the wheel's best tag among the target's, 0 for the best; None if the wheel does not fit.

    A hostile file name can mean thousands of tags, so only parts that the target has are combined.
    """
    order = _order(target)
    given = (wheel.pythons, wheel.abis, wheel.platforms)
    parts = [known.intersection(names) for known, names in zip(_parts(target), given, strict=True)]
    return min((order[tag] for tag in map("-".join, product(*parts)) if tag in order), default=None)


@lru_cache(maxsize=1024)
def requires_python_fits(specifier: str, target: Target) -> bool:
    """Return True if a file's Requires-Python allows the target or, as in pip, cannot be read."""
    return not specifier or allows_version(specifier, target.version) is not False


def can_be_built(file: IndexFile, target: Target) -> bool:
    """Return True if a file is an archive of sources that allows the target's Python."""
    return is_sdist(file.filename) and requires_python_fits(file.requires_python, target)


def misfits(files: Sequence[IndexFile], target: Target) -> dict[str, list[str]]:
    """Group files that do not fit by the reason; the most helpful reason comes first."""
    reasons: dict[str, list[str]] = {}
    for file in sorted(files, key=lambda each: each.filename):
        reasons.setdefault(_misfit(file, target), []).append(file.filename)
    return dict(sorted(reasons.items(), key=lambda item: (_helpful(item[0]), item[0])))


def only_system(files: Sequence[IndexFile]) -> str:
    """Return ``win32`` or ``darwin`` if all files are for this `sys_platform` only; else an empty text."""
    platforms = {platform for file in files for platform in _platforms_of(file)}
    systems = {next((name for start, name in _SYSTEMS if platform.startswith(start)), "") for platform in platforms}
    return systems.pop() if len(systems) == 1 else ""


def _platforms_of(file: IndexFile) -> Sequence[str]:
    wheel = parse_wheel_name(file.filename)
    return wheel.platforms if wheel else ("any",)


def _helpful(reason: str) -> int:
    order = ("needs Python", "for a newer", "for another libc", "for another Python", "for another machine")
    return next((index for index, start in enumerate(order) if reason.startswith(start)), len(order))


def _misfit(file: IndexFile, target: Target) -> str:
    if not requires_python_fits(file.requires_python, target):
        return f"needs Python {file.requires_python}"
    wheel = parse_wheel_name(file.filename)
    if wheel is None:
        return "neither a wheel nor an archive of sources"
    if _platforms(target).isdisjoint(wheel.platforms):
        return _platform_misfit(wheel.platforms, target)
    return "for another Python"


@lru_cache(maxsize=4)
def _platforms(target: Target) -> frozenset[str]:
    return frozenset(tag.split("-")[2] for tag in target.tags)


def _platform_misfit(platforms: Sequence[str], target: Target) -> str:
    name, major, minor = target.libc
    ours = [platform for platform in platforms if platform.endswith(f"_{target.machine}")]
    wanted, other, other_name = (
        ("musllinux", "manylinux", "glibc") if name == "musl" else ("manylinux", "musllinux", "musl")
    )
    if any(platform.startswith(wanted) for platform in ours):
        return f"for a newer {name} than {major}.{minor}"
    if any(platform.startswith(other) for platform in ours):
        return f"for another libc ({other_name})"
    return "for another machine or system"


def nearest_version(files: Iterable[IndexFile], package: LockedPackage, target: Target) -> str | None:
    """Return the name and version of the nearest release with a wheel for the target, newer ones first."""
    locked = parse_version(package.version or "")
    if locked is None:
        return None
    by_version: dict[Version, list[IndexFile]] = {}
    for file in files:
        version = parse_version(file_version(file.filename, canonical_name(package.name)) or "")
        if version is not None and file.yanked is None and not version.is_prerelease:
            by_version.setdefault(version, []).append(file)
    # Only until the first match: looking at each release of some projects takes seconds.
    newer = sorted(version for version in by_version if version > locked)
    older = sorted((version for version in by_version if version < locked), reverse=True)
    nearest = next((each for each in (*newer, *older) if best_wheel(by_version[each], target)), None)
    return f"{package.name} {nearest}" if nearest else None
