"""Copy into a wheel built here the shared libraries that it links to and the host stack lacks, as auditwheel does.

The build links against this machine's libraries, of which the stack `host` holds only those that Python needs. Copies
go into ``NAME.libs`` beside the package, under names that say their content; patchelf makes the modules look there.
"""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from hashlib import file_digest, sha256
from itertools import count
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from buildpack.dataclass import dataclass, replace
from buildpack.errors import wheels as errors
from buildpack.python.files import store_file, stored_path
from buildpack.python.venv import write_wheel
from buildpack.stacks.shared_libraries import find_libraries, read_libraries
from buildpack.system.elf import Elf, read_elf
from buildpack.system.processes import ProcessGroup, User
from buildpack.system.unprivileged import choose_user, give, open_left, workplace

if TYPE_CHECKING:
    from buildpack.oci.store import Store
    from buildpack.python.files import LockedFile, WheelFile

FORMAT = 1
"""Raise it when the same wheel and libraries become another wheel."""

_KIND = "grafted"
_CACHE = Path("/etc/ld.so.cache")
"""The loader's cache of libraries (ldconfig(8)), which is written again when a library is installed."""
_CHANGED = ("sha256", "size", "libraries")
"""The fields of a wheel that change if libraries are copied into it."""
_LARGEST = 256 << 20
"""Bytes of a library: it is in memory while the new wheel is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    """A library of this machine, and what its copy is called."""

    soname: str
    source: Path
    name: str
    sha256: str


def graft(
    wheel: WheelFile,
    path: Path,
    missing: Iterable[str],
    *,
    stack: frozenset[str],
    python: Path,
    store: Store,
    environ: Mapping[str, str],
) -> WheelFile | None:
    """Return the wheel with copies of the libraries that it misses, and of those that they need; None for no copies.

    `missing` and `stack` are sonames, those that the wheel misses and those that the stack has. `python` is the
    interpreter whose loader will look for them. The new wheel is in the store, beside the old one, and the store
    remembers it for the next build. Raises DependencyError if a file cannot be changed.
    """
    missing = sorted(missing)
    first = environ.get("LD_LIBRARY_PATH", "")
    parts = (FORMAT, wheel.filename, wheel.sha256, missing, sorted(stack), str(python), first)
    key = sha256(repr(parts).encode()).hexdigest()
    if (known := _recalled(wheel, key, store)) is not None:
        return known
    like = read_elf(python)
    if like is None:
        return None
    copies = _find_copies(wheel.filename, missing, stack, like=like, environ=environ)
    if not copies:
        return None
    user = choose_user()
    with workplace(store.folder("wheels"), user) as place, zipfile.ZipFile(path) as archive:
        changed = _change(archive, copies, place, wheel, user)
        names = archive.namelist()
        record = next(name for name in names if name.endswith(".dist-info/RECORD") and name.count("/") == 1)
        write_wheel(place / wheel.filename, _files(archive, changed, record), record)
        with (place / wheel.filename).open("rb") as content:
            digest, size = store_file(content, wheel.filename, store.folder("wheels"))
    libraries = " ".join(f"{copy.soname}=sha256:{copy.sha256}" for copy in copies)
    grafted = replace(wheel, sha256=digest, size=size, libraries=libraries)
    sources = [*(copy.source for copy in copies), _CACHE, *map(Path, filter(None, first.split(":")))]
    store.remember(_KIND, grafted.sha256, [_stamp(source) for source in sources])
    store.remember("grafting", key, {name: getattr(grafted, name) for name in _CHANGED})
    return grafted


def _recalled(wheel: WheelFile, key: str, store: Store) -> WheelFile | None:
    """Return the wheel that an earlier build made of this one, if this machine still has the same libraries."""
    found = store.recall("grafting", key)
    if not isinstance(found, dict) or found.keys() != set(_CHANGED):
        return None
    grafted = replace(wheel, **found)
    return grafted if stored_path(store.folder("wheels"), grafted) and is_current(grafted, store) else None


def grafted_from(wheels: Iterable[WheelFile], store: Store) -> tuple[str, ...]:
    """Return the files of this machine that were copied into these wheels, and what tells where to look for them."""
    told: list[Any] = [store.recall(_KIND, wheel.sha256) for wheel in wheels if wheel.libraries]
    return tuple(stamp[0] for stamps in told for stamp in stamps or ())


def is_current(wheel: LockedFile, store: Store) -> bool:
    """Return True if this machine still has the libraries that were copied into the wheel, and got no others."""
    told: Any = store.recall(_KIND, wheel.sha256)
    return bool(told) and all(_stamp(Path(stamp[0])) == stamp for stamp in told)


def _find_copies(
    filename: str, missing: Iterable[str], stack: frozenset[str], *, like: Elf, environ: Mapping[str, str]
) -> tuple[_Copy, ...]:
    found = find_libraries((), sorted(missing), read_libraries(environ), like=like).found
    copies = []
    for soname, source in sorted(found.items()):
        if soname in stack:
            continue
        if (size := source.stat().st_size) > _LARGEST:
            raise errors.library_too_large(filename, source, size, _LARGEST)
        with source.open("rb") as stream:
            digest = file_digest(stream, "sha256").hexdigest()
        stem, dot, version = soname.partition(".so")
        copies.append(_Copy(soname=soname, source=source, name=f"{stem}-{digest[:8]}{dot}{version}", sha256=digest))
    return tuple(copies)


def _change(
    archive: zipfile.ZipFile, copies: tuple[_Copy, ...], place: Path, wheel: WheelFile, user: User | None
) -> dict[str, Path]:
    """Write the changed files into `place`; return them by their path in the wheel.

    Their names there are numbers, so that no name that a package chose is a path of this machine.
    """
    folder = f"{wheel.filename.partition('-')[0]}.libs"
    names = {copy.soname: copy.name for copy in copies}
    work = place / "files"
    work.mkdir()
    numbers = count()
    changed: dict[str, Path] = {}
    commands: list[list[str]] = []

    def change(member: str, file: Path, elf: Elf, rpath: str, *options: str) -> None:
        renamed = [part for old in elf.needed if old in names for part in ("--replace-needed", old, names[old])]
        commands.append([*options, *renamed, "--force-rpath", "--set-rpath", rpath, str(file)])
        changed[member] = file

    def write(source: IO[bytes]) -> Path:
        file = work / str(next(numbers))
        with source, file.open("xb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
        return file

    for info in archive.infolist():
        if info.is_dir() or ".data/scripts/" in info.filename or not _is_elf(archive, info):
            continue
        file = write(archive.open(info))
        elf = read_elf(file)
        if elf is not None and not names.keys().isdisjoint(elf.needed):
            beside = os.path.relpath(folder, _installed(info.filename).parent)
            own = [part for part in elf.runpath or elf.rpath if part.startswith("$ORIGIN")]
            change(info.filename, file, elf, ":".join([f"$ORIGIN/{beside}", *own]))
    for copy in copies:
        file = write(copy.source.open("rb"))
        elf = read_elf(file)
        if elf is not None:
            change(f"{folder}/{copy.name}", file, elf, "$ORIGIN", "--set-soname", copy.name)
    program = shutil.copy2(_program(), place / "patchelf")
    give(work, user)
    for options in commands:
        done = ProcessGroup().run([str(program), *options], folder=work, environment={}, user=user)
        if done.code:
            raise errors.not_grafted(wheel.filename, " ".join(done.lines) or f"patchelf failed with {done.code}")
    return changed


def _is_elf(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    with archive.open(info) as stream:
        return stream.read(4) == b"\x7fELF"


def _installed(member: str) -> PurePosixPath:
    """Return where a file goes, relative to site-packages."""
    path = PurePosixPath(member)
    return PurePosixPath(*path.parts[2:]) if path.parts[0].endswith(".data") else path


def _files(archive: zipfile.ZipFile, changed: Mapping[str, Path], record: str) -> Iterator[tuple[str, bytes, int]]:
    """Yield the files of the new wheel for `write_wheel`: those of the old one, changed or not, and the copies."""
    modes = {info.filename: info.external_attr for info in archive.infolist() if not info.is_dir()}
    for name in [*(each for each in modes if each != record), *(each for each in changed if each not in modes)]:
        if name in changed:
            with open_left(changed[name]) as left:
                body = left.read()
        else:
            body = archive.read(name)
        yield name, body, modes.get(name, 0o755 << 16)


def _stamp(path: Path) -> list[object]:
    try:
        found = path.stat()
    except OSError:
        return [str(path), 0, 0]
    return [str(path), found.st_size, found.st_mtime_ns]


def _program() -> str:
    """Find patchelf, which is installed beside this tool's interpreter."""
    beside = Path(sys.executable).with_name("patchelf")
    found = str(beside) if beside.is_file() else shutil.which("patchelf")
    if found is None:
        raise errors.no_patchelf()
    return found
