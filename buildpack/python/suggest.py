"""Which release of a package has a wheel, when the locked one could not be built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildpack.bounded import parse_version
from buildpack.errors import DependencyError
from buildpack.python.candidates import best_wheel, file_version
from buildpack.python.http import Client, DeniedError, NotFoundError
from buildpack.python.offers import IndexFile
from buildpack.python.simple import fetch_files
from buildpack.python.target import Target

if TYPE_CHECKING:
    from packaging.version import Version

    from buildpack.app.lockfile import LockedPackage

__all__ = ["nearest_wheel"]


def nearest_wheel(package: LockedPackage, client: Client, target: Target) -> str | None:
    """Name the release nearest to the locked one, newer ones first, that has a wheel for the target.

    It is advice for a message, so an index that does not answer means no advice.
    """
    if not package.version:
        return None
    locked = parse_version(package.version)
    if locked is None:
        return None
    try:
        versions = _with_wheels(package.name, client, target)
    except (DependencyError, NotFoundError, DeniedError):
        return None
    newer = [version for version in versions if version > locked]
    older = [version for version in versions if version < locked]
    nearest = min(newer) if newer else max(older) if older else None
    return f"{package.name} {nearest}" if nearest else None


def _with_wheels(name: str, client: Client, target: Target) -> list[Version]:
    by_version: dict[Version, list[IndexFile]] = {}
    for file in (file for source in client.sources[:1] for file in fetch_files(client, source, name)):
        text = file_version(file.filename, name)
        version = parse_version(text or "")
        if version is not None and file.yanked is None:
            by_version.setdefault(version, []).append(file)
    return [version for version, files in by_version.items() if not version.is_prerelease and best_wheel(files, target)]
