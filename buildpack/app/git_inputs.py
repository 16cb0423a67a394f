"""List the files whose stamps show, without a call of git, that git still ignores the same files.

Git's rules come from five places (gitignore(5)), and its index names files that it tracks in spite of them. If the
files are not certain, the answer is None, and the caller asks git again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from buildpack.app.file_stamps import Stamp, stamp
from buildpack.app.git import find_git, git_for
from buildpack.app.textfile import LIMIT
from buildpack.app.worktree import select_matched
from buildpack.bounded import open_regular

# pathlib is ten times slower in this hot path.
# ruff: noqa: PTH118, PTH120

_MOST_FOLDERS = 500
_EXCLUDES_FILE = re.compile(r'(?:\[core\])?\s*excludesfile\s*=\s*"?(~?/[\w./-]+)"?\s*', re.IGNORECASE)


def git_inputs(folder: Path, environ: Mapping[str, str]) -> list[str] | None:
    """List the files that decide what git ignores in `folder`, git itself among them, but not those in folders below.

    Some do not exist yet, and count as soon as they do. None if other files may decide too: if the configuration
    includes others, if a work tree has its repository elsewhere, or if a folder only looks like a repository.
    """
    at = os.path.realpath(folder)
    above, ignoring = [], []
    while not os.path.lexists(repository := os.path.join(at, ".git")):
        above.append(repository)
        ignoring.append(os.path.join(at, ".gitignore"))
        if at == os.path.dirname(at):
            return above
        at = os.path.dirname(at)
    if not _is_plain(repository):
        return None
    configs = [os.path.join(repository, "config"), *_shared_configs(environ)]
    excludes = [os.path.join(at, ".gitignore"), os.path.join(repository, "info/exclude"), f"{_folder(environ)}/ignore"]
    for path in configs:
        named = _read_config(path, environ)
        if named is None:
            return None
        excludes += named
    state = [os.path.join(repository, name) for name in ("HEAD", "index")]
    programs = [os.path.join(place, "git") for place in environ.get("PATH", os.defpath).split(os.pathsep) if place]
    return [*above, *ignoring, *configs, *excludes, *state, *programs]


def _is_plain(repository: str) -> bool:
    """Return True if git reads this as a repository that has all its parts in it."""
    if os.path.exists(os.path.join(repository, "commondir")):
        return False
    return os.path.isfile(os.path.join(repository, "HEAD")) and all(
        os.path.isdir(os.path.join(repository, name)) for name in ("objects", "refs")
    )


def _shared_configs(environ: Mapping[str, str]) -> Iterator[str]:
    yield from (environ[name] for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM") if environ.get(name))
    yield f"{environ.get('HOME', '')}/.gitconfig"
    yield f"{_folder(environ)}/config"
    yield "/etc/gitconfig"
    if git := find_git(environ):
        # A git that the distribution did not install has the system's settings here.
        yield f"{os.path.dirname(os.path.dirname(os.path.realpath(git)))}/etc/gitconfig"


def _folder(environ: Mapping[str, str]) -> str:
    """Return the folder of the user's configuration of git."""
    return f"{environ.get('XDG_CONFIG_HOME') or environ.get('HOME', '') + '/.config'}/git"


def _read_config(path: str, environ: Mapping[str, str]) -> list[str] | None:
    """Return the files of ignore patterns that a git configuration names; None if only git can read it."""
    try:
        with open_regular(path) as file:
            text = file.read(LIMIT).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    except OSError:  # not a regular file, which only git can judge
        return None
    lower = text.lower()
    if "[include" in lower or "worktree" in lower:
        return None
    found = []
    for line in text.splitlines():
        if "excludesfile" in line.lower():
            named = _EXCLUDES_FILE.fullmatch(line)
            if named is None:
                return None
            found.append(re.sub("^~", lambda _: environ.get("HOME", ""), named[1]))
    return found


def watch_passed_over(folder: Path, paths: Sequence[str], environ: Mapping[str, str]) -> dict[str, Stamp | None] | None:
    """Return stamps that change when one of these ignored folders gets a file that git does not ignore.

    A folder that a pattern names needs none; another is ignored only because all files in it are. None if there is too
    much to watch.
    """
    if not paths:
        return {}
    git = git_for(str(folder), environ)
    if git is None or len(paths) > _MOST_FOLDERS:
        return None
    found: dict[str, Stamp | None] = {}
    waiting = [f"{folder}/{path}" for path in set(paths) - select_matched(git, folder, paths, environ)]
    while waiting:
        place = waiting.pop()
        found[place] = stamp(place)
        ignoring = f"{place}/.gitignore"
        found[ignoring] = stamp(ignoring)
        if len(found) > 2 * _MOST_FOLDERS:
            return None
        try:
            with os.scandir(place) as entries:
                inside = list(entries)
        except OSError:
            return None
        if not any(entry.name == "pyvenv.cfg" for entry in inside):  # no file of an environment enters, ignored or not
            waiting += [entry.path for entry in inside if entry.is_dir(follow_symlinks=False)]
    return found
