"""What wheels ask of each other and offer: looked at one by one, remembered, and compared. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from buildpack.bounded import parse_integer, parse_version
from buildpack.dataclass import dataclass
from buildpack.errors import resolution as errors

if TYPE_CHECKING:
    from buildpack.python.files import LockedFile, WheelFile
    from buildpack.python.wheel import WheelContents

__all__ = ["Summary", "forgotten", "outgrown", "overlaps", "refuse_clash", "refuse_other", "summarise"]

_WITHOUT_PKG_RESOURCES = 82
"""The first series of setuptools that lacks it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What one wheel asks of and offers to the others; `size` is that of its file, in bytes, as it was verified."""

    name: str
    version: str
    size: int
    needed: tuple[str, ...]
    provided: tuple[str, ...]
    requires: tuple[str, ...]
    paths: tuple[str, ...]
    imports_pkg_resources: bool
    warnings: tuple[str, ...]


def summarise(contents: WheelContents, size: int) -> Summary:
    """Return what others have to know of a wheel; `size` is in bytes."""
    return Summary(
        name=contents.name,
        version=contents.version,
        size=size,
        needed=tuple(sorted(contents.needed)),
        provided=tuple(sorted(contents.provided)),
        requires=contents.requires_dist,
        paths=tuple(sorted(contents.paths)),
        imports_pkg_resources=contents.imports_pkg_resources,
        warnings=contents.warnings,
    )


def forgotten(wheels: Sequence[WheelFile], importing: frozenset[str], version: str) -> list[str]:
    """Tell which wheel imports `pkg_resources` where nothing brings it, so that setuptools of this version has to."""
    if any(wheel.name == "setuptools" for wheel in wheels):
        return []
    first = next((wheel for wheel in wheels if wheel.name in importing), None)
    return [errors.setuptools_added(first.name, first.version, version)] if first else []


def outgrown(wheels: Sequence[WheelFile], importing: frozenset[str]) -> list[str]:
    """Tell which wheel imports `pkg_resources` where the setuptools that is locked has given it up."""
    locked = next((wheel.version for wheel in wheels if wheel.name == "setuptools"), "")
    series = locked.partition(".")[0]
    if (parse_integer(series) or 0) < _WITHOUT_PKG_RESOURCES:
        return []
    first = next((wheel for wheel in wheels if wheel.name in importing), None)
    return [errors.setuptools_outgrown(first.name, first.version, locked)] if first else []


def refuse_other(wheel: LockedFile, summary: Summary) -> None:
    """Raise if a wheel's METADATA has another name or version than the lock: pip refuses such a wheel too."""
    versions = [parse_version(version) or version for version in (summary.version, wheel.version or summary.version)]
    if summary.name != wheel.name or versions[0] != versions[1]:
        raise errors.another_package(wheel.filename, (wheel.name, wheel.version), (summary.name, summary.version))


def refuse_clash(summaries: Sequence[tuple[WheelFile, Summary]]) -> None:
    """Raise where what is a file in one wheel is a folder in another: there is no order that keeps both."""
    from buildpack.python.members import file_and_folder

    clash = file_and_folder({path for _, summary in summaries for path in summary.paths})
    if not clash:
        return
    names = [
        wheel.name
        for wheel, summary in summaries
        if any(path == clash or path.startswith(f"{clash}/") for path in summary.paths)
    ]
    raise errors.file_and_folder(names, clash)


def overlaps(summaries: Sequence[tuple[WheelFile, Summary]]) -> list[str]:
    """Say which wheels ship the same path; they come in the order of their layers, and the last one wins."""
    owners: dict[str, list[str]] = {}
    for wheel, summary in summaries:
        for path in summary.paths:
            owners.setdefault(path, []).append(wheel.name)
    shared: dict[tuple[str, str], list[str]] = {}
    for path, (*losers, winner) in owners.items():
        for loser in losers:
            shared.setdefault((loser, winner), []).append(path)
    return [errors.shared_paths(loser, winner, sorted(paths)) for (loser, winner), paths in sorted(shared.items())]
