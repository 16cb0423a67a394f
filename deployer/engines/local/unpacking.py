"""Lay out the app's layer of an image on this machine's disk; the layer may be another machine's, from a registry."""

from __future__ import annotations

import errno
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from buildpack.oci.tar_reader import read_members
from buildpack.plan import APP_ROOT
from buildpack.system.temporary import make_folder
from deployer.errors import ci as errors

_ORIGIN = "the app's layer"
_LEAST_LIMIT = 4 << 30
_MOST_RATIO = 20
"""Code and text shrink to a tenth; a layer that shrinks far more is made of zeros, to fill a disk."""
_CONTRADICTIONS = {
    errno.EEXIST: "twice",
    errno.EISDIR: "as a folder and as a file",
    errno.ENOTDIR: "below a file",
    errno.ENAMETOOLONG: "with a name longer than a file's may be",
}


def limit_of(size: int) -> int:
    """Return how many bytes a layer of this size may unpack to."""
    return max(_LEAST_LIMIT, _MOST_RATIO * size)


def unpack_app(pieces: Iterator[bytes], root: Path, *, limit: int) -> None:
    """Lay out the files below ``app``, and nothing else; `pieces` are of the layer's tar.

    Links come last and lead nowhere while anything is written. Raises StackError for
    entries that our layers never have: names that lead out, devices, hard links, names twice, more than `limit` bytes.
    """
    links: list[tuple[Path, str]] = []
    left = limit
    try:
        for member, content in read_members(pieces, origin=_ORIGIN):
            path = _place(member.path, root)
            if path is None:
                continue
            if member.absolute:
                raise errors.layer_unfit(f"it holds the name {'/' + member.path!r}")
            if member.kind == "directory":
                _make(path)
            elif member.kind == "symlink":
                links.append((path, member.target))
            elif member.kind == "file":
                left -= member.size
                if left < 0:
                    raise errors.layer_unfit(f"it unpacks to more than {limit} bytes")
                _write(path, content, executable=bool(member.mode & 0o100), root=root)
            else:
                raise errors.layer_unfit(f"{member.path!r} is neither a file nor a folder nor a symbolic link")
        for _ in pieces:
            pass  # the last checksums come after the last file
    except (zlib.error, EOFError) as error:
        raise errors.layer_unfit(f"it cannot be decompressed: {error}") from error
    _make(root / APP_ROOT)
    for path, target in links:
        _link(path, target, root)


def _place(name: str, root: Path) -> Path | None:
    """Return the path of an entry on disk; None if it is not below ``app``."""
    parts = name.split("/")
    if parts[0] != APP_ROOT:
        return None
    if ".." in parts or "\0" in name:
        raise errors.layer_unfit(f"it holds the name {name!r}")
    return root.joinpath(*parts)


def _make(folder: Path) -> None:
    try:
        make_folder(folder)
    except OSError as error:
        raise _contradiction(folder, error) from error


def _write(path: Path, content: Iterable[bytes], *, executable: bool, root: Path) -> None:
    if path == root / APP_ROOT:
        raise errors.layer_unfit("its app is not a folder")
    _make(path.parent)
    try:
        with path.open("xb") as out:
            out.writelines(content)
    except OSError as error:
        raise _contradiction(path, error) from error
    path.chmod(0o755 if executable else 0o644)


def _link(path: Path, target: str, root: Path) -> None:
    inside = path.relative_to(root)
    if path.is_dir() and not path.is_symlink():
        raise errors.layer_unfit(f"it holds {inside} as a link and as a folder")
    if any((root / parent).is_symlink() for parent in inside.parents):
        raise errors.layer_unfit(f"it holds {inside} below a link")
    if not target or "\0" in target:
        raise errors.layer_unfit(f"the link {inside} leads to {target!r}")
    _make(path.parent)
    try:
        path.symlink_to(target)
    except OSError as error:
        raise _contradiction(path, error) from error


def _contradiction(path: Path, error: OSError) -> Exception:
    """Turn errors of paths in a layer that exclude each other into StackError; a full disk stays what it is."""
    how = _CONTRADICTIONS.get(error.errno or 0)
    return errors.layer_unfit(f"it holds {path.name[:80]!r} {how}") if how else error


def lay_over(source: Path, path: str, root: Path) -> None:
    """Copy a file or link to `path` below `root`, in the place of what is there; never through a link."""
    inside = PurePosixPath(path)
    for parent in [*reversed(inside.parents)][1:]:
        if (root / parent).is_symlink() or (root / parent).is_file():
            (root / parent).unlink()
    place = root / inside
    make_folder(place.parent)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    shutil.copy2(source, place, follow_symlinks=False)
