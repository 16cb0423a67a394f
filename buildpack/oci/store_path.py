"""Where the store belongs, by the environment.

Imports `os` alone, since the question comes before it is clear that there is anything to build.
"""
# pathlib takes longer to import than the answer takes.
# ruff: noqa: PTH109, PTH118, PTH120

from __future__ import annotations

import os

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from collections.abc import Mapping


def locate_store(environ: Mapping[str, str]) -> str | None:
    """Return the folder for the store; None where there is none that lasts, and `find_store` has to make do."""
    wanted = wanted_place(environ)
    return wanted if wanted is not None and _is_writable(wanted) else None


def wanted_place(environ: Mapping[str, str]) -> str | None:
    """Return where the environment wants the store, absolute; None where it says nothing.

    ``$DEPLOY_HOME``, else ``$XDG_CACHE_HOME/deploy``, else ``$HOME/.cache/deploy``. XDG paths must be absolute (XDG
    Base Directory Specification).
    """
    home, xdg, user = (environ.get(name, "") for name in ("DEPLOY_HOME", "XDG_CACHE_HOME", "HOME"))
    if home:
        return os.path.join(os.getcwd(), home)
    if xdg.startswith("/"):
        return os.path.join(xdg, "deploy")
    if user.startswith("/"):
        return os.path.join(user, ".cache", "deploy")
    return None


def _is_writable(folder: str) -> bool:
    """Tell whether `folder` can be written or created."""
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
