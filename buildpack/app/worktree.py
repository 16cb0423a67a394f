"""What git ignores and tracks, asked of git itself: its rules come from five places, and only git knows them all.

`subprocess` is not used: importing it costs three times what git takes to answer, and nothing here needs it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from buildpack.dataclass import dataclass
from buildpack.errors import app as errors

__all__ = [
    "Question",
    "ask_ignored",
    "find_git",
    "in_work_tree",
    "is_tracked",
    "list_uncommitted",
    "read_ignored",
    "select_matched",
]


def in_work_tree(folder: str) -> bool:
    """Say whether `folder` or one above it holds ``.git`` (a folder, or a file in submodules and work trees)."""
    at = os.path.realpath(folder)
    while True:
        if os.path.lexists(os.path.join(at, ".git")):  # noqa: PTH118 - pathlib is ten times slower in this hot path
            return True
        above = os.path.dirname(at)  # noqa: PTH120
        if above == at:
            return False
        at = above


def find_git(environ: Mapping[str, str]) -> str | None:
    """Find git's executable on PATH."""
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, "git")  # noqa: PTH118
        if folder and os.access(path, os.X_OK):
            return path
    return None


_KEPT = frozenset({"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A running ``git ls-files``; ask for its answer exactly once."""

    pid: int
    output: int

    def answer(self) -> tuple[int, bytes]:
        """Wait for git; gives its exit code and what it printed."""
        with open(self.output, "rb") as output:  # noqa: PTH123 - a descriptor
            printed = output.read()
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status), printed


def _ask(
    git: str, folder: Path, arguments: Sequence[str], environ: Mapping[str, str], *, complain: bool = False
) -> Question:
    # GIT_DIR and its like are set in hooks and would point elsewhere. A checkout that belongs to another user is the
    # rule in pipelines; what git fears there is configuration that runs programs, and of that only fsmonitor applies.
    clean = {key: value for key, value in environ.items() if not key.startswith("GIT_") or key in _KEPT}
    safe = ["-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
    output, end = os.pipe()
    try:
        pid = os.posix_spawn(
            git,
            ["git", *safe, "-C", str(folder), "--no-optional-locks", *arguments],
            clean | {"LC_ALL": "C"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, end, 1),
                (os.POSIX_SPAWN_DUP2, end, 2) if complain else (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
    finally:
        os.close(end)
    return Question(pid=pid, output=output)


_IGNORED = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")


def ask_ignored(git: str, folder: Path, environ: Mapping[str, str]) -> Question:
    """Start asking what git ignores below `folder`; `read_ignored` reads the answer."""
    return _ask(git, folder, _IGNORED, environ)


def read_ignored(question: Question, git: str, folder: Path, environ: Mapping[str, str]) -> frozenset[str]:
    """Read what git ignores: files and topmost folders, relative to `folder`, without a closing slash.

    Raises AppError where git cannot tell.
    """
    code, printed = question.answer()
    if code:
        told = _ask(git, folder, _IGNORED, environ, complain=True).answer()[1].decode(errors="replace").strip()
        # Git 2.39 stops with this "internal error" in a folder that is ignored as a whole; newer ones print "./".
        if "not superset of prefix" in told or "not a git repository (or any" in told:
            return frozenset()
        raise errors.git_failed(str(folder), told.splitlines()[-1] if told else f"exit code {code}")
    paths = frozenset(os.fsdecode(path).rstrip("/") for path in printed.split(b"\0") if path)
    # An app in a folder that is ignored as a whole is none of git's business.
    return frozenset() if "." in paths else paths


def is_tracked(git: str, folder: Path, path: str, environ: Mapping[str, str]) -> bool:
    """Say whether git tracks anything at or below `path`."""
    code, printed = _ask(git, folder, ["ls-files", "-z", "--", f":(literal){path}"], environ).answer()
    return code == 0 and bool(printed)


def select_matched(git: str, folder: Path, paths: Sequence[str], environ: Mapping[str, str]) -> frozenset[str]:
    """Select the paths below `folder` that a pattern matches, they or a folder above them.

    `ask_ignored` names as well a folder which merely happens to hold nothing but ignored files.
    """
    _, printed = _ask(git, folder, ["check-ignore", "--", *paths], environ).answer()
    return frozenset(paths) & frozenset(os.fsdecode(path) for path in printed.split(b"\n"))


def list_uncommitted(git: str, folder: Path, environ: Mapping[str, str]) -> frozenset[str]:
    """List the files below `folder` that are not as the last commit has them, relative to it and not ignored."""
    found: set[str] = set()
    for arguments in (
        ["diff", "--name-only", "-z", "--relative", "HEAD", "--", "."],
        ["ls-files", "-z", "--others", "--exclude-standard"],
    ):
        code, printed = _ask(git, folder, arguments, environ).answer()
        if code == 0:
            found.update(os.fsdecode(path) for path in printed.split(b"\0") if path)
    return frozenset(found)
