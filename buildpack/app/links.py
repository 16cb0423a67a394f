"""Follow the symbolic links of an app, and decide which files belong to the app."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from buildpack.app.git import own_checkout

# pathlib is ten times slower in this hot path.
# ruff: noqa: PTH100, PTH118, PTH119, PTH120, PTH121

_NEVER = frozenset(
    (".git", ".hg", ".svn", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox")
) | frozenset((".ds_store", ".env", ".envrc", ".netrc", ".pypirc"))
_ENV_TEMPLATES = (".example", ".sample", ".template")

_LIMIT = 40
"""The most links to follow, as on Linux (path_resolution(7)). A loop does not lead out."""


def leads_out(path: str, links: Mapping[str, str]) -> bool:
    """Return True if the link at `path` leaves the app's folder at any step; `links` has each link's target.

    An absolute target leads out: in the image it is another place than here.
    """
    at = path.split("/")[:-1]
    todo = links[path].split("/")[::-1]
    if links[path].startswith("/"):
        return True
    followed = 1
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not at:
                return True
            at.pop()
            continue
        at.append(part)
        target = links.get("/".join(at))
        if target is not None:
            followed += 1
            if target.startswith("/"):
                return True
            if followed > _LIMIT:
                return False
            at.pop()
            todo.extend(target.split("/")[::-1])
    return False


def never_enters(name: str, path: str) -> bool:
    """Return True if a file or folder of this name, at this path in the app, is never shipped."""
    lower = name.lower()
    if lower in _NEVER or lower.endswith((".pyc", ".pyo")) or path == "deploy.toml":
        return True
    if lower.startswith(".deploy-") and lower.endswith((".part", ".part.lock")):
        return True  # a temporary file of `deploy lock`
    return lower.startswith(".env.") and not lower.endswith(_ENV_TEMPLATES)


class OutsideError(OSError):
    """A path of the app leads to `filename`, which is not a file of the app."""

    def __init__(self, target: str) -> None:
        super().__init__(errno.ELOOP, "it leads out of the app's folder", target)


def find_inside(folder: Path | str, name: str) -> str:
    """Return the real path of `name` in an app's folder; it need not exist.

    A link may lead to another place in the folder, or in the git work tree around it, but not to a private file. In the
    folder those are files that never enter an image; in the rest of the work tree they are hidden files and folders.
    A link to a file of the same name is allowed: ``.env -> ../.env``. Raises OutsideError.
    """
    root = os.path.realpath(folder)
    written = os.path.normpath(os.path.join(root, name))
    real = os.path.realpath(written)
    below = _below(real, root)
    is_private = never_enters
    if below is None:
        checkout = own_checkout(root)
        below = _below(real, checkout) if checkout is not None else None
        is_private = _is_hidden
    if below is None:
        raise OutsideError(real)
    parts = below.split("/")
    if real != written or is_private is _is_hidden:
        if parts[-1] == os.path.basename(written) and _below(written, root) is not None and not os.path.isdir(real):
            parts.pop()
        if any(is_private(part, "") for part in parts):
            raise OutsideError(real)
    if ".git" in below.lower().split("/"):
        raise OutsideError(real)
    return real


def find_named(folder: Path | str, path: Path | str) -> str | None:
    """Return the real path of a file that the user named; None if it is not in the app's folder or its work tree.

    Raises OutsideError if a link in there leads out, as `find_inside` does.
    """
    root = os.path.realpath(folder)
    at = os.path.abspath(path)
    for own in filter(None, (root, own_checkout(root))):
        above = at
        while (parent := os.path.dirname(above)) != above:
            above = parent
            if _is_same(above, own):
                written = os.path.join(own, os.path.relpath(at, above))
                real = os.path.realpath(written)
                return real if real == written else find_inside(root, os.path.relpath(written, root))
    return None


def _is_same(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        return False


def _below(path: str, folder: str) -> str | None:
    """Return `path` relative to `folder`; None if it is not below it."""
    if path == folder:
        return ""
    prefix = folder.rstrip("/") + "/"
    return path.removeprefix(prefix) if path.startswith(prefix) else None


def _is_hidden(name: str, path: str) -> bool:  # noqa: ARG001  as `never_enters`
    return name.startswith(".")
