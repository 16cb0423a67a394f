"""The author's name for a licence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_NOBODY = "the authors"


def author_name(folder: Path, environ: Mapping[str, str]) -> str:
    """Return the name that git is configured with for an existing folder; "the authors" if there is none."""
    from buildpack.app.git import ask, git_for

    if name := environ.get("GIT_AUTHOR_NAME"):
        return name
    git = git_for(str(folder), environ)
    if git is None:
        return _NOBODY
    _, printed = ask(git, folder, ["config", "user.name"], environ).answer()
    return printed.decode(errors="replace").strip() or _NOBODY
