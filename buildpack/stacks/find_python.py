"""Finds the Python interpreters of this machine.

An interpreter counts if it runs and reports its version. pyenv's shims, which only look like interpreters, are
scripts, so only ELF files count.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.bounded import series_of
from buildpack.dataclass import dataclass
from buildpack.errors import stacks as errors
from buildpack.stacks.platforms import native_platform
from buildpack.system.processes import library_path

if TYPE_CHECKING:
    from buildpack.oci.image import Platform
    from buildpack.oci.store import Store

_OLDEST = (3, 10)
_NAME = re.compile(r"python(3\.\d+)")
_FINAL = re.compile(r"[0-9.]+")
_PROBE_SECONDS = 20
_ANSWER = "interpreter"

_PROBE = """
import json, os, sys
found = [entry for entry in sys.path if entry.endswith("lib-dynload")]
dynload = found[0] if found else ""
present = {name.partition(".")[0] for name in os.listdir(dynload)} if dynload else set()
present.update(sys.builtin_module_names)
try:
    import _ssl
    cafile = _ssl.get_default_verify_paths()[1]
except ImportError:
    cafile = ""
wanted = ("_bz2", "_ctypes", "_lzma", "_sqlite3", "_ssl", "zlib")
json.dump({
    "version": sys.version.split()[0].rstrip("+"),
    "implementation": sys.implementation.name,
    "cache_tag": sys.implementation.cache_tag,
    "flags": sys.abiflags,
    "executable": sys._base_executable,
    "prefix": sys.base_prefix,
    "stdlib": os.path.dirname(os.__file__),
    "dynload": dynload,
    "libc": os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else "",
    "cafile": cafile,
    "lacking": [name.lstrip("_") for name in wanted if name not in present],
}, sys.stdout)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPython:
    """An interpreter that runs here. `executable` is the real file, neither a link nor a virtual environment's."""

    executable: Path
    version: str
    cache_tag: str
    prefix: str
    stdlib: Path
    dynload: Path | None
    libc: str
    """As ``confstr`` has it, ``glibc 2.36``; empty on musl."""
    cafile: str
    """The file of certificates that its OpenSSL reads by default; empty without OpenSSL."""
    lacking: tuple[str, ...]
    """Modules of the standard library that it was built without."""

    @property
    def series(self) -> str:
        """``3.11`` of ``3.11.7``."""
        return series_of(self.version)

    @property
    def glibc(self) -> tuple[str, int, int] | None:
        """``("glibc", 2, 36)``; None on musl, which does not report its version this way."""
        name, _, version = self.libc.partition(" ")
        if name != "glibc":
            return None
        major, minor = version.split(".")[:2]
        return name, int(major), int(minor)


def own_executable(own: str | None = None) -> str:
    """Return `own`, by default the interpreter of this process outside its virtual environment."""
    return own if own is not None else str(getattr(sys, "_base_executable", None) or sys.executable)


def find_candidates(python: str | None, *, environ: Mapping[str, str], own: str) -> list[Path]:
    """List the files that may be an interpreter of this version (``3.11``, ``3.11.7``; None: any), the preferred first.

    The order is the active virtual environment, the folder of `own`, PATH, pyenv's versions (the newest patch level
    first), then the usual folders. No file is run, and none is listed twice.
    """
    series = series_of(python) if python else None
    seen: set[str] = set()
    candidates: list[Path] = []
    for place in _places(environ, own):
        for path in _named(place, series):
            real = os.path.realpath(path)
            if real not in seen and _is_elf(real):
                seen.add(real)
                candidates.append(path)
    return candidates


def candidate_witnesses(python: str | None, *, environ: Mapping[str, str], own: str) -> list[str]:
    """List the paths that decide what `find_candidates` finds; most of them do not exist."""
    series = series_of(python) if python else None
    versions = _pyenv_versions(environ)
    found = [str(versions)] if versions else []
    for place in _places(environ, own):
        found += [f"{place}/python{series}"] if series else [str(place), *map(str, _named(place, None))]
    return found


def _pyenv_versions(environ: Mapping[str, str]) -> Path | None:
    root = environ.get("PYENV_ROOT") or (f"{environ['HOME']}/.pyenv" if environ.get("HOME") else "")
    return Path(root, "versions") if root else None


def _places(environ: Mapping[str, str], own: str) -> Iterator[Path]:
    if environ.get("VIRTUAL_ENV"):
        yield Path(environ["VIRTUAL_ENV"], "bin")
    if own:
        yield Path(own).parent
    yield from (Path(part) for part in environ.get("PATH", "").split(":") if part.startswith("/"))
    if versions := _pyenv_versions(environ):
        names = _listed(versions)
        yield from (versions / name / "bin" for name in sorted(names, key=_newest_first))
    yield from (Path("/usr/local/bin"), Path("/usr/bin"))


def _listed(folder: Path) -> list[str]:
    """Return the names in a folder; none if it is absent or cannot be read."""
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _newest_first(name: str) -> tuple[list[int], str]:
    return [-int(number) for number in re.findall(r"\d+", name)], name


def _named(place: Path, series: str | None) -> list[Path]:
    if series:
        path = place / f"python{series}"
        return [path] if os.path.exists(path) else []
    names = [name for name in _listed(place) if _NAME.fullmatch(name)]
    return [place / name for name in sorted(names, key=_newest_first)]


