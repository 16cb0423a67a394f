"""Start git in folders that strangers may have filled; no other module starts it.

A repository's own configuration names programs: filters, hooks, a file system monitor, helpers of remotes, checkers of
signatures. Git runs them even for commands that only read. Every call here switches all of them off.

This does not use `subprocess`: its import takes three times as long as git's answer.
"""

from __future__ import annotations

import os
import select
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from buildpack.dataclass import dataclass

# pathlib is ten times slower in this hot path.
# ruff: noqa: PTH116, PTH118, PTH120

_PATIENCE = 120.0
"""Seconds that git may be silent. It would wait for ever for a ``.gitignore`` that is a pipe."""

_OFF = (
    ("core.fsmonitor", "false"),
    ("core.hooksPath", os.devnull),
    ("core.pager", "cat"),
    ("log.showSignature", "false"),
    ("gpg.program", "false"),
    # A folder of the app with HEAD, objects and refs is not a repository, even if its configuration says so.
    ("safe.bareRepository", "explicit"),
)
_KEPT = frozenset({"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"})
"""Variables that lead to the user's own configuration, which names ignore files and credential helpers."""
_KEPT_FOR_TRANSFERS = ("GIT_SSH", "GIT_SSL_", "GIT_PROXY_", "GIT_HTTP_", "GIT_ASKPASS")
_LONGEST_LINK = 4096


def find_git(environ: Mapping[str, str]) -> str | None:
    """Find git's executable on PATH."""
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, "git")
        if folder and os.access(path, os.X_OK):
            return path
    return None


def find_checkout(folder: str) -> str | None:
    """Return the closest folder, this one or one above it, that holds ``.git``: a folder, or a file in submodules."""
    at = os.path.realpath(folder)
    while not os.path.lexists(os.path.join(at, ".git")):
        above = os.path.dirname(at)
        if above == at:
            return None
        at = above
    return at


def own_checkout(folder: str) -> str | None:
    """Return the checkout around `folder` whose other files the app may use too; None if there is none.

    Any user can make ``.git`` in a folder like /tmp, so it must belong to the owner of its folder, this user or root.
    """
    checkout = find_checkout(folder)
    try:
        if checkout is None or not _is_ours(checkout, folder):
            return None
        owner = os.lstat(os.path.join(checkout, ".git")).st_uid
        return checkout if owner in {0, os.geteuid(), os.stat(checkout).st_uid} else None
    except (OSError, ValueError):
        return None


def git_for(folder: str, environ: Mapping[str, str]) -> str | None:
    """Return git's executable; None if it is missing, or if the checkout around `folder` is another user's."""
    checkout = find_checkout(folder)
    try:
        return find_git(environ) if checkout is None or _is_ours(checkout, folder) else None
    except (OSError, ValueError):
        return None


def _is_ours(checkout: str, folder: str) -> bool:
    """Return True if the checkout's owner is this user, root or the owner of `folder`, who supplies its content anyway.

    Git checks the same, except for the owner of `folder`: in a pipeline's container all files may be another user's.
    """
    repository = os.path.join(checkout, ".git")
    known = {0, os.geteuid(), os.stat(folder).st_uid}
    owners = {os.stat(checkout).st_uid, os.lstat(repository).st_uid}
    with suppress(FileNotFoundError):  # git reports a link to nothing
        owners.add(os.stat(repository).st_uid)
        if os.path.isfile(repository):
            owners.add(os.stat(os.path.join(checkout, _linked(repository))).st_uid)
    return owners <= known


def _linked(path: str) -> str:
    """Return the repository that the ``.git`` file of a submodule or a work tree names."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.fsdecode(os.read(descriptor, _LONGEST_LINK)).removeprefix("gitdir:").strip()
    finally:
        os.close(descriptor)


def call(
    git: str,
    folder: str,
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    protocols: str = "none",
    config: Mapping[str, str] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment of every call of git.

    `protocols` are those that git may transfer with, separated by colons. `config` goes into the environment, so it may
    hold a secret.
    """
    kept = _KEPT_FOR_TRANSFERS if protocols != "none" else ()
    # Hooks of git set GIT_DIR and similar variables, which would lead elsewhere.
    environment = {
        name: value
        for name, value in environ.items()
        if not name.startswith("GIT_") or name in _KEPT or name.startswith(kept)
    }
    environment |= {
        "GIT_ALLOW_PROTOCOL": protocols,
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        "GIT_CONFIG_COUNT": str(len(config or ())),
    }
    for number, (key, value) in enumerate((config or {}).items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    settings = list(_OFF)
    checkout = find_checkout(folder)
    with suppress(OSError, ValueError):
        if checkout is not None and _is_ours(checkout, folder):
            settings.append(("safe.directory", checkout))
    switches = [part for key, value in settings for part in ("-c", f"{key}={value}")]
    return [git, *switches, "-C", folder, "--no-pager", "--no-optional-locks", *arguments], environment


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A running git; ask for its answer exactly once."""

    pid: int
    output: int

    def answer(self, *, patience: float = _PATIENCE) -> tuple[int, bytes]:
        """Wait for git; returns its exit code and its output. Git ends by SIGKILL if it is silent for too long."""
        printed = bytearray()
        waiting = select.poll()
        waiting.register(self.output, select.POLLIN)
        try:
            while True:
                if not waiting.poll(patience * 1000):
                    import signal

                    os.kill(self.pid, signal.SIGKILL)
                    break
                piece = os.read(self.output, 1 << 16)
                if not piece:
                    break
                printed += piece
        finally:
            os.close(self.output)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status), bytes(printed)


def ask(
    git: str,
    folder: Path | str,
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    complain: bool = False,
    config: Mapping[str, str] | None = None,
) -> Question:
    """Start git without any connection; with `complain` its output includes its errors."""
    argv, environment = call(git, str(folder), arguments, environ, config=config)
    output, end = os.pipe()
    try:
        pid = os.posix_spawn(
            git,
            ["git", *argv[1:]],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, end, 1),
                (os.POSIX_SPAWN_DUP2, end, 2) if complain else (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
    finally:
        os.close(end)
    return Question(pid=pid, output=output)


def without_filters(git: str, folder: Path | str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return settings that switch off each filter of files in the configuration."""
    asked = ["config", "-z", "--name-only", "--get-regexp", r"^filter\..*\.(clean|smudge|process|required)$"]
    _, printed = ask(git, folder, asked, environ).answer()
    names = {os.fsdecode(key).rpartition(".")[0] for key in printed.split(b"\0") if key}
    return {
        f"{name}.{part}": value
        for name in sorted(names)
        for part, value in (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false"))
    }
