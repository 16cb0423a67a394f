"""Read an app's lock, and compare it with Pipfile.

A hash that is right by either of pipenv's algorithms settles the question. Most locks are good even if neither is
right, since versions of pipenv differ in more than their hash. So then each entry of Pipfile is compared with the lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from posixpath import normpath

from buildpack.app.findings import Findings
from buildpack.app.indexes import without_credentials
from buildpack.app.links import OutsideError, find_inside
from buildpack.app.lockfile import Lock, LockedPackage, canonical_name
from buildpack.app.nearest import OTHER_LISTS, OTHER_LOCKS, find_misspelt, missing_file
from buildpack.app.pipfile import Pipfile, Wanted, pipfile_hashes, read_pipfile
from buildpack.app.pipfile_lock import local_path, read_lock
from buildpack.bounded import allows_version
from buildpack.errors import BuildpackError, show
from buildpack.errors import lock as errors

_OWN = ("default", "packages", "develop", "dev-packages")
"""The two categories that every lock has, by their names there and in Pipfile."""


def read_app_lock(folder: Path, names: frozenset[str], categories: Sequence[str], found: Findings) -> Lock | None:
    """Read Pipfile.lock, and compare it with Pipfile; None if it is missing or unusable, which `found` then says.

    `names` are the folder's files; the packages of `categories` are installed too.
    """
    others = [name for name in OTHER_LOCKS if name in names]
    if "Pipfile.lock" not in names:
        if problem := _no_lock(folder, names, others):
            found.problems.append(problem)
        return None
    if others:
        found.problems.append(errors.other_locks(others))
    before = len(found.problems)
    pipfile = found.attempt(lambda: read_pipfile(folder))
    if len(found.problems) > before:
        return None
    lock = found.attempt(lambda: read_lock(folder, pipfile, categories))
    if lock is None:
        return None
    found.add(_check_paths(folder, lock))
    if pipfile is None:
        found.warn(errors.no_pipfile())
    elif lock.input_hash not in pipfile_hashes(pipfile):
        differences, develop = compare(pipfile, lock, categories), compare_develop(pipfile, lock)
        if differences and differences == develop and {"develop", "dev-packages"}.isdisjoint(categories):
            found.notices.append(errors.stale_dev_packages(differences))
        elif differences:
            found.problems.append(errors.stale_lock(differences))
        else:
            found.warn(errors.pipfile_changed())
    return lock


def _no_lock(folder: Path, names: frozenset[str], others: Sequence[str]) -> BuildpackError | None:
    """Return the error for a missing lock; None if another error names a file with almost its name."""
    if "Pipfile" in names:
        return missing_file(folder, names, "Pipfile.lock", errors.not_locked())
    if any(meant in ("Pipfile", "Pipfile.lock") for _, meant in find_misspelt(names)):
        return None
    listing = next((name for name in (*others, *OTHER_LISTS) if name in names), None)
    return missing_file(folder, names, "Pipfile.lock", errors.no_dependencies(listing))


def _check_paths(folder: Path, lock: Lock) -> Iterator[BuildpackError]:
    """Yield an error for each local package that is outside the app's folder."""
    for package in {one.name: one for one in (*lock.packages, *lock.develop) if one.path}.values():
        try:
            find_inside(folder, package.path or "")
        except OutsideError as error:
            from buildpack.errors.wheels import path_outside

            yield path_outside(package.name, package.path or "", package.place, error.filename)


def compare(pipfile: Pipfile, lock: Lock, categories: Sequence[str] = ()) -> list[str]:
    """List the entries of Pipfile that the lock does not satisfy, in Pipfile's order: sentences that name the line.

    `categories` are those whose packages the lock was read with.
    """
    others = [category for category in dict.fromkeys(categories) if category not in _OWN]
    differences: list[str] = []
    for section in ("default", *others):
        differences.extend(_compare_section(pipfile, section, lock.packages))
    return [*differences, *compare_develop(pipfile, lock), *_compare_python(pipfile, lock)]


def compare_develop(pipfile: Pipfile, lock: Lock) -> list[str]:
    """List the entries of ``[dev-packages]`` that the lock does not satisfy; no image holds these packages."""
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
    elif missing := sorted(_extras(wanted) - set(map(canonical_name, package.extras))):
        asked = show(f"{wanted.name}[{','.join(missing)}]")
        yield errors.locked_otherwise(asked, wanted.line, f"{_describe_locked(package, wanted)} without that")


def _extras(wanted: Wanted) -> set[str]:
    """Return the extras by their canonical names (PEP 685)."""
    extras = wanted.table.get("extras", [])
    return {canonical_name(str(extra)) for extra in extras} if isinstance(extras, list) else set()


def _specifier(wanted: Wanted) -> str:
    """Return the version specifier; to pipenv a bare version (``1.16.0``, ``1.16.*``) means ``==``."""
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
        # Locked by its markers alone, or from git although Pipfile now names a version.
        return package.git is None and package.path is None and package.file is None
    index = table.get("index")
    if index is not None and package.index is not None and index != package.index:
        return False
    return not wanted.specifier or allows_version(_specifier(wanted), package.version) is True


def _same_path(wanted: str, locked: str) -> bool:
    """Compare paths that may be spelt differently: ``lib/x``, ``./lib/x/``, ``file:///app/lib/x``."""
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
