"""Finds the store's folder by the environment.

Imports `os` alone at first, since the question comes before it is clear that there is anything to build.
"""
# pathlib takes longer to import than the answer takes.
# ruff: noqa: PTH109, PTH118, PTH120

from __future__ import annotations

import os

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def locate_store(environ: Mapping[str, str]) -> str | None:
    """Return the folder for the store; None if none lasts, so that `find_store` chooses a temporary one."""
    wanted = wanted_place(environ)
    return wanted if wanted is not None and _is_writable(wanted) else None


def wanted_place(environ: Mapping[str, str]) -> str | None:
    """Return where the environment wants the store, absolute; None if it does not say.

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


def find_store(environ: Mapping[str, str]) -> tuple[Path, str | None]:
    """Return the folder for the store, and a warning if it will not last.

    If the wanted place cannot be written, it is a folder of this user's among the temporary ones.
    """
    from pathlib import Path

    from buildpack.errors import oci as errors

    lasting = locate_store(environ)
    if lasting is not None:
        return Path(lasting), None
    wanted = wanted_place(environ)
    chosen = _temporary_home(Path(environ.get("TMPDIR") or "/tmp"))  # noqa: S108  # its owner and mode are checked
    return chosen, errors.temporary_store(Path(wanted) if wanted else None, chosen)


def _temporary_home(folder: Path) -> Path:
    """Return a folder that is this user's alone: the same each time, so that `run` finds what `build` made."""
    import stat
    from contextlib import suppress
    from pathlib import Path

    from buildpack.errors import oci as errors
    from buildpack.system.temporary import make_folder

    chosen = folder / f"deploy-{os.getuid()}"
    with suppress(OSError):
        make_folder(chosen, 0o700)
        found = chosen.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return chosen
    # Someone else was there first: in a folder that everybody may write to, that is an attack or an accident.
    import tempfile

    try:
        return Path(tempfile.mkdtemp(prefix="deploy-", dir=folder))
    except OSError as error:
        raise errors.store_failed(chosen, error) from error
