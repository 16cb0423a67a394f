"""Read the Python version that the app asks for, and the file that asks.

The first of these counts: ``runtime.txt`` (deprecated), ``.python-version``, ``python_full_version`` in the lock,
``python_version`` in the lock, and then a default that the lock's packages and ``requires-python`` allow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from buildpack.app.findings import Findings
from buildpack.app.lockfile import Lock
from buildpack.app.settings import Settings
from buildpack.app.textfile import parse_toml, read_text
from buildpack.bounded import allows_version
from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError
from buildpack.errors import lock as errors

DEFAULT = "3.13"
HOST_DEFAULT = "the default, the newest on this machine"
"""The origin of a version that no file names, on the stack ``host``."""

OLDEST = (3, 10)
"""The oldest version that the launcher in every image supports."""

END_OF_LIFE = {
    (3, 0): date(2009, 6, 27),
    (3, 1): date(2012, 4, 9),
    (3, 2): date(2016, 2, 20),
    (3, 3): date(2017, 9, 29),
    (3, 4): date(2019, 3, 18),
    (3, 5): date(2020, 9, 30),
    (3, 6): date(2021, 12, 23),
    (3, 7): date(2023, 6, 27),
    (3, 8): date(2024, 10, 7),
    (3, 9): date(2025, 10, 31),
    (3, 10): date(2026, 10, 31),
    (3, 11): date(2027, 10, 31),
    (3, 12): date(2028, 10, 31),
    (3, 13): date(2029, 10, 31),
    (3, 14): date(2030, 10, 31),
    (3, 15): date(2031, 10, 31),
}
"""When each version stopped, or stops, getting security fixes (devguide.python.org/versions)."""

_UNRELEASED = {(3, 15): date(2026, 10, 1)}
_TWO = date(2020, 1, 1)

_VERSION = re.compile(r"(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})(?:\.(0|[1-9]\d{0,4}))?")
_MEANT = re.compile(r"(?<![\d.])3\.\d{1,2}(?:\.\d{1,2})?(?!\d|\.\d)")
"""A version within other text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonRequest:
    """A Python version, ``3.12`` or ``3.12.4``, and its origin, as messages name it (``.python-version:1``)."""

    version: str
    origin: str


def read_python_version(folder: Path, lock: Lock | None, *, today: date) -> tuple[PythonRequest | None, list[str]]:
    """Read which Python the app asks for, and warnings; None if no file names one.

    Raises AppError if the file that counts cannot be read, or if its version is not known or reached its end of life.
    """
    warnings: list[str] = []
    request = _read_files(folder, warnings) or _from_lock(lock)
    if request is not None:
        warnings.extend(check_version(request, today=today))
    return request, warnings


def _read_files(folder: Path, warnings: list[str]) -> PythonRequest | None:
    runtime = read_text(folder, "runtime.txt")
    if runtime is None:
        return _read_version_file(folder)
    request, other = parse_runtime_txt(runtime), None
    with suppress(BuildpackError):  # runtime.txt counts, so nobody needs to repair the other file
        other = _read_version_file(folder)
    if other is not None and not _agree(request.version, other.version):
        warnings.append(errors.conflicting_versions(request.version, other.version, other.origin))
    else:
        warnings.append(errors.deprecated_runtime_txt(request.version))
    return request


def _read_version_file(folder: Path) -> PythonRequest | None:
    text = read_text(folder, ".python-version")
    return None if text is None else parse_python_version_file(text)


