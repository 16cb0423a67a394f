"""Gathers the files of this machine for one layer of the host stack, and the paths that decide what they are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from buildpack.dataclass import dataclass, field
from buildpack.oci.entry import Entry, FileSlice, Inline, file, symlink
from buildpack.system.elf import relocate, strip

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def merged(path: str) -> str:
    """Return an absolute path's place in the image, in which ``/bin``, ``/sbin`` and ``/lib*`` link into ``/usr``."""
    parts = [part for part in path.split("/") if part]
    return "/".join(["usr", *parts] if parts[0] in _MERGED else parts)


def identify(entries: Iterable[Entry], *parts: str) -> str:
    """Return a hash of these entries and their contents, which takes much less time than writing a layer."""
    found = hashlib.sha256(repr(parts).encode())
    for entry in entries:
        content = hashlib.sha256()
        if isinstance(entry.content, Inline):
            content.update(entry.content.body)
        elif isinstance(entry.content, FileSlice):
            with entry.content.path.open("rb") as source:
                source.seek(entry.content.offset)
                content.update(source.read(entry.content.size))
        row = (entry.path, entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime, entry.target)
        found.update(repr((*row, content.hexdigest())).encode())
    return found.hexdigest()


@dataclass(slots=True)
class HostFiles:
    """The gathered entries by path, the first of each counts; `witnesses` are the files and folders they came from."""

    prefixes: tuple[str, ...] = ()
    """This machine's folders in programs that ``/usr/local`` replaces, the longest first."""
    entries: dict[str, Entry] = field(default_factory=dict)
    witnesses: set[str] = field(default_factory=set)
    programs: list[Path] = field(default_factory=list)
    """ELF files gathered so far, whose shared libraries the image needs too."""

    def put(self, entries: Iterable[Entry]) -> None:
        """Add entries that are not copies of files."""
        for entry in entries:
            self.entries.setdefault(entry.path, entry)

    def text(self, path: str) -> str:
        """Return the content of a file that `put` added."""
        content = self.entries[path].content
        assert isinstance(content, Inline)
        return content.body.decode()

    def sources(self) -> set[str]:
        """Return the files of this machine that the entries are copies of."""
        copied = (entry.content.path for entry in self.entries.values() if isinstance(entry.content, FileSlice))
        return {str(path) for path in (*copied, *self.programs)}

    def take_file(self, path: str, source: Path, *, executable: bool = False) -> None:
        """Add a copy of this file."""
        self.witnesses.add(str(source))
        content = FileSlice(path=source, size=source.stat().st_size)
        self.put([file(path, content, executable=executable)])

    def take_elf(self, path: str, source: Path, *, executable: bool = False) -> None:
        """Add a program or shared library, without debugging information and without the build's prefix."""
        body = source.read_bytes()
        self.witnesses.add(str(source))
        self.programs.append(source)
        lean = strip(body)
        for prefix in self.prefixes:
            lean = relocate(lean, prefix, "/usr/local")
        content = FileSlice(path=source, size=len(body)) if lean is body or lean == body else Inline(lean)
        self.put([file(path, content, executable=executable)])

    def take_program(self, found: str) -> None:
        """Add the program at this absolute path; if it is a link, the link as well."""
        real = os.path.realpath(found)
        self.witnesses.update((found, real))
        home = merged(real)
        if home not in self.entries:
            self.take_elf(home, Path(real), executable=True)
        if merged(found) != home:
            self.put([symlink(merged(found), "/" + home)])

    def take_tree(self, folder: Path, path: str, *, skip: frozenset[str] = frozenset()) -> None:
        """Add a folder's files, and the links that stay inside it; names in `skip` are left out at any depth."""
        self._walk(folder, path, os.path.realpath(folder), skip)

    def _walk(self, folder: Path, path: str, root: str, skip: frozenset[str]) -> None:
        self.witnesses.add(str(folder))
        with os.scandir(folder) as listing:
            found = sorted((entry for entry in listing if entry.name not in skip), key=lambda entry: entry.name)
        for entry in found:
            inside = f"{path}/{entry.name}"
            if entry.is_symlink():
                target = str(Path(entry.path).readlink())
                if os.path.realpath(entry.path).startswith(root + "/") and not target.startswith("/"):
                    self.put([symlink(inside, target)])
            elif entry.is_dir():
                self._walk(Path(entry.path), inside, root, skip)
            elif entry.is_file():
                content = FileSlice(path=Path(entry.path), size=entry.stat().st_size)
                self.put([file(inside, content)])
