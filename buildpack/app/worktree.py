"""Ask git what it ignores and tracks, and when the commit was made: its rules come from five places.

Only git knows them all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from buildpack.app.git import Question, ask, without_filters
from buildpack.dataclass import dataclass
from buildpack.errors import app as errors

_IGNORED = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
_SCP = re.compile(r"(?:[\w.-]+@)?([\w.-]+):([\w.~-][\w./~-]*)")
"""``git@github.com:owner/name``, as gitfetch(1) has it."""
_COMMITTED = re.compile(rb"^committer [^\n]*> (\d{1,12}) [+-]\d{4}$", re.MULTILINE)


def ask_ignored(git: str, folder: Path, environ: Mapping[str, str]) -> Question:
    """Start asking what git ignores below `folder`; `read_ignored` reads the answer."""
    return ask(git, folder, _IGNORED, environ)


def read_ignored(question: Question, git: str, folder: Path, environ: Mapping[str, str]) -> frozenset[str]:
    """Read what git ignores: files and topmost folders, relative to `folder`, without a closing slash.

    Raises AppError if git cannot answer.
    """
    code, printed = question.answer()
    if code < 0:
        raise errors.git_failed(str(folder), "it was ended, or said nothing for too long: is a pipe called .gitignore?")
    if code:
        told = ask(git, folder, _IGNORED, environ, complain=True).answer()[1].decode(errors="replace").strip()
        # Git 2.39 stops with this "internal error" in a folder that is ignored as a whole; newer ones print "./".
        if "not superset of prefix" in told or "not a git repository (or any" in told:
            return frozenset()
        raise errors.git_failed(str(folder), told.splitlines()[-1] if told else f"exit code {code}")
    paths = frozenset(os.fsdecode(path).rstrip("/") for path in printed.split(b"\0") if path)
    # An app in a folder that is ignored as a whole is none of git's business.
    return frozenset() if "." in paths else paths


def is_tracked(git: str, folder: Path, path: str, environ: Mapping[str, str]) -> bool:
    """Return True if git tracks anything at or below `path`."""
    code, printed = ask(git, folder, ["ls-files", "-z", "--", f":(literal){path}"], environ).answer()
    return code == 0 and bool(printed)


def select_matched(git: str, folder: Path, paths: Sequence[str], environ: Mapping[str, str]) -> frozenset[str]:
    """Select the paths below `folder` that a pattern matches, they or a folder above them.

    `ask_ignored` names as well a folder which merely happens to hold nothing but ignored files.
    """
    _, printed = ask(git, folder, ["check-ignore", "--", *paths], environ).answer()
    return frozenset(paths) & frozenset(os.fsdecode(path) for path in printed.split(b"\n"))


def list_uncommitted(git: str, folder: Path, environ: Mapping[str, str]) -> frozenset[str]:
    """List the files below `folder` that differ from the last commit, relative to it and not ignored."""
    found: set[str] = set()
    safe = without_filters(git, folder, environ)
    # A submodule has a configuration of its own, with filters of its own.
    shown = ["--name-only", "-z", "--relative", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all"]
    for arguments in (
        ["diff", *shown, "HEAD", "--", "."],
        ["ls-files", "-z", "--others", "--exclude-standard"],
    ):
        code, printed = ask(git, folder, arguments, environ, config=safe).answer()
        if code == 0:
            found.update(os.fsdecode(path) for path in printed.split(b"\0") if path)
    return frozenset(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """The checked-out commit: its hash, its time in seconds since 1970, and the address of ``origin``, "" if unknown.

    The address has no login.
    """

    revision: str
    time: int
    source: str


def read_commit(git: str, folder: Path, environ: Mapping[str, str]) -> Commit | None:
    """Return the checked-out commit; None if there is none.

    `cat-file` and not `log`: it prints the bytes of the commit, and obeys no setting of how commits are shown.
    """
    code, printed = ask(git, folder, ["cat-file", "commit", "HEAD"], environ).answer()
    found = _COMMITTED.search(printed.partition(b"\n\n")[0])
    _, revision = ask(git, folder, ["rev-parse", "HEAD"], environ).answer()
    _, remote = ask(git, folder, ["config", "remote.origin.url"], environ).answer()
    if code or not found:
        return None
    return Commit(revision=revision.decode().strip(), time=int(found[1]), source=public_address(os.fsdecode(remote)))


def public_address(remote: str) -> str:
    """Return a remote's address without login, query and fragment.

    It is "" for a path on this machine, and for an address in which a login may end elsewhere: passwords with `/`, `#`
    or `?` are written into addresses, and tokens as parameters of the path (RFC 3986, 3.3).
    """
    from urllib.parse import unquote, urlsplit

    remote = remote.strip()
    found = _SCP.fullmatch(remote)
    if found:
        return f"ssh://{found[1]}/{found[2]}"
    try:
        parts = urlsplit(remote)
        _ = parts.port  # raises ValueError for what is not a number
    except ValueError:
        return ""
    rest = unquote(parts.path + parts.query + parts.fragment)
    if parts.scheme not in {"https", "http", "ssh", "git"} or not parts.hostname or not remote.isprintable():
        return ""
    if "@" in rest or set(unquote(parts.path)) & set(":;"):
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
