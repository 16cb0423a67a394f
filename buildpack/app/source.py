"""List the app's files: those in the folder, without those that never enter an image."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from buildpack.app import worktree
from buildpack.app.file_stamps import Stamp, stamp, stamp_of
from buildpack.app.git import Question, find_checkout, find_git, git_for
from buildpack.app.git_inputs import git_inputs
from buildpack.app.links import leads_out, never_enters
from buildpack.app.textfile import decode, open_inside, read_bytes
from buildpack.dataclass import dataclass, field
from buildpack.errors import BuildpackError, together
from buildpack.errors import app as errors

if TYPE_CHECKING:
    from buildpack.app.ignore import Patterns

IGNORE_FILES = (".dockerignore", ".slugignore")
LARGEST_MODULE = 256 * 1024
"""Bytes. A larger module is generated, and would take a second to parse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A file or symbolic link of the app.

    `path` is relative to the app's folder, with ``/``; `size` is in bytes; `target` is the unchanged one of a link.
    """

    path: str
    kind: Literal["file", "symlink"]
    executable: bool = False
    size: int = 0
    target: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceTree:
    """The app's files, sorted by path. Folders exist only around files, as in git.

    `stamps`: file stamps taken before reading. None if some input cannot be watched.
    `passed_over` are folders that were not entered because git ignores all files in them today.
    """

    folder: Path
    files: tuple[SourceFile, ...]
    warnings: tuple[str, ...] = ()
    stamps: Mapping[str, Stamp | None] | None = field(default=None, compare=False, repr=False)
    passed_over: tuple[str, ...] = ()

    def read(self, path: str, most: int) -> bytes | None:
        """Read the first `most` bytes of a file; None if it cannot be read, or leads out of the app's folder."""
        try:
            with open_inside(self.folder, path) as file:
                return file.read(most)
        except OSError:
            return None


def read_source(folder: Path, *, environ: Mapping[str, str], ignore_files: Sequence[str] = IGNORE_FILES) -> SourceTree:
    """List the app's files.

    It leaves out version control, virtual environments, byte code and caches, ``.env`` and similar files,
    ``deploy.toml``, files that git ignores, and files that ``.dockerignore`` and ``.slugignore`` name. A ``!`` in these
    brings back a file that git ignores only if it names it: ``!static/dist``, not ``!*``.

    Raises everything that is wrong at once: links that lead out of the folder, names that are not UTF-8, unreadable
    files, virtual environments that git tracks or a ``!`` names.
    """
    tree, problems = look_at_source(folder, environ=environ, ignore_files=ignore_files)
    if problems:
        raise together(problems)
    return tree


def look_at_source(
    folder: Path, *, environ: Mapping[str, str], ignore_files: Sequence[str] = IGNORE_FILES
) -> tuple[SourceTree, Sequence[BuildpackError]]:
    """List the files as `read_source` does; returns the problems too.

    Raises AppError or MachineError if an ignore file or the folder itself cannot be read.
    """
    walk = _Walk(folder=folder, environ=environ, patterns=_read_patterns(folder, ignore_files))
    walk.run()
    files = sorted(walk.files, key=lambda file: file.path)
    links = {file.path: file.target for file in files if file.kind == "symlink"}
    escaping = [(path, target) for path, target in links.items() if leads_out(path, links)]
    problems = walk.problems + ([errors.escaping_links(escaping)] if escaping else [])
    tree = SourceTree(
        folder=folder,
        files=tuple(files),
        warnings=tuple(walk.warnings),
        stamps=walk.stamps if walk.watched else None,
        passed_over=tuple(walk.passed_over),
    )
    return tree, problems


def _read_patterns(folder: Path, names: Sequence[str]) -> list[Patterns]:
    found = [(name, raw) for name in names if (raw := read_bytes(folder, name)) is not None]
    if not found:
        return []
    from buildpack.app.ignore import parse_ignore

    return [parse_ignore(decode(raw, name), name) for name, raw in found]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Folder:
    """A folder to list: its path with a closing slash, and the results for the folders above."""

    path: str
    matches: list[list[bool] | None]
    ignored_root: str = ""
    """The folder, this one or above, that git ignores: only files that a ``!`` names are taken from it."""


