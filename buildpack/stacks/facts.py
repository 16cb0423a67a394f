"""Reads a base's Python, C library, shared libraries and accounts from its contents."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from buildpack.errors import stacks as errors
from buildpack.stacks.stack import Facts, StackPython
from buildpack.system.elf import read_elf

FACTS_FORMAT = "1"
"""Raise it when the same base would give other facts."""

_USUAL_PATH = "/usr/local/bin:/usr/bin:/bin"
_FOLDERS = ("lib", "usr/lib", "lib64", "usr/lib64", "usr/local/lib", "usr/local/lib64")
_TRIPLET = re.compile(r"[\w]+-linux-(?:gnu|musl)\w*")
_INTERPRETER = re.compile(r"python(3\.\d+)")
_LIBRARY = re.compile(r".+\.so(?:\.[\w.]+)?")
_GLIBC = re.compile(rb"GNU C Library [^\n]*version (\d{1,4})\.(\d{1,4})\b")
_MUSL = re.compile(rb"\0(1)\.(\d{1,4})\.\d{1,4}\0")


def read_facts(root: Path, config: Mapping[str, Any], *, stack: str) -> Facts:
    """Read the facts of a base unpacked below `root`; raises StackError if it holds no usable Python or libc."""
    executable, series = _find_python(root, config, stack)
    place = root / executable.lstrip("/")
    elf = read_elf(place)
    folders = list(find_library_folders(root))
    libraries = [path for folder in folders for path in sorted((root / folder).glob(f"libpython{series}.so*"))]
    versions = (python_version(file.read_bytes(), series) for file in (place, *libraries))
    version = next(filter(None, versions), None)
    if elf is None or version is None or int(series.split(".")[1]) < 10:
        raise errors.unknown_python_in_base(stack, executable)
    libc = _find_libc(root, folders, elf.interpreter)
    if libc is None:
        raise errors.no_libc_in_base(stack)
    return Facts(
        python=StackPython(version=version, executable=executable, cache_tag=f"cpython-{series.replace('.', '')}"),
        libc=libc,
        machine=elf.machine,
        sonames=frozenset(
            path.name for folder in folders for path in (root / folder).iterdir() if _LIBRARY.fullmatch(path.name)
        ),
        passwd=_text(root / "etc/passwd"),
        group=_text(root / "etc/group"),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


def _find_python(root: Path, config: Mapping[str, Any], stack: str) -> tuple[str, str]:
    """Return the real path of the image's ``python3``, and its series."""
    env = dict(text.partition("=")[::2] for text in config.get("Env") or ())
    top = os.path.realpath(root)
    for folder in f"{env.get('PATH', '')}:{_USUAL_PATH}".split(":"):
        for name in ("python3", "python"):
            place = root / folder.strip("/") / name
            if not place.is_file():
                continue
            real = os.path.realpath(place)
            if not real.startswith(top + "/"):
                continue
            match = _INTERPRETER.fullmatch(Path(real).name)
            if match is None:
                raise errors.unknown_python_in_base(stack, real.removeprefix(top))
            return real.removeprefix(top), match[1]
    raise errors.no_python_in_base(stack)


def python_version(body: bytes, series: str) -> str | None:
    """Find the version in the text of an interpreter of this series, or of its library."""
    match = re.search(rb"(?<![\d.])" + re.escape(series.encode()) + rb"\.\d+(?:(?:a|b|rc)\d+)?(?=\+?\0)", body)
    return match[0].decode() if match else None


def glibc_version(body: bytes) -> tuple[str, int, int] | None:
    """Find the version in glibc's ``libc.so.6``."""
    match = _GLIBC.search(body)
    return ("glibc", int(match[1]), int(match[2])) if match else None


def musl_version(body: bytes) -> tuple[str, int, int] | None:
    """Find the version in musl's loader, which is also its C library."""
    match = _MUSL.search(body)
    return ("musl", int(match[1]), int(match[2])) if match else None


def _find_libc(root: Path, folders: list[str], loader: str) -> tuple[str, int, int] | None:
    if "ld-musl" in loader:
        place = root / loader.lstrip("/")
        return musl_version(place.read_bytes()) if place.is_file() else None
    for folder in folders:
        place = root / folder / "libc.so.6"
        if place.is_file():
            return glibc_version(place.read_bytes())
    return None


def find_library_folders(root: Path) -> Iterator[str]:
    """Yield the folders below `root` that the base's loader searches, ld.so.conf's first, each real folder once."""
    seen: set[str] = set()
    top = os.path.realpath(root)
    for folder in (*_configured(root), *_multiarch(root), *_FOLDERS):
        real = os.path.realpath(root / folder)
        if real not in seen and real.startswith(top) and Path(real).is_dir():
            seen.add(real)
            yield folder


def _configured(root: Path) -> Iterator[str]:
    files = [root / "etc/ld.so.conf", *sorted((root / "etc/ld.so.conf.d").glob("*.conf"))]
    for path in files:
        for line in (_text(path) or "").splitlines():
            if line.startswith("/"):
                yield line.split("#")[0].strip().strip("/")


def _multiarch(root: Path) -> Iterator[str]:
    for folder in ("usr/local/lib", "usr/lib", "lib"):
        if (root / folder).is_dir():
            names = sorted(path.name for path in (root / folder).iterdir())
            yield from (f"{folder}/{name}" for name in names if _TRIPLET.fullmatch(name))
