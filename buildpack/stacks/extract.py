"""Takes the interpreter, its library and the shared libraries out of a base's layers, without root.

Layers are applied as the OCI image specification says (layer.md, "Applying Changesets"), but to a tree in memory. Until
all of them are applied the disk has only numbered files, so no link in a layer can redirect a write. At the end the
files move to their places, and the links are made: relative ones, and only to targets inside.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from buildpack.dataclass import dataclass, field
from buildpack.errors import stacks as errors
from buildpack.errors.transfer import ArchiveDamaged
from buildpack.oci.compression import gunzip
from buildpack.oci.image import LAYER_TAR
from buildpack.oci.tar_reader import Member, read_members

_MOST_BYTES = 4 << 30
_PIECE = 1 << 20
_MOST_LINKS = 40
_SHARED_LIBRARY = re.compile(r".+\.so(?:\.[\w.]+)?")
_PYTHON = re.compile(r"(?:.+/)?bin/python[\d.]*")
_LIBRARY = re.compile(r"(?:.+/)?lib(?:64)?/python3\.\d+/.+")
_NOT_LIBRARY = re.compile(
    r"/(?:site-packages|dist-packages|__pycache__|tests?|idlelib|tkinter|ensurepip|config-[^/]+|gconv|perl)/"
)
_ETC = re.compile(r"etc/(?:passwd|group|ld\.so\.conf|ld\.so\.conf\.d/[^/]+\.conf)")


def wanted(path: str) -> bool:
    """Return True for a file that the stack's facts or its interpreter need."""
    if _NOT_LIBRARY.search(path):
        return False
    found = (_SHARED_LIBRARY, _PYTHON, _LIBRARY, _ETC)
    return any(pattern.fullmatch(path) for pattern in found)


@dataclass(slots=True)
class _Node:
    """A file (its number in the scratch folder), a link (its target) or a folder (children), from the layer `layer`."""

    layer: int
    number: int | None = None
    target: str | None = None
    executable: bool = False
    children: dict[str, _Node] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        return self.number is None and self.target is None

    def holds_something(self) -> bool:
        """Return True if a file or link is at or below this node: a base has many empty folders, which take time."""
        return not self.is_folder or any(child.holds_something() for child in self.children.values())