def _agree(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def parse_runtime_txt(text: str) -> PythonRequest:
    """Parse ``runtime.txt``: ``python-3.12`` or ``python-3.12.4``, and ``#`` comments.

    Raises AppError that shows what is there.
    """
    lines = (line.partition("#")[0].strip() for line in text.split("\n"))
    found = " ".join(line for line in lines if line)
    if not found:
        raise errors.no_python_version("runtime.txt", like=f"python-{DEFAULT}")
    version = found.removeprefix("python-")
    if version == found or not _VERSION.fullmatch(version):
        _reveal("runtime.txt", 1, found)
        meant = _find_meant(found)
        raise errors.bad_python_version(
            "runtime.txt", found[:80], like=f"python-{DEFAULT}", meant=f"python-{meant}" if meant else ""
        )
    return PythonRequest(version=version, origin="runtime.txt")


def parse_python_version_file(text: str, *, name: str = ".python-version") -> PythonRequest:
    """Parse ``.python-version``: one version, and ``#`` comments. Raises AppError that shows what is there."""
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip() and not line.strip().startswith("#")
    ]
    if not lines:
        raise errors.no_python_version(name, like=DEFAULT)
    if len(lines) > 1:
        raise errors.several_python_versions(name, [(number, line[:80]) for number, line in lines])
    number, version = lines[0]
    if not _VERSION.fullmatch(version):
        _reveal(name, number, version)
        raise errors.bad_python_version(f"{name}:{number}", version[:80], like=DEFAULT, meant=_find_meant(version))
    return PythonRequest(version=version, origin=f"{name}:{number}")


def _find_meant(text: str) -> str:
    """Return the only version in a text; empty if there are several, or none that an image may have."""
    found = set(_MEANT.findall(text))
    known = [each for each in found if OLDEST <= tuple(map(int, each.split(".")[:2])) <= max(END_OF_LIFE)]
    return known[0] if len(found) == len(known) == 1 else ""


def _reveal(name: str, line: int, text: str) -> None:
    """Raise AppError if the text is a version with invisible characters."""
    visible = "".join(character for character in text if character.isascii() and character.isprintable())
    if visible != text and _VERSION.search(visible):
        raise errors.invisible_characters(name, line, text[:80])


def _from_lock(lock: Lock | None) -> PythonRequest | None:
    if lock is None:
        return None
    for key, version in (("python_full_version", lock.python_full_version), ("python_version", lock.python_version)):
        # Pipenv writes "*" for no version in particular.
        if version is None or version in ("", "*"):
            continue
        origin = f"Pipfile.lock ({key})"
        if not _VERSION.fullmatch(version):
            raise errors.bad_python_version(origin, version[:80], like=DEFAULT)
        return PythonRequest(version=version, origin=origin)
    return None


_BOUND = re.compile(r"python_(?:full_)?version\s{0,9}(>=|<)\s{0,9}['\"]3\.(\d{1,3})")


def read_project(folder: Path) -> Mapping[str, Any]:
    """Return ``[project]`` of pyproject.toml; empty if the file lacks it, or cannot be read.

    The build does not need this file, so a fault in it must not stop the build.
    """
    try:
        project = parse_toml(read_text(folder, "pyproject.toml") or "", "pyproject.toml").get("project")
    except BuildpackError:
        return {}
    return project if isinstance(project, dict) else {}


def choose_python(
    folder: Path,
    lock: Lock | None,
    settings: Settings | None,
    found: Findings,
    *,
    today: date,
    own_python: str,
    installed: Callable[[], Iterable[str]],
) -> PythonRequest | None:
    """Read which Python the app asks for; if no file says it, choose a default. None if a base image decides.

    See `examine_app` for `own_python` and `installed`.
    """
    before = len(found.problems)
    read = found.attempt(lambda: read_python_version(folder, lock, today=today))
    if len(found.problems) > before or read is None:
        return None
    request, warnings = read
    for text in warnings:
        found.warn(text)
    stated = read_project(folder).get("requires-python")
    requires = stated if isinstance(stated, str) else ""
    if request is not None:
        if not fits_requires_python(requires, request.version):
            found.notices.append(errors.requires_another_python(requires, request.version, request.origin))
        locked = _locked_for_another(request, lock)
        if locked is not None:
            found.notices.append(errors.lock_of_another_python(request.version, request.origin, locked))
    if request is not None or settings is None:
        return request
    notices = found.notices if lock is not None else []
    if settings.stack is None:
        version = allowed_python(lock, DEFAULT, requires)
        notices.append(errors.python_not_named(version, host=False))
        return PythonRequest(version=version, origin="the default")
    if settings.stack.value != "host":
        return None
    newest = first_allowed(installed(), lock, requires)
    version = newest or allowed_python(lock, own_python, requires)
    # An app whose own file names this stack means the Python of each machine that builds.
    if settings.stack.origin.startswith(("--", "DEPLOY_")) or version not in (newest, own_python):
        notices.append(errors.python_not_named(version, host=newest is not None))
    return PythonRequest(version=version, origin=HOST_DEFAULT)


