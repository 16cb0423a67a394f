"""Compare Pipfile.lock with what Pipfile asks for.

A hash that is right by either of pipenv's algorithms settles the question, and then nobody imports this. Most locks are
good even if neither is right, since versions of pipenv differ in more than their hash. So what counts is whether the
lock satisfies each entry of Pipfile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from posixpath import normpath

from buildpack.app.indexes import without_credentials
from buildpack.app.lockfile import Lock, LockedPackage, local_path
from buildpack.app.pipfile import Pipfile, Wanted, canonical
from buildpack.bounded import allows_version
from buildpack.errors import lock as errors
from buildpack.errors import show

_OWN = ("default", "packages", "develop", "dev-packages")
"""The names of the two categories that every lock has, there and in Pipfile."""


def compare(pipfile: Pipfile, lock: Lock, categories: Sequence[str] = ()) -> list[str]:
    """List, in Pipfile's order, what it asks for and the lock does not give; each a sentence naming the line.

    `categories` are those that were asked for, whose packages are among the lock's.
    """
    others = [category for category in dict.fromkeys(categories) if category not in _OWN]
    differences: list[str] = []
    for section in ("default", *others):
        differences.extend(_compare_section(pipfile, section, lock.packages))
    return [*differences, *compare_develop(pipfile, lock), *_compare_python(pipfile, lock)]


def compare_develop(pipfile: Pipfile, lock: Lock) -> list[str]:
    """List what ``[dev-packages]`` asks for and the lock does not give; no image holds these packages."""
    return list(_compare_section(pipfile, "develop", lock.develop))


def _compare_section(pipfile: Pipfile, section: str, packages: Sequence[LockedPackage]) -> Iterator[str]:
    locked = {package.name: package for package in packages}
    for wanted in pipfile.wanted(section):
        yield from _compare_entry(wanted, locked)


def _compare_entry(wanted: Wanted, locked: Mapping[str, LockedPackage]) -> Iterator[str]:
    package = locked.get(wanted.name)
    if package is None:
        # A package for another platform is absent from locks that were made on this one.
        if wanted.markers is None:
            yield errors.not_in_lock(_describe(wanted), wanted.line)
    elif not _satisfies(wanted, package):
        yield errors.locked_otherwise(_describe(wanted), wanted.line, _describe_locked(package, wanted))
    elif missing := sorted(_extras(wanted) - set(map(canonical, package.extras))):
        asked = show(f"{wanted.name}[{','.join(missing)}]")
        yield errors.locked_otherwise(asked, wanted.line, f"{_describe_locked(package, wanted)} without that")


def _extras(wanted: Wanted) -> set[str]:
    """Return the extras by their canonical names (PEP 685)."""
    extras = wanted.table.get("extras", [])
    return {canonical(str(extra)) for extra in extras} if isinstance(extras, list) else set()


def _specifier(wanted: Wanted) -> str:
    """Return the version specifier; pipenv takes a bare version (``1.16.0``, ``1.16.*``) for ``==`` of it."""
    parts = (part.strip() for part in wanted.specifier.split(","))
    return ",".join(f"=={part}" if part[:1].isdigit() else part for part in parts)


def _satisfies(wanted: Wanted, package: LockedPackage) -> bool:
    table = wanted.table
    if git := table.get("git"):
        ref = table.get("ref", "")
        is_commit = len(ref) == 40 and set(ref) <= set("0123456789abcdef")
        return package.git is not None and _same_url(str(git), package.git) and (not is_commit or ref == package.ref)
    if origin := table.get("path") or table.get("file"):
        return origin == package.file or (package.path is not None and _same_path(str(origin), package.path))
    if package.version is None:
        # Locked by its markers alone, or from git where Pipfile now names a version.
        return package.git is None and package.path is None and package.file is None
    index = table.get("index")
    if index is not None and package.index is not None and index != package.index:
        return False
    return not wanted.specifier or allows_version(_specifier(wanted), package.version) is True


def _same_path(wanted: str, locked: str) -> bool:
    """Compare paths whatever their spelling: ``lib/x``, ``./lib/x/``, ``file:///app/lib/x``."""
    path, other = normpath(local_path(wanted)), normpath(locked)
    # Pipenv writes an address as a path below the app's folder.
    return path == other or (wanted.startswith("file://") and path.endswith(f"/{other}"))


def _same_url(one: str, other: str) -> bool:
    def plain(url: str) -> str:
        url = without_credentials(url.removeprefix("git+"))
        if "://" not in url:  # git@host:path
            host, _, path = url.rpartition("@")[2].partition(":")
            url = f"ssh://{host}/{path.removeprefix('/')}"
        return url.removesuffix("/").removesuffix(".git").lower()

    return plain(one) == plain(other)


def _describe(wanted: Wanted) -> str:
    table = wanted.table
    for key in ("git", "path", "file"):
        if value := table.get(key):
            ref = f" at {table['ref']}" if key == "git" and table.get("ref") else ""
            return show(f"{wanted.name} from {without_credentials(str(value))}{ref}")
    index = f" from {table['index']}" if table.get("index") else ""
    return show(f"{wanted.name} {wanted.specifier}".rstrip() + index)


def _describe_locked(package: LockedPackage, wanted: Wanted) -> str:
    if package.git is not None:
        return show(f"{package.name} from {without_credentials(package.git)} at {package.ref}")
    if origin := package.path or package.file:
        return show(f"{package.name} from {without_credentials(origin)}")
    index = f" from {package.index}" if package.index and wanted.table.get("index") else ""
    return show(f"{package.name} {package.version or '(no version)'}{index}")


def _compare_python(pipfile: Pipfile, lock: Lock) -> Iterator[str]:
    for key, locked in (("python_full_version", lock.python_full_version), ("python_version", lock.python_version)):
        wanted, line = pipfile.requires(key)
        if wanted is not None and wanted != locked:
            yield errors.locked_for_another_python(wanted, line, locked)
