"""Which of the locked packages a target needs, and what its wheels need that the lock lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING

from buildpack.bounded import parse_requirement
from buildpack.dataclass import dataclass
from buildpack.errors import python as errors
from buildpack.python.about import NEED, need, within
from buildpack.python.files import canonical_name
from buildpack.python.target import Target

if TYPE_CHECKING:
    from packaging.markers import Marker

    from buildpack.app.lockfile import LockedPackage

_USUAL = re.compile(
    r"(python_version|python_full_version)\s*(>=|<=|<|>|==|!=)\s*'(\d{1,9}\.\d{1,9}(?:\.\d{1,9})?)'", re.ASCII
)
_EXTRA = re.compile(r"""\bextra\s*==\s*(?:'[^']*'|"[^"]*")|(?:'[^']*'|"[^"]*")\s*==\s*extra\b""")
_EXTRA_NAME = re.compile(r"""\bextra\s*==\s*(?:'([^']*)'|"([^"]*)")""")
_TRUE = "os_name != ''"
_COMPARED = {">=": ge, "<=": le, "<": lt, ">": gt, "==": eq, "!=": ne}


def select_packages(packages: Iterable[LockedPackage], target: Target) -> list[LockedPackage]:
    """Keep the packages whose marker holds on the target, in their order.

    Raises DependencyError for a marker that cannot be read, and for a package that is needed after all though
    pipenv locked nothing but its name, for another platform.
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
    told = _compare_quickly(package.markers, environment)
    if told is not None:
        return told
    from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName

    # The lock has the package because its extra was asked for; the tool that locked decided that.
    marker = _EXTRA.sub(_TRUE, package.markers)
    try:
        return Marker(marker).evaluate(dict(environment))
    except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName):
        raise errors.unknown_marker(package.name, package.markers, package.place) from None


def _compare_quickly(marker: str, environment: Mapping[str, str]) -> bool | None:
    """Evaluate what nearly all markers in a lock are, without loading packaging; None for any other.

    That is a comparison of Python's version with another one of as many numbers, or several with ``and``: then numbers
    compare as PEP 440 has it.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledWheel:
    """What a wheel's METADATA says: canonical name, version, ``Requires-Dist`` lines; the lock's extras for it."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """`wheel` needs `requirement`, which is not installed (`found` is "") or in another version."""

    wheel: str
    version: str
    requirement: str
    marker: str
    found: str = ""


def missing_requirements(wheels: Sequence[InstalledWheel], target: Target) -> list[Missing]:
    """Compare what the wheels need on the target with what will be there.

    A lock that was made on another patch level lacks what only this one needs; it is complete on its own.
    """
    versions = {wheel.name: wheel.version for wheel in wheels}
    extras: dict[str, set[str]] = {wheel.name: set(wheel.extras) for wheel in wheels}
    by_name = {wheel.name: wheel for wheel in wheels}
    found: dict[tuple[str, str], Missing] = {}
    pending = [wheel.name for wheel in wheels]
    while pending:
        wheel = by_name[pending.pop()]
        for name, wanted, missing in _needs(wheel, extras[wheel.name], versions, target):
            if missing:
                found[wheel.name, missing.requirement] = missing
            elif not wanted <= extras[name]:
                extras[name] |= wanted
                pending.append(name)  # an extra has needs of its own
    return [found[key] for key in sorted(found)]


def _needs(
    wheel: InstalledWheel, extras: Iterable[str], versions: Mapping[str, str], target: Target
) -> Iterable[tuple[str, set[str], Missing | None]]:
    if not wheel.requires:
        return
    for line in wheel.requires:
        requirement = parse_requirement(line)
        if requirement is None:
            continue  # old wheels hold some that no tool can read
        marker = requirement.marker
        if not any(_holds(marker, target, extra) for extra in ("", *extras)):
            continue
        name = canonical_name(requirement.name)
        version = versions.get(name, "")
        if version and (requirement.url or requirement.specifier.contains(version, prereleases=True)):
            yield name, set(requirement.extras), None
            continue
        wanted = f"{requirement.name}{requirement.specifier}"
        yield (
            name,
            set(),
            Missing(
                wheel=wheel.name, version=wheel.version, requirement=wanted, marker=str(marker or ""), found=version
            ),
        )


def required_names(lines: Iterable[str], target: Target) -> tuple[str, ...]:
    """Return the packages that ``Requires-Dist`` lines name for the target, as `About.requires` has them."""
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


def render_missing(missing: Missing, target: Target) -> str:
    """Word a warning: what will be lacking at run time, and why the lock lacks it."""
    needs = f"{missing.wheel} {missing.version} needs {missing.requirement}"
    if missing.found:
        return f"{needs}, and Pipfile.lock pins {missing.found}."
    if "python_full_version" in missing.marker or "implementation_version" in missing.marker:
        return (
            f"{needs} on Python {target.version} ({missing.marker}), and Pipfile.lock lacks it: it was made on another "
            f"patch level of Python. Lock on {target.version}, or set python_full_version in Pipfile."
        )
    where = f" on {target} ({missing.marker})" if missing.marker else ""
    return f"{needs}{where}, and Pipfile.lock lacks it. Add it to Pipfile and run `deploy lock`."
