"""Names that are two files here and one elsewhere, or that other systems cannot have at all."""

from __future__ import annotations

import re
from collections.abc import Iterator

from buildpack.app.source import SourceTree
from buildpack.errors import checks as errors
from buildpack.errors.notice import Notice

_WINDOWS = re.compile(
    r"(?:^|/)(?:(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\.[^/]*)?(?:/|$)|[^/]*[. ](?:/|$)|[^/]*[<>:\"|?*\\\x00-\x1f])",
    re.IGNORECASE,
)


def check_portable(tree: SourceTree) -> Iterator[Notice]:
    """Look for names that collide where case or Unicode's normal form does not count, and for those of no use there."""
    paths = [file.path for file in tree.files]
    # A folder may have two spellings too, which become one that holds both's files.
    folders: set[str] = set()
    for path in paths:
        for folder in _above(path):
            if folder in folders:
                break
            folders.add(folder)
    spelt: dict[str, list[str]] = {}
    for path in (*sorted(folders), *paths):
        spelt.setdefault(_folded(path), []).append(path)
    groups = [group for group in spelt.values() if len(group) > 1]
    # What lies in colliding folders collides only because these do.
    twice = {path for group in groups for path in group}
    own = [group for group in groups if not any(above in twice for path in group for above in _above(path))]
    if own:
        yield errors.colliding_names(own)
    if unportable := [path for path in paths if _WINDOWS.search(path)]:
        yield errors.unportable_names(unportable)


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    from unicodedata import normalize

    return normalize("NFC", normalize("NFC", path).casefold())
