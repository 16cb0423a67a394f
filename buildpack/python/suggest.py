"""Name a release that has a wheel, for messages about one that has none or could not be built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from buildpack.bounded import parse_version
from buildpack.errors import DependencyError
from buildpack.python.http import Client, DeniedError, NotFoundError
from buildpack.python.offers import IndexFile, canonical_name
from buildpack.python.simple import fetch_files
from buildpack.python.target import Target
from buildpack.python.wheel_choice import best_wheel, file_version

if TYPE_CHECKING:
    from packaging.version import Version

    from buildpack.app.lockfile import LockedPackage


def nearest_wheel(package: LockedPackage, client: Client, target: Target) -> str | None:
    """Ask the first index for the nearest release with a wheel; None if the index does not answer: it is advice."""
    try:
        files = [file for source in client.sources[:1] for file in fetch_files(client, source, package.name)]
    except (DependencyError, NotFoundError, DeniedError):
        return None
    return nearest_version(files, package, target)


def nearest_version(files: Iterable[IndexFile], package: LockedPackage, target: Target) -> str | None:
    """Name the release nearest to the locked one, newer ones first, that has a wheel for the target."""
    locked = parse_version(package.version or "")
    if locked is None:
        return None
    by_version: dict[Version, list[IndexFile]] = {}
    for file in files:
        version = parse_version(file_version(file.filename, canonical_name(package.name)) or "")
        if version is not None and file.yanked is None and not version.is_prerelease:
            by_version.setdefault(version, []).append(file)
    # The nearest ones first: to look at each release of some projects takes seconds.
    newer = sorted(version for version in by_version if version > locked)
    older = sorted((version for version in by_version if version < locked), reverse=True)
    nearest = next((each for each in (*newer, *older) if best_wheel(by_version[each], target)), None)
    return f"{package.name} {nearest}" if nearest else None
