"""Updates Pipfile.lock with pipenv, which works on a copy, and pins the stack in deploy.toml."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.bounded import objects_in, parse_json
from buildpack.dataclass import dataclass, field
from buildpack.errors.app import no_such_folder
from buildpack.system.guard import Guard
from buildpack.system.temporary import create_temporary, sweep, temporary_folder
from deployer.errors.files import lock_failed, no_package_to_move, no_pipfile, pipenv_missing
from deployer.locking.pipenv import Pipenv, last_lines, secrets_of

if TYPE_CHECKING:
    from buildpack.app.pipfile import Pipfile

_PREFIX = ".deploy-"
"""The beginning of names of temporary files in the app's folder; images leave them out (`never_enters`)."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"={2,3}[A-Za-z0-9.+!_-]+")
_BUILD_FAILED = re.compile(r"Failed to build |Failed building |subprocess-exited-with-error|metadata-generation-failed")
"""Messages of pip if a package's own code fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A package whose locked version differs; `before` is empty for a new package, `after` for a removed one."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        if not self.before:
            return f"{self.name} {self.after} is new"
        return f"{self.name} {self.before} -> {self.after}" if self.after else f"{self.name} {self.before} is gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """The changes of a lock: versions of packages, and the names of the files that were written."""

    changes: tuple[Change, ...]
    written: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request to lock.

    `pipfile` is Pipfile's new text, None if it does not change. `move` are the packages to upgrade, None for all.
    `variables` are for builds of packages, in addition to the environment; values of those in `given` are not shown.
    """

    pipfile: str | None = None
    move: frozenset[str] | None = frozenset()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    given: frozenset[str] = frozenset()


def run_pipenv(
    folder: Path,
    order: Order,
    *,
    python: str,
    place: Path,
    environ: Mapping[str, str],
    pipenv: str,
    verbose: bool,
    tell: Callable[[float], object] = lambda _seconds: None,
) -> Locked:
    """Lock the app with ``pipenv lock``, write Pipfile.lock and a changed Pipfile, and return what changed.

    `python` is the interpreter to resolve for, `pipenv` the one that has pipenv. A folder in `place` holds pipenv's own
    environment and its temporary files, which contain logins of indexes; it is removed at the end. `tell` is called at
    the start, and then every few seconds, with the seconds that pipenv has run. Pipenv works on a copy, so a failure
    changes neither file. Raises AppError if Pipfile is missing or cannot be read, UsageError for a package to upgrade
    that the app does not have, and DependencyError if pipenv fails.
    """
    from buildpack.app.textfile import read_bytes

    asked = _read_asked(folder, order)
    _check_variables(asked)
    pipfile = read_bytes(folder, "Pipfile") or b""
    wanted = pipfile if order.pipfile is None else order.pipfile.encode()
    before = read_bytes(folder, "Pipfile.lock")
    _check_move(order.move or (), asked, before)
    with Guard() as guard, temporary_folder(place) as scratch, _copied(folder.resolve(), guard) as copy:
        guard.remove(scratch)
        copy.write_bytes(wanted)
        locked = _lock_of(copy)
        if before is not None:
            locked.write_bytes(before)
        secrets = secrets_of(wanted, environ, [order.variables[name] for name in order.given])
        run = Pipenv(
            executable=pipenv,
            python=python,
            scratch=scratch,
            environ=environ,
            given=order.variables,
            secrets=secrets,
            guard=guard,
            verbose=verbose,
            tell=tell,
        )
        tell(0.0)
        output, ended = run.lock(copy, {} if order.move is None else pins_of(before, asked, order.move))
        if ended:
            if "No module named" in output and "pipenv" in output:
                raise pipenv_missing(pipenv)
            end = last_lines(output.replace(copy.name, "Pipfile"), secrets)
            built = _BUILD_FAILED.search(output) is not None
            raise lock_failed(folder, end, edited=order.pipfile is not None, built=built)
        after = locked.read_bytes()
    written = _write_pair(folder, (pipfile, wanted), (before, after))
    return Locked(changes=compare_locks(versions_of(before), versions_of(after)), written=written)


def _read_asked(folder: Path, order: Order) -> Pipfile:
    from buildpack.app.pipfile import parse_pipfile, read_pipfile

    if not os.path.isdir(folder):
        raise no_such_folder(str(folder))
    asked = read_pipfile(folder) if order.pipfile is None else parse_pipfile(order.pipfile)
    if asked is None:
        raise no_pipfile(folder)
    return asked


def _check_move(packages: Iterable[str], pipfile: Pipfile, lock: bytes | None) -> None:
    """Raise UsageError for a package that neither Pipfile nor the lock has."""
    from buildpack.app.lockfile import canonical_name

    known = {canonical_name(name.partition(" (")[0]) for name in versions_of(lock)}
    known |= {wanted.name for section in ("default", *pipfile.categories) for wanted in pipfile.wanted(section)}
    for name in packages:
        if canonical_name(name) not in known:
            raise no_package_to_move(name, sorted(known))