def _is_elf(path: str) -> bool:
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - a third of the warm path's time with Path.open
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False


def probe(path: Path, environ: Mapping[str, str], store: Store | None = None) -> HostPython | None:
    """Run this interpreter and read what it reports about itself; None unless it is a CPython 3.10 or later.

    The store remembers the answer until the interpreter or its standard library changes, so that it starts once.
    """
    if store is None:
        return _parse_answer(_ask(path, environ))
    key = json.dumps([brief_stamp(str(path)), os.path.realpath(path), environ.get("LD_LIBRARY_PATH")])
    known = store.recall(_ANSWER, key)
    if isinstance(known, dict) and known["stamps"] == _stamps(known["answer"]):
        return _parse_answer(known["answer"])
    answer = _ask(path, environ)
    if answer is not None:
        store.remember(_ANSWER, key, {"answer": answer, "stamps": _stamps(answer)})
    return _parse_answer(answer)


def _ask(path: Path, environ: Mapping[str, str]) -> dict[str, Any] | None:
    import subprocess

    try:
        answer = subprocess.run(
            [path, "-I", "-S", "-c", _PROBE],
            capture_output=True,
            check=True,
            timeout=_PROBE_SECONDS,
            env=library_path(environ),
            stdin=subprocess.DEVNULL,
        ).stdout
        found: dict[str, Any] = json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return found


def _parse_answer(found: dict[str, Any] | None) -> HostPython | None:
    if found is None:
        return None
    number = tuple(int(part) for part in found["version"].split(".")[:2])
    # Free-threaded builds (PEP 703) take other wheels; they are another interpreter than the one asked for.
    if found["implementation"] != "cpython" or "t" in found["flags"] or number < _OLDEST:
        return None
    return HostPython(
        executable=Path(os.path.realpath(found["executable"])),
        version=found["version"],
        cache_tag=found["cache_tag"],
        prefix=found["prefix"],
        stdlib=Path(found["stdlib"]),
        dynload=Path(found["dynload"]) if found["dynload"] else None,
        libc=found["libc"],
        cafile=found["cafile"],
        lacking=tuple(found["lacking"]),
    )


def _stamps(answer: Mapping[str, Any]) -> list[list[Any]]:
    return [brief_stamp(answer[name]) for name in ("executable", "stdlib", "dynload")]


def brief_stamp(path: str) -> list[Any]:
    """Return the path, size and time of a file or folder; only the path if it is missing."""
    try:
        found = os.stat(path)  # noqa: PTH116 - hundreds of these are the warm path
    except OSError:
        return [path, None]
    return [path, found.st_size, found.st_mtime_ns]


def find_python(
    python: str | None, *, environ: Mapping[str, str], own: str, store: Store | None = None
) -> HostPython | None:
    """Return this machine's first interpreter of this version; one of another patch level only if there is no such.

    The order is that of `find_candidates`.
    """
    return choose(python, find_candidates(python, environ=environ, own=own), environ, store)


def choose(
    python: str | None, candidates: Iterable[Path], environ: Mapping[str, str], store: Store | None = None
) -> HostPython | None:
    """Return the first of these interpreters that has this version; one of another patch level only if none has."""
    second: HostPython | None = None
    for path in candidates:
        found = probe(path, environ, store)
        if found is None or (python and found.series != series_of(python)):
            continue
        if python is None or python in (found.series, found.version):
            return found
        second = second or found
    return second


def usable_versions(*, environ: Mapping[str, str], own: str, store: Store | None = None) -> Iterator[str]:
    """Yield the versions (``3.13``) of this machine's interpreters that can run a server, the newest first.

    `choose` takes the same file for each of them. An interpreter can run a server if it is a final release, is linked
    dynamically, and has every module that `probe` looks for (``ssl`` among them).
    """
    from buildpack.system.elf import read_elf

    decided: set[str] = set()
    for path in sorted(find_candidates(None, environ=environ, own=own), key=lambda path: _newest_first(path.name)):
        series = path.name.removeprefix("python")
        found = probe(path, environ, store) if series not in decided else None
        if found is None or found.series != series:
            continue
        decided.add(series)
        elf = read_elf(found.executable)
        if elf and elf.interpreter and not found.lacking and _FINAL.fullmatch(found.version):
            yield series


def list_pythons(*, environ: Mapping[str, str], own: str) -> list[tuple[str, str]]:
    """Return version and path of each interpreter of this machine that runs, for the error that lists them."""
    found = (probe(path, environ) for path in find_candidates(None, environ=environ, own=own))
    return [(python.version, str(python.executable)) for python in found if python]


def choose_host(
    python: str | None,
    platforms: Iterable[Platform],
    *,
    system: str,
    environ: Mapping[str, str],
    own: str,
    store: Store | None = None,
) -> HostPython:
    """Return the interpreter of the stack; raises StackError if there is none, or if this is another platform."""
    if system != "linux":
        raise errors.host_needs_linux(system, python)
    here = native_platform()
    if other := next((one for one in platforms if one.architecture != here.architecture), None):
        raise errors.host_is_another_platform(str(other), str(here), python)
    found = find_python(python, environ=environ, own=own, store=store)
    if found is None:
        raise errors.no_host_python(python, list_pythons(environ=environ, own=own))
    return found
