"""Resolve a lock for a target. The store remembers the result.

A build in which nothing changed reads one small file here. A build with a new package looks up that package only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.errors import BuildpackError
from buildpack.errors import wheels as errors
from buildpack.oci.store import Store
from buildpack.session import Session
from buildpack.steps.install_target import RESOLUTION_FORMAT, InstallTarget, Resolution
from buildpack.steps.reuse import NOTHING, Claims

_LINES = re.compile(r"\b(?:pipfile_)?line=\d+")


def resolve(
    lock: Lock,
    packages: Sequence[LockedPackage],
    target: InstallTarget,
    session: Session,
    *,
    folder: Path,
    claims: Claims = NOTHING,
) -> Resolution:
    """Find the wheels for `packages` of the lock on this target, and check that they fit it and each other.

    `folder` is the app's, for packages that are paths in it. Wheels that an earlier image claims to have (`claims`) are
    neither looked up nor fetched, so their contents are not checked. Raises DependencyError, or Problems with several.
    """
    if not packages:
        return Resolution(wheels=(), warnings=())
    store = session.store
    key = _key(packages, target)
    lasting = not any(package.path for package in packages)
    pins = target.settings.pins_key
    if lasting and (known := _recalled(store.recall("resolution", key), pins)) and _is_stored(known, store):
        return known
    from buildpack.steps.wheel_search import WheelSearch

    found = WheelSearch(lock, target, session, folder).run(packages, claims)
    if lasting and not found.claimed:
        remembered = {
            "wheels": [wheel.render() for wheel in found.wheels],
            "warnings": list(found.warnings),
            "notes": list(found.notes),
            "pins": pins if any(not wheel.url for wheel in found.wheels) else "",
        }
        store.remember("resolution", key, remembered)
    return found


def _is_stored(resolution: Resolution, store: Store) -> bool:
    """Return True if the store has the wheels that were built here, as a build of today would make them."""
    from buildpack.python.files import stored_path

    folder = store.folder("wheels")
    if not all(wheel.url or stored_path(folder, wheel) for wheel in resolution.wheels):
        return False
    grafted = [wheel for wheel in resolution.wheels if wheel.libraries]
    if not grafted:
        return True
    from buildpack.steps.grafting import is_current  # slow to import, and seldom needed

    return all(is_current(wheel, store) for wheel in grafted)


def _key(packages: Sequence[LockedPackage], to: InstallTarget) -> str:
    settings = filter(None, [to.settings.key])
    parts = (RESOLUTION_FORMAT, to.identity, to.target.key, tuple(packages), *settings)
    # The line of a package in its file decides nothing.
    return hashlib.sha256(_LINES.sub("", repr(parts)).encode()).hexdigest()


def _recalled(value: Any, pins: str) -> Resolution | None:
    """Read the resolution that `resolve` remembered; None if it is damaged, or if other pins decided its builds."""
    from buildpack.python.files import WheelFile

    try:
        wheels = tuple(wheel for each in value["wheels"] if (wheel := WheelFile.parse(each)))
        if value["pins"] not in {"", pins} or len(wheels) != len(value["wheels"]):
            return None
        return Resolution(wheels=wheels, warnings=tuple(value["warnings"]), notes=tuple(value["notes"]))
    except (KeyError, TypeError):
        return None


def look_up_develop(lock: Lock, target: InstallTarget, session: Session) -> None:
    """Check in the indexes that each package that only tests need can be installed on this target.

    No file is fetched, and no package is built. Raises DependencyError, or Problems with several, before the build
    writes anything.
    """
    packages, store = lock.only_develop, session.store
    if not packages or _recalled(store.recall("resolution", _key(packages, target)), target.settings.pins_key):
        return
    from buildpack.python.find_wheels import look_up
    from buildpack.python.http import Client
    from buildpack.python.index import Resolver
    from buildpack.python.select import select_packages

    try:
        with Client(lock.sources, session.environ) as client:
            selected = select_packages(packages, target.target)
            folder = store.folder("wheels")
            look_up(selected, Resolver(target=target.target, client=client, folder=folder, recall=store.recall))
    except BuildpackError as error:
        raise errors.only_for_tests(error) from None
