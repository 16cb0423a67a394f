"""Ask git which files it ignores and tracks, and for the commit.

Only git knows all its rules: they come from five places.
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
    """Start git, which lists the ignored files below `folder`; `read_ignored` reads its answer."""
    return ask(git, folder, _IGNORED, environ)


def read_ignored(question: Question, git: str, folder: Path, environ: Mapping[str, str]) -> frozenset[str]:
    """Read the files and topmost folders that git ignores, relative to `folder`, without a closing slash.

    Raises AppError if git cannot answer.
    """
    code, printed = question.answer()
    if code < 0:
        raise errors.git_failed(str(folder), "it was ended, or printed nothing for too long: is .gitignore a pipe?")
    if code:
        said = ask(git, folder, _IGNORED, environ, complain=True).answer()[1].decode(errors="replace").strip()
        # Git 2.39 stops with this "internal error" in a folder that is ignored as a whole; newer ones print "./".
        if "not superset of prefix" in said or "not a git repository (or any" in said:
            return frozenset()
        raise errors.git_failed(str(folder), said.splitlines()[-1] if said else f"exit code {code}")
    paths = frozenset(os.fsdecode(path).rstrip("/") for path in printed.split(b"\0") if path)
    # If git ignores the app's whole folder, its rules are not about the app's files.
    return frozenset() if "." in paths else paths


def is_tracked(git: str, folder: Path, path: str, environ: Mapping[str, str]) -> bool:
    """Return True if git tracks anything at or below `path`."""
    code, printed = ask(git, folder, ["ls-files", "-z", "--", f":(literal){path}"], environ).answer()
    return code == 0 and bool(printed)


def select_matched(git: str, folder: Path, paths: Sequence[str], environ: Mapping[str, str]) -> frozenset[str]:
    """Select the paths below `folder` that match a pattern, or are below a folder that does.

    `ask_ignored` also names a folder if all files in it are ignored.
    """
    _, printed = ask(git, folder, ["check-ignore", "--", *paths], environ).answer()
    return frozenset(paths) & frozenset(os.fsdecode(path) for path in printed.split(b"\n"))


def list_uncommitted(git: str, folder: Path, environ: Mapping[str, str]) -> frozenset[str]:
    """List the files below `folder` that differ from the last commit, relative to it and not ignored."""
    found: set[str] = set()
    safe = without_filters(git, folder, environ)
    # A submodule has its own configuration, with its own filters.
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

    `cat-file` prints the bytes of the commit; the output of `log` depends on settings.
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

    It is "" for a path on this machine, and for an address that may have a login in another part: people write
    passwords with `/`, `#` or `?` into addresses, and tokens as parameters of the path (RFC 3986, 3.3).
    """
    from urllib.parse import unquote, urlsplit

    remote = remote.strip()
    found = _SCP.fullmatch(remote)
    if found:
        return f"ssh://{found[1]}/{found[2]}"
    try:
        parts = urlsplit(remote)
        _ = parts.port  # raises ValueError if it is not a number
    except ValueError:
        return ""
    rest = unquote(parts.path + parts.query + parts.fragment)
    if parts.scheme not in {"https", "http", "ssh", "git"} or not parts.hostname or not remote.isprintable():
        return ""
    if "@" in rest or set(unquote(parts.path)) & set(":;"):
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
