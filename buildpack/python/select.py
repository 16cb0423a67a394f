"""Selects the locked packages that a target needs, and finds what their wheels need and the lock lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING

from buildpack.app.lockfile import canonical_name
from buildpack.bounded import parse_requirement
from buildpack.errors import python as errors
from buildpack.python.about import NEED, need, within
from buildpack.python.target import Target

if TYPE_CHECKING:
    from packaging.markers import Marker

    from buildpack.app.lockfile import LockedPackage
    from buildpack.python.files import WheelFile

_USUAL = re.compile(
    r"(python_version|python_full_version)\s*(>=|<=|<|>|==|!=)\s*'(\d{1,9}\.\d{1,9}(?:\.\d{1,9})?)'", re.ASCII
)
_EXTRA = re.compile(r"""\bextra\s*==\s*(?:'[^']*'|"[^"]*")|(?:'[^']*'|"[^"]*")\s*==\s*extra\b""")
_EXTRA_NAME = re.compile(r"""\bextra\s*==\s*(?:'([^']*)'|"([^"]*)")""")
_TRUE = "os_name != ''"
_COMPARED = {">=": ge, "<=": le, "<": lt, ">": gt, "==": eq, "!=": ne}


def select_packages(packages: Iterable[LockedPackage], target: Target) -> list[LockedPackage]:
    """Keep the packages whose marker holds on the target, in their order.

    Raises DependencyError for a marker that cannot be read, AppError for a package that the target needs and that is
    locked by its name only, for another platform.
    """
    environment = dict(target.environment)
    needed = [package for package in packages if _applies(package, environment)]
    for package in needed:
        if not (package.hashes or package.git or package.path):
            raise errors.locked_by_name_only(package.name, package.markers or "", str(target), package.place)
    return needed


def _applies(package: LockedPackage, environment: Mapping[str, str]) -> bool:
    if not package.markers:
        return True
    holds = _compare_quickly(package.markers, environment)
    if holds is not None:
        return holds
    from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName

    # The lock has the package because the tool that locked was asked for its extra.
    marker = _EXTRA.sub(_TRUE, package.markers)
    try:
        return Marker(marker).evaluate(dict(environment))
    except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName):
        raise errors.unknown_marker(package.name, package.markers, package.place) from None


def _compare_quickly(marker: str, environment: Mapping[str, str]) -> bool | None:
    """Evaluate the usual markers of a lock without loading packaging; None for any other marker.

    The usual ones compare Python's version with another of as many numbers, or join such comparisons by ``and``. Then
    PEP 440 compares number by number.
    """
    outcome = True
    for part in marker.split(" and "):
        found = _USUAL.fullmatch(part.strip())
        if found is None:
            return None
        ours, theirs = environment[found[1]].split("."), found[3].split(".")
        if len(ours) != len(theirs) or not all(number.isdecimal() for number in ours):
            return None
        outcome = outcome and bool(_COMPARED[found[2]]([*map(int, ours)], [*map(int, theirs)]))
    return outcome


def missing_requirements(
    wheels: Sequence[WheelFile],
    requires: Mapping[str, Sequence[str]],
    extras: Mapping[str, Iterable[str]],
    target: Target,
) -> list[str]:
    """Return a warning for each package that a wheel needs on the target and that is missing or of another version.

    `requires` are ``Requires-Dist`` lines and `extras` the extras that the lock asks for, both by the wheel's name. A
    lock from another patch level lacks what only this one needs, although it is complete on its own.
    """
    by_name = {wheel.name: wheel for wheel in wheels}
    asked = {name: set(extras.get(name, ())) for name in by_name}
    found: dict[tuple[str, str], str] = {}
    pending = list(by_name)
    while pending:
        wheel = by_name[pending.pop()]
        for requirement in filter(None, map(parse_requirement, requires.get(wheel.name, ()))):
            if not any(_holds(requirement.marker, target, extra) for extra in ("", *asked[wheel.name])):
                continue
            name = canonical_name(requirement.name)
            version = by_name[name].version if name in by_name else ""
            if not (version and (requirement.url or requirement.specifier.contains(version, prereleases=True))):
                wanted = f"{requirement.name}{requirement.specifier}"
                found[wheel.name, wanted] = errors.requirement_missing(
                    f"{wheel.name} {wheel.version}",
                    wanted,
                    pinned=version,
                    marker=str(requirement.marker or ""),
                    target=str(target),
                    python=target.version,
                )
            elif not requirement.extras <= asked[name]:
                asked[name] |= requirement.extras
                pending.append(name)  # an extra has needs of its own
    return [found[key] for key in sorted(found)]


def required_names(lines: Iterable[str], target: Target) -> tuple[str, ...]:
    """Return the packages that ``Requires-Dist`` lines name for the target, in the form of `About.requires`."""
    found: set[str] = set()
    for requirement in filter(None, map(parse_requirement, lines)):
        marker = requirement.marker
        if _holds(marker, target, ""):
            found.add(need(requirement.name, requirement.extras))
        else:
            asking = {one or other for one, other in _EXTRA_NAME.findall(str(marker))}
            found |= {
                need(requirement.name, requirement.extras, extra) for extra in asking if _holds(marker, target, extra)
            }
    return within(filter(NEED.fullmatch, found))


def _holds(marker: Marker | None, target: Target, extra: str) -> bool:
    """Evaluate a marker for an extra, empty for none; a marker that cannot be evaluated does not hold."""
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName

    try:
        return marker is None or marker.evaluate({**target.environment, "extra": extra})
    except (UndefinedComparison, UndefinedEnvironmentName):
        return False