@contextmanager
def _copied(folder: Path, guard: Guard) -> Iterator[Path]:
    """Make an empty file for a copy of Pipfile, and remove it and its lock at the end.

    Copies that killed processes left are removed, too. The file is beside Pipfile, because paths in Pipfile are
    relative to its folder.
    """
    sweep(folder, prefix=_PREFIX)
    for left in folder.glob(f"{_PREFIX}*.part.lock"):
        if not left.with_suffix("").exists():
            left.unlink(missing_ok=True)
    descriptor, copy = create_temporary(folder, prefix=_PREFIX)
    try:
        os.fchmod(descriptor, 0o600)
        guard.remove(_lock_of(copy))
        guard.remove(copy)
        yield copy
    finally:
        _lock_of(copy).unlink(missing_ok=True)
        copy.unlink(missing_ok=True)
        os.close(descriptor)


def _lock_of(pipfile: Path) -> Path:
    return pipfile.with_name(f"{pipfile.name}.lock")


def _check_variables(pipfile: Pipfile) -> None:
    """Refuse the variables that `buildpack.app.indexes.check_variables` refuses, because pipenv would send them."""
    from buildpack.app.indexes import check_variables

    sources = objects_in(pipfile.document.get("source"))
    packages = [each for section in ("default", *pipfile.categories) for each in pipfile.wanted(section)]
    check_variables(
        {f"the source `{each.get('name', '')}`": str(each.get("url", "")) for each in sources},
        {
            f"{each.name} (Pipfile:{each.line})": str(each.table.get("git") or each.table.get("file") or "")
            for each in packages
        },
        file="Pipfile",
    )


def _write_pair(folder: Path, pipfile: tuple[bytes, bytes], lock: tuple[bytes | None, bytes]) -> tuple[str, ...]:
    """Write Pipfile and Pipfile.lock if they changed, both or neither; return the names of those that changed.

    `pipfile` and `lock` are the old and the new content.
    """
    changed = pipfile[0] != pipfile[1]
    if changed:
        replace_file(folder / "Pipfile", pipfile[1])
    try:
        if lock[0] != lock[1]:
            replace_file(folder / "Pipfile.lock", lock[1])
    except BaseException:
        if changed:
            replace_file(folder / "Pipfile", pipfile[0])
        raise
    return tuple(name for name, (old, new) in (("Pipfile", pipfile), ("Pipfile.lock", lock)) if old != new)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file of the app as a whole, without writing through a link."""
    descriptor, beside = create_temporary(path.parent, prefix=_PREFIX)
    try:
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(descriptor, path.stat().st_mode & 0o777 if os.path.exists(path) else 0o644)
            out.write(content)
            out.flush()
            beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def pin_stack(folder: Path, reference: str) -> bool:
    """Write `reference`, with its digest, as ``stack`` into deploy.toml; return True if that changed the file.

    Comments and everything else stay as they are. The file is replaced as a whole.
    """
    import tomlkit

    from buildpack.app.textfile import read_text

    path = folder / "deploy.toml"
    document = tomlkit.parse(read_text(folder, path.name) or "")
    if document.get("stack") == reference:
        return False
    document["stack"] = reference
    replace_file(path, document.as_string().encode())
    return True


# Versions in Pipfile.lock


def versions_of(lock: bytes | None) -> dict[str, str]:
    """Return each package's version in a lock, with its category; empty if this is not a lock."""
    return {
        name + ("" if category == "default" else f" ({category})"): str(
            entry.get("version") or entry.get("ref") or "*"
        ).lstrip("=")
        for category, name, entry in _entries(lock)
    }


def _entries(lock: bytes | None) -> list[tuple[str, str, dict[str, Any]]]:
    """Return category, name and entry of each package in a lock; none if this is not a lock."""
    try:
        document: Any = parse_json(lock or b"{}")
        return [
            (category, name, dict(entry))
            for category, entries in document.items()
            if category != "_meta"
            for name, entry in (entries or {}).items()
        ]
    except (TypeError, ValueError, AttributeError):
        return []


def compare_locks(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """Return the differences, in order of names."""
    return tuple(
        Change(name=name, before=before.get(name, ""), after=after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def pins_of(lock: bytes | None, pipfile: Pipfile, move: Iterable[str]) -> dict[str, str]:
    """Return the versions to keep, such as ``==1.0``, by canonical name.

    A package has none if two categories lock different versions, or if Pipfile asks for another version.
    """
    from buildpack.app.lockfile import canonical_name

    versions: dict[str, set[str]] = {}
    for _, name, entry in _entries(lock):
        version = str(entry.get("version", ""))
        if _NAME.fullmatch(name) and _VERSION.fullmatch(version):
            versions.setdefault(canonical_name(name), set()).add(version)
    moved = {canonical_name(name) for name in move}
    for wanted in (each for section in ("default", *pipfile.categories) for each in pipfile.wanted(section)):
        if not all(_allows(wanted.specifier, version) for version in versions.get(wanted.name, ())):
            moved.add(wanted.name)
    return {name: found.pop() for name, found in versions.items() if len(found) == 1 and name not in moved}


def _allows(specifier: str, version: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(specifier).contains(version.lstrip("="), prereleases=True)
    except InvalidSpecifier:
        return True
