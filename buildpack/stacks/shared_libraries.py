"""Finds the shared libraries that files need, as the loader does (ld.so(8)), and those that a stack lacks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from buildpack.dataclass import dataclass
from buildpack.errors import stacks as errors
from buildpack.stacks.stack import Stack
from buildpack.system.elf import Elf, read_elf

_LINE = re.compile(r"\s+(\S+) \(([^)]*)\) => (/.*)")
_USUAL = ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Libraries:
    """The places that the loader searches: `first` (LD_LIBRARY_PATH), `cached` (files by soname), then `folders`."""

    cached: Mapping[str, tuple[str, ...]]
    folders: tuple[str, ...] = ()
    first: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLibraries:
    """The libraries by soname: `found`, in the loader's order, and `missing`, each with the file that needs it."""

    found: Mapping[str, Path]
    missing: Mapping[str, Path]


def parse_ldconfig(text: str) -> dict[str, tuple[str, ...]]:
    """Read the output of ``ldconfig -p``: each soname with its files, in the loader's order."""
    cached: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        if match := _LINE.match(line):
            cached[match[1]] = (*cached.get(match[1], ()), match[3])
    return cached


def read_libraries(environ: Mapping[str, str]) -> Libraries:
    """Ask ``ldconfig`` for this machine's shared libraries, and add the usual folders: musl has no ``ldconfig``.

    Debian's folders are usual, too: a minimal image may lack the cache, which its loader does not need.
    """
    import subprocess

    first = tuple(part for part in environ.get("LD_LIBRARY_PATH", "").split(":") if part)
    program = next((path for path in ("/sbin/ldconfig", "/usr/sbin/ldconfig") if os.access(path, os.X_OK)), None)
    text = ""
    if program:
        text = subprocess.run([program, "-p"], capture_output=True, check=False, env={}, encoding="utf-8").stdout
    multiarch = sorted(str(path) for top in ("/lib", "/usr/lib") for path in Path(top).glob("*-linux-gnu*"))
    return Libraries(cached=parse_ldconfig(text), folders=(*multiarch, *_USUAL), first=first)


def find_libraries(roots: Iterable[Path], sonames: Iterable[str], libraries: Libraries, *, like: Elf) -> FoundLibraries:
    """Find every library that these files and sonames need, directly or not.

    `like` is the interpreter: libraries of another architecture do not count, and its loader is not searched for. A
    soname of `sonames` that this machine lacks is skipped, because no file needs it.
    """
    found: dict[str, Path] = {}
    missing: dict[str, Path] = {}
    waiting = [(root, elf) for root in roots if (elf := read_elf(root))]
    for soname in sonames:
        if soname not in found and (hit := _search(soname, (), libraries, like)):
            found[soname] = hit[0]
            waiting.append(hit)
    loader = Path(like.interpreter).name
    while waiting:
        asking, elf = waiting.pop(0)
        for soname in elf.needed:
            if soname in found or soname in missing or soname == loader or soname.startswith("libc.musl-"):
                continue
            hit = _search(soname, _own_folders(asking, elf), libraries, like)
            if hit is None:
                missing[soname] = asking
                continue
            found[soname] = hit[0]
            waiting.append(hit)
    return FoundLibraries(found=found, missing=missing)


def _own_folders(path: Path, elf: Elf) -> tuple[str, ...]:
    """Return the folders of the file's RUNPATH, else of its RPATH."""
    origin = str(path.resolve().parent)
    texts = elf.runpath or elf.rpath
    return tuple(text.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for text in texts)


def _search(soname: str, own: tuple[str, ...], libraries: Libraries, like: Elf) -> tuple[Path, Elf] | None:
    """Find a library; None for a name with a slash.

    The loader treats such a name as a path, but a package must not choose a file that root reads.
    """
    if "/" in soname:
        return None
    folders = [f"{folder}/{soname}" for folder in (*libraries.first, *own)]
    usual = [f"{folder}/{soname}" for folder in libraries.folders]
    for place in (*folders, *libraries.cached.get(soname, ()), *usual):
        # `Path.is_file` raises for a name that is too long. `access` would not see a capability to read all files.
        if os.path.isfile(place):
            path = Path(place)
            with suppress(PermissionError):
                if (elf := read_elf(path)) and (elf.machine, elf.bits) == (like.machine, like.bits):
                    return path, elf
    return None


def missing_sonames(needed: Mapping[str, frozenset[str]], stack: Stack) -> tuple[str, ...]:
    """Return a warning for each wheel that needs shared libraries (sonames) that the stack lacks, sorted by wheel.

    They are not errors: a wheel may have modules that no app imports, such as Pillow's for Tk.
    """
    lacking = {wheel: tuple(sorted(sonames - stack.facts.sonames)) for wheel, sonames in sorted(needed.items())}
    return tuple(errors.libraries_missing(wheel, sonames, stack.name) for wheel, sonames in lacking.items() if sonames)
