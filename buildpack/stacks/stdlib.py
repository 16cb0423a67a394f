"""Gathers the Python of the host stack, its standard library and its byte code, and moves them to ``/usr/local``."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from buildpack.errors import build as errors
from buildpack.oci.entry import Entry, FileSlice, file, symlink
from buildpack.stacks.find_python import HostPython
from buildpack.stacks.host_files import HostFiles
from buildpack.system.compile_process import CompileError, CompileProcess, CompilingPython, pyc_path, read_pack
from buildpack.system.processes import library_path

HOME = "usr/local"
_SECONDS = 3600.0
"""Time for half of the library; a machine that swaps is slow."""
# Tests, modules that need Tk or only install other things, and other packages' folders.
_NO_FOLDERS = re.compile(
    r"test|tests|idle_test|idlelib|tkinter|turtledemo|ensurepip|site-packages|dist-packages|__pycache__|config-.+"
)
_NO_FILES = re.compile(r"turtle\.py|.+\.(?:pyc|pyo|exe|a)|EXTERNALLY-MANAGED")
_NO_MODULES = re.compile(r"(?:_tkinter|_test.*|_ctypes_test|_xxtestfuzz|xxlimited.*|xxsubtype)\..+")
# These describe how the interpreter was built; since 3.14 there is a JSON file, too (PEP 739).
_BUILD_FILES = re.compile(r"_sysconfig.+|build-details\.json")
_BUILD_FOLDER = re.compile(r"""'abs_(?:builddir|srcdir)':\s*'([^']{2,})'""")
_BUILD_PREFIX = re.compile(r"""'(?:exec_)?prefix':\s*'([^']{2,})'""")
_SHARED_PREFIXES = frozenset({"/usr", "/usr/local", "/"})


def build_folders(python: HostPython) -> tuple[str, ...]:
    """Return the folders in which the interpreter was compiled and installed, whose names its files have.

    The longest comes first. Shared folders, such as Debian's ``/usr``, are left out, since they reveal nothing.
    """
    found = {python.prefix}
    for path in sorted(python.stdlib.glob("_sysconfigdata*.py")):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        found.update(_BUILD_FOLDER.findall(text))
        found.update(_BUILD_PREFIX.findall(text))
    return tuple(sorted((text for text in found - _SHARED_PREFIXES if text.startswith("/")), key=len, reverse=True))


def gather_python(gathered: HostFiles, python: HostPython, folders: tuple[str, ...]) -> dict[str, Path | bytes]:
    """Gather interpreter and library; return the sources to compile, by path in the image.

    A source is a file of this machine, or bytes if build paths in it were rewritten.
    """
    name = f"python{python.series}"
    gathered.take_elf(f"{HOME}/bin/{name}", python.executable, executable=True)
    gathered.put([symlink(f"{HOME}/bin/python3", name), symlink(f"{HOME}/bin/python", name)])
    sources: dict[str, Path | bytes] = {}
    for path, found in _library(gathered, python.stdlib, f"{HOME}/lib/{name}"):
        if _BUILD_FILES.fullmatch(found.name):
            body = _without(folders, found.read_bytes())
            gathered.put([file(path, body)])
            sources[path] = body
        elif found.suffix == ".so":
            gathered.take_elf(path, found)
        else:
            gathered.put([file(path, FileSlice(path=found, size=found.stat().st_size))])
            sources[path] = found
    if python.dynload and not python.dynload.is_relative_to(python.stdlib):
        for path, found in _library(gathered, python.dynload, f"{HOME}/lib/{name}/lib-dynload"):
            gathered.take_elf(path, found)
    return {path: source for path, source in sources.items() if path.endswith(".py")}


def _library(gathered: HostFiles, folder: Path, path: str) -> Iterator[tuple[str, Path]]:
    root = os.path.realpath(folder) + "/"
    waiting = [(str(folder), path)]
    while waiting:
        here, inside = waiting.pop()
        gathered.witnesses.add(here)
        with os.scandir(here) as listing:
            for entry in sorted(listing, key=lambda entry: entry.name):
                if entry.is_dir(follow_symlinks=False):
                    if not _NO_FOLDERS.fullmatch(entry.name):
                        waiting.append((entry.path, f"{inside}/{entry.name}"))
                elif entry.is_file() and not _NO_FILES.fullmatch(entry.name) and not _NO_MODULES.fullmatch(entry.name):
                    # Debian links some files elsewhere; files outside are this machine's configuration.
                    real = os.path.realpath(entry.path)
                    if real.startswith(root):
                        yield f"{inside}/{entry.name}", Path(real)


def _without(folders: tuple[str, ...], body: bytes) -> bytes:
    for folder in folders:
        to = b"/usr/src/python" if re.search(r"[Pp]ython-\d|/build", folder) else b"/usr/local"
        body = body.replace(os.fsencode(folder), to)
    return body


class ByteCode:
    """Compiles the standard library by its own interpreter, in two other processes.

    Each takes every second source, so that the result does not depend on the number of processors.
    """

    def __init__(
        self, python: HostPython, sources: Mapping[str, Path | bytes], folder: Path, environ: Mapping[str, str]
    ) -> None:
        listed = []
        for number, (path, source) in enumerate(sorted(sources.items())):
            place = source if isinstance(source, Path) else folder / f"{number}.py"
            if isinstance(source, bytes):
                place.write_bytes(source)
            listed.append((f"/{path}", str(place)))
        self._cache_tag = python.cache_tag
        self._halves: list[tuple[Path, list[tuple[str, str]], CompileProcess]] = []
        own = CompilingPython(
            argv=(str(python.executable),),
            version=python.version,
            cache_tag=python.cache_tag,
            environ=library_path(environ),
        )
        try:
            for half in range(2):
                process = CompileProcess(own, timeout=_SECONDS)
                self._halves.append((folder / f"pack{half}", listed[half::2], process))
                with contextlib.suppress(CompileError):  # `entries` raises the reason
                    process.begin({"out": str(folder / f"pack{half}"), "modules": listed[half::2]})
        except CompileError as error:
            self.close()
            raise errors.compiling_failed(str(error)) from error

    def entries(self) -> list[Entry]:
        """Wait for the byte code; raises MachineError if the interpreter fails, for example without enough memory.

        A stack without byte code would be another and slower one, and nobody would notice.
        """
        made: list[Entry] = []
        for pack, modules, process in self._halves:
            try:
                process.finish()
            except CompileError as error:
                raise errors.compiling_failed(str(error)) from error
            for (path, _), (offset, size) in zip(modules, read_pack(pack) or (), strict=True):
                if size:
                    compiled = pyc_path(path.lstrip("/"), self._cache_tag)
                    made.append(file(compiled, FileSlice(path=pack, offset=offset, size=size)))
        return made

    def close(self) -> None:
        """End the processes."""
        for _, _, process in self._halves:
            process.close()
