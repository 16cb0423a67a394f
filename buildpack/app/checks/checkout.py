"""Check what a clone may lack: the files of git's submodules, and those that git-lfs keeps elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from buildpack.app.source import SourceTree
from buildpack.app.textfile import open_inside
from buildpack.errors import checks as errors
from buildpack.errors.notice import Notice

_SUBMODULE = re.compile(rb"^[ \t]{0,32}path[ \t]{0,32}=[ \t]{0,32}([^\s\"#;][^\"#;\r\n]{0,400})", re.MULTILINE)
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_USUAL_SIZES = range(120, 200)
"""Bytes of a pointer without extensions. Few files of an app have such a size, and each takes 6 µs to look at."""
_ANY_SIZES = range(100, 1024)
"""Bytes of any pointer (git-lfs, docs/spec.md)."""
_LARGEST = 64 * 1024


def check_clone(tree: SourceTree) -> Iterator[Notice]:
    """Check for empty submodules and for pointers in place of files."""
    sizes = {file.path: file.size for file in tree.files if file.kind == "file"}
    for name in _SUBMODULE.findall(_begin(tree, ".gitmodules", _LARGEST)) if ".gitmodules" in sizes else ():
        path = os.path.normpath(name.decode(errors="replace").strip())
        inside = not path.startswith(("/", ".."))
        if inside and not any(file.startswith(f"{path}/") for file in sizes) and _is_empty(tree, path):
            yield errors.submodule_not_fetched(path)
    uses_lfs = ".gitattributes" in sizes and b"filter=lfs" in _begin(tree, ".gitattributes", _LARGEST)
    likely = _ANY_SIZES if uses_lfs else _USUAL_SIZES
    pointers = [path for path, size in sizes.items() if size in likely and _is_pointer(f"{tree.folder}/{path}")]
    if pointers:
        yield errors.lfs_pointers(pointers)


def _is_empty(tree: SourceTree, path: str) -> bool:
    """Say whether a folder of the app has nothing in it, or is not there."""
    place = tree.folder / path
    if os.path.islink(place):
        return False
    try:
        with os.scandir(place) as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _is_pointer(path: str) -> bool:
    """Say whether a file begins as a pointer does.

    `open_inside` would take ten times as long. Nobody learns more than this from a file that is put in the place.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return os.read(descriptor, len(_POINTER)) == _POINTER
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _begin(tree: SourceTree, path: str, size: int) -> bytes:
    try:
        with open_inside(tree.folder, path) as file:
            return file.read(size)
    except OSError:
        return b""