def _locked_for_another(request: PythonRequest, lock: Lock | None) -> str | None:
    """Return the Python that the lock was made for if it is not the one that the app asks for."""
    locked = (lock.python_full_version, lock.python_version) if lock is not None else ()
    return next((one for one in locked if one and one != "*" and not _agree(request.version, one)), None)


def fits_requires_python(requires: str, version: str) -> bool:
    """Return True if `requires` (``>=3.12.4``) allows this version, or any patch level of it (``3.12``)."""
    if not requires:
        return True
    patches = {"0", "99", *re.findall(r"\.(\d{1,3})(?!\d|\.)", requires)}
    versions = [version] if version.count(".") == 2 else [f"{version}.{patch}" for patch in sorted(patches)]
    # allows_version returns None for a specifier that cannot be read, which forbids nothing.
    return any(allows_version(requires, one) is not False for one in versions)


def first_allowed(installed: Iterable[str], lock: Lock | None, requires: str) -> str | None:
    """Return the first of these versions that the lock's packages and `requires` (requires-python) allow."""
    # A version that this tool does not know is an error in `.python-version` too.
    known = (version for version in installed if (3, int(version.split(".")[1])) in END_OF_LIFE)
    return next((version for version in known if _allows(lock, requires, version)), None)


def allowed_python(lock: Lock | None, preferred: str, requires: str = "") -> str:
    """Return the version nearest to `preferred` (``3.13``) that the lock's packages and `requires` allow."""
    least, below = _bounds(lock)
    minor = int(preferred.split(".")[1])
    newest = max(version[1] for version in END_OF_LIFE if version not in _UNRELEASED)
    others = sorted(range(OLDEST[1], newest + 1), key=lambda each: abs(each - minor))
    allowed = (f"3.{other}" for other in others if _allows(lock, requires, f"3.{other}"))
    return next(allowed, f"3.{min(max(least, minor), below - 1, newest)}")


def _allows(lock: Lock | None, requires: str, version: str) -> bool:
    least, below = _bounds(lock)
    return least <= int(version.split(".")[1]) < below and fits_requires_python(requires, version)


def _bounds(lock: Lock | None) -> tuple[int, int]:
    """Return the first minor version that the lock's packages allow, and the first later one that they do not.

    A lock holds the versions that each package allows as a marker. The upper bound counts only for packages of Pipfile:
    another package may be there for old versions of Python on purpose.
    """
    least, below = 0, 1000
    for package in lock.packages if lock is not None else ():
        if not package.markers or " or " in package.markers:
            continue
        bounds = dict(_BOUND.findall(package.markers))
        least = max(least, int(bounds.get(">=", 0)))
        if package.requested and ">=" in bounds:
            below = min(below, int(bounds.get("<", below)))
    return least, below


def newer(version: str) -> Iterator[str]:
    """Yield the known versions (``3.14``) that are newer than this one."""
    minor = int(version.split(".")[1])
    yield from (f"3.{known}" for _, known in END_OF_LIFE if known > minor)


def check_version(request: PythonRequest, *, today: date) -> Iterator[str]:
    """Yield warnings about a version; raises AppError if no image can have it."""
    major, minor = (int(part) for part in request.version.split(".")[:2])
    version = (major, minor)
    newest = max(END_OF_LIFE)
    if version > newest or (major == 3 and version not in END_OF_LIFE):
        raise errors.unknown_python(request.version, request.origin, f"{newest[0]}.{newest[1]}", DEFAULT)
    ends = END_OF_LIFE.get(version, _TWO)
    if version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise errors.end_of_life_python(request.version, request.origin, ends.isoformat(), oldest, DEFAULT)
    if today > ends:
        yield errors.python_without_fixes(request.version, request.origin, ends.isoformat(), DEFAULT)
    released = _UNRELEASED.get(version)
    if released and today < released:
        yield errors.python_preview(request.version, request.origin, released.isoformat())