@dataclass(kw_only=True, slots=True)
class _Walk:
    folder: Path
    environ: Mapping[str, str]
    patterns: list[Patterns]
    files: list[SourceFile] = field(default_factory=list)
    problems: list[BuildpackError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    git: str | None = None
    ignored: frozenset[str] = frozenset()
    stamps: dict[str, Stamp | None] = field(default_factory=dict)
    watched: bool = True
    passed_over: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Walk the whole tree, folder by folder; not recursive, since folders nest deeper than Python's stack."""
        top = _Folder(path="", matches=[None] * len(self.patterns))
        inputs = git_inputs(self.folder, self.environ)
        self.watched = inputs is not None
        self.stamps.update((path, stamp(path)) for path in inputs or ())
        if find_checkout(str(self.folder)) is None:
            todo = self._list(top)
        else:
            self.git = git_for(str(self.folder), self.environ)
            # Git needs a few milliseconds, in which the top folder is listed.
            question = worktree.ask_ignored(self.git, self.folder, self.environ) if self.git else None
            entries = self._scan(top)
            self._learn(question, "")
            todo = self._sift(top, entries)
        while todo:
            todo.extend(self._list(todo.pop()))

    def _learn(self, question: Question | None, prefix: str) -> None:
        where = self.folder / prefix if prefix else self.folder
        git = git_for(str(where), self.environ)
        if git and question:
            found = worktree.read_ignored(question, git, where, self.environ)
            self.ignored |= {prefix + path for path in found} if prefix else found
        elif find_git(self.environ):
            self.watched = False
            self.warnings.append(errors.git_not_asked(find_checkout(str(where)) or str(where)))
        else:
            self.warnings.append(errors.git_not_installed())

    def _list(self, folder: _Folder) -> list[_Folder]:
        entries = self._scan(folder)
        if folder.path and any(entry.name == ".git" for entry in entries) and self.git:
            self.watched = False
            # A repository in the work tree (a submodule): git ignores nothing in it on behalf of the outer one.
            where = self.folder / folder.path
            git = git_for(str(where), self.environ)
            self._learn(worktree.ask_ignored(git, where, self.environ) if git else None, folder.path)
        return self._sift(folder, entries)

    def _scan(self, folder: _Folder) -> list[os.DirEntry[str]]:
        place = f"{self.folder}/{folder.path}"
        self.stamps[place] = stamp(place)
        try:
            with os.scandir(place) as entries:
                found = list(entries)
        except OSError as error:
            name = folder.path.rstrip("/") or str(self.folder)
            self.problems.append(errors.unreadable(name, error.strerror or str(error)))
            return []
        if any(entry.name == "pyvenv.cfg" for entry in found):
            self._check_venv(folder)
            return []
        return found

    def _check_venv(self, folder: _Folder) -> None:
        path = folder.path.rstrip("/")
        if not path:
            self.problems.append(errors.folder_is_venv(self.folder.name))
            return
        for patterns in self.patterns:
            for pattern in patterns.patterns:
                if pattern.brings_back and (pattern.match(path) or pattern.is_inside(path)):
                    self.problems.append(errors.wanted_venv(path, patterns.name, pattern.line, pattern.text))
                    return
        if self.git and not folder.ignored_root and worktree.is_tracked(self.git, self.folder, path, self.environ):
            self.problems.append(errors.tracked_venv(path))

    def _sift(self, folder: _Folder, entries: Iterable[os.DirEntry[str]]) -> list[_Folder]:
        below = []
        for entry in entries:
            path = folder.path + entry.name
            if entry.name == ".gitignore":
                self.stamps[entry.path] = stamp(entry.path)
            if never_enters(entry.name, path):
                continue
            root = folder.ignored_root or (path if path in self.ignored else "")
            is_folder = entry.is_dir(follow_symlinks=False)
            if root and not self._named(path, root, is_folder=is_folder):
                if is_folder:
                    self.passed_over.append(path)
                continue
            ignored, matches = self._verdict(path, folder)
            if is_folder:
                if not ignored or any(one.may_bring_back(path) for one in self.patterns):
                    below.append(_Folder(path=path + "/", matches=matches, ignored_root=root))
            elif not ignored:
                self._take(entry, path)
        return below

    def _verdict(self, path: str, folder: _Folder) -> tuple[bool, list[list[bool] | None]]:
        if not self.patterns:
            return False, folder.matches
        found = [one.verdict(path, above) for one, above in zip(self.patterns, folder.matches, strict=True)]
        return any(ignored for ignored, _ in found), [matches for _, matches in found]

    def _named(self, path: str, root: str, *, is_folder: bool) -> bool:
        return any(
            pattern.names(path) or (is_folder and pattern.may_match_below(path))
            for one in self.patterns
            for pattern in one.patterns
            if pattern.brings_back and pattern.is_inside(root)
        )

    def _take(self, entry: os.DirEntry[str], path: str) -> None:
        if not _is_utf8(path):
            self.problems.append(errors.undecodable_name(path))
            return
        if "/.wh." in f"/{path}":
            self.problems.append(errors.whiteout_name(path))
            return
        try:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                self.stamps[entry.path] = stamp(entry.path)
                inside = f"{entry.path}/pyvenv.cfg"
                if os.path.exists(inside):
                    self.stamps[inside] = stamp(inside)  # an environment elsewhere, linked to
                    return
                target = os.readlink(entry.path)  # noqa: PTH115
                if not _is_utf8(target):
                    self.problems.append(errors.undecodable_name(path, target=target))
                    return
                self.files.append(SourceFile(path=path, kind="symlink", target=target))
            elif not stat.S_ISREG(status.st_mode):
                self.warnings.append(errors.neither_file_nor_link(path))
            elif not os.access(entry.path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
                self.problems.append(errors.unreadable(path, "Permission denied"))
            else:
                # The owner's bit, as git takes it: the others depend on the umask.
                executable = bool(status.st_mode & stat.S_IXUSR)
                self.stamps[entry.path] = stamp_of(status)
                self.files.append(SourceFile(path=path, kind="file", executable=executable, size=status.st_size))
        except OSError as error:
            self.problems.append(errors.unreadable(path, error.strerror or str(error)))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