class Tree:
    """The wanted part of the file system that layers make; its files are in `scratch` until `settle`."""

    def __init__(self, scratch: Path, stack: str) -> None:
        self.root = _Node(layer=0)
        self.scratch = scratch
        self.stack = stack
        self.layer = 0
        self._numbers = 0
        self._bytes = 0

    def locate(self, path: str, *, follow: bool = True) -> tuple[list[str], _Node | None]:
        """Resolve a path with its ``..`` and links as a process in the image does; it never leaves the root."""
        waiting = [part for part in reversed(path.split("/")) if part]
        here: list[str] = []
        nodes = [self.root]
        hops = 0
        while waiting:
            part = waiting.pop()
            if part == ".":
                continue
            if part == "..":
                if here:
                    here.pop()
                    nodes.pop()
                continue
            node = nodes[-1].children.get(part)
            if node is not None and node.target is not None and (waiting or follow):
                hops += 1
                if hops > _MOST_LINKS:
                    return here, None
                if node.target.startswith("/"):
                    here, nodes = [], [self.root]
                waiting.extend(piece for piece in reversed(node.target.split("/")) if piece)
                continue
            here.append(part)
            if node is None:
                return [*here, *reversed(waiting)], None
            nodes.append(node)
        return here, nodes[-1]

    def folder(self, path: str) -> _Node:
        """Return the folder at this path; make it if it is missing, and replace a file in its place."""
        parts, node = self.locate(path)
        if node is not None and node.is_folder:
            return node
        node = self.root
        for part in parts:
            if part in ("", ".", ".."):
                raise errors.hostile_base(self.stack, f"{path} leads nowhere")
            child = node.children.get(part)
            if child is None or not child.is_folder:
                child = node.children[part] = _Node(layer=self.layer)
            node = child
        return node

    def add(self, member: Member, content: Iterable[bytes]) -> None:
        """Apply one entry of the current layer; raises StackError for a name that no layer may hold."""
        path = self._checked(f"/{member.path}" if member.absolute else member.path)
        parent, _, name = path.rpartition("/")
        if not name:
            return
        if name.startswith(".wh."):
            self._white_out(parent, name)
        elif member.kind == "directory":
            folder = self.folder(parent)
            if name not in folder.children or not folder.children[name].is_folder:
                folder.children[name] = _Node(layer=self.layer)
            folder.children[name].layer = self.layer
        elif member.kind == "symlink":
            self.folder(parent).children[name] = _Node(layer=self.layer, target=member.target)
        elif member.kind == "hardlink":
            _, source = self.locate(self._checked(member.target), follow=False)
            self.folder(parent).children.pop(name, None)
            if source is not None and source.number is not None and wanted(path):
                self.folder(parent).children[name] = _Node(self.layer, source.number, executable=source.executable)
        elif member.kind == "file" and wanted(path):
            self.folder(parent).children[name] = self._file(member, content)
        else:
            self.folder(parent).children.pop(name, None)

    def _checked(self, name: str) -> str:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts:
            raise errors.hostile_base(self.stack, f"a layer holds the name {name!r}, which leads out of the image")
        return "/".join(parts)

    def _white_out(self, parent: str, name: str) -> None:
        """Hide files of lower layers; this layer's own files stay, even if they came earlier."""
        _, folder = self.locate(parent)
        if folder is None:
            return
        names = list(folder.children) if name == ".wh..wh..opq" else [name.removeprefix(".wh.")]
        for each in names:
            node = folder.children.get(each)
            if node is not None and not self._hide(node):
                del folder.children[each]

    def _hide(self, node: _Node) -> bool:
        """Drop files of lower layers at and below this node; return True if anything is left."""
        for name, child in list(node.children.items()):
            if not self._hide(child):
                del node.children[name]
        return node.layer == self.layer or bool(node.children)

    def _file(self, member: Member, content: Iterable[bytes]) -> _Node:
        self._bytes += member.size
        if self._bytes > _MOST_BYTES:
            raise errors.hostile_base(self.stack, f"it unpacks to more than {_MOST_BYTES >> 30} GiB")
        self._numbers += 1
        with (self.scratch / str(self._numbers)).open("wb") as out:
            out.writelines(content)
        return _Node(self.layer, self._numbers, executable=bool(member.mode & 0o111))

    def settle(self, folder: Path) -> None:
        """Move everything to its place below `folder`."""
        settled: dict[int, Path] = {}
        self._settle(self.root, folder, [], settled)

    def _settle(self, node: _Node, folder: Path, parts: list[str], settled: dict[int, Path]) -> None:
        folder.mkdir()
        folder.chmod(0o755)
        for name, child in sorted(node.children.items()):
            place = folder / name
            if child.is_folder:
                if not child.holds_something():
                    continue
                self._settle(child, place, [*parts, name], settled)
            elif child.target is not None:
                found, aim = self.locate("/".join([*parts, name]))
                if aim is not None:
                    place.symlink_to(os.path.relpath("/" + "/".join(found), "/" + "/".join(parts)))
            elif child.number in settled:
                place.hardlink_to(settled[child.number])
            else:
                assert child.number is not None
                (self.scratch / str(child.number)).rename(place)
                place.chmod(0o755 if child.executable else 0o644)
                settled[child.number] = place


def apply_layer(tree: Tree, blob: BinaryIO, media_type: str) -> None:
    """Apply one layer to the tree; the whole blob is read, so that its digest is verified."""
    if media_type.endswith("zstd"):
        raise errors.compressed_with_zstd(tree.stack)
    tree.layer += 1
    pieces = iter(partial(blob.read, _PIECE), b"") if media_type == LAYER_TAR else gunzip(blob)
    try:
        for member, content in read_members(pieces, origin=f"layer {tree.layer} of {tree.stack}"):
            tree.add(member, content)
        for _ in pieces:
            pass
    except (ArchiveDamaged, zlib.error, EOFError) as error:
        reason = error.why[:1].lower() + error.why[1:].rstrip(".") if isinstance(error, ArchiveDamaged) else error
        raise errors.hostile_base(tree.stack, f"layer {tree.layer} is not a readable archive: {reason}") from error
    while blob.read(_PIECE):
        pass


def hash_tree(root: Path) -> str:
    """Return a SHA-256 of each file, link and folder below `root`: paths, x bits, contents, targets.

    Empty if anything cannot be read or is of another kind. It shows that an unpacked base was changed or damaged before
    its interpreter starts, and takes two milliseconds per megabyte.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(_list(root)):
            status = path.lstat()
            digest.update(b"%b\0%o\0" % (os.fsencode(path.relative_to(root)), status.st_mode & 0o170111))
            if stat.S_ISLNK(status.st_mode):
                digest.update(os.fsencode(path.readlink()) + b"\0")
            elif stat.S_ISREG(status.st_mode):
                with path.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
            elif not stat.S_ISDIR(status.st_mode):
                return ""
    except OSError:
        return ""
    return digest.hexdigest()


def _list(root: Path) -> list[Path]:
    found: list[Path] = []
    waiting = [root]
    while waiting:
        inside = list(waiting.pop().iterdir())
        found += inside
        waiting += [path for path in inside if path.is_dir() and not path.is_symlink()]
    return found
