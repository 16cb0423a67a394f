"""Whom hooks run as: whoever builds, but for root, who hands over to a user that owns nothing here."""

from __future__ import annotations

import os
from pathlib import Path

from buildpack.processes import User

__all__ = ["User", "choose_user", "is_reachable"]

_APP = 1000
"""Whom the image runs as; on a machine where somebody has this number, hooks must not be that person."""
_NOBODY = 65534
_NEEDED = (0, 6, 7)
"""CAP_CHOWN, CAP_SETGID, CAP_SETUID (capabilities(7))."""


def choose_user(*, accounts: Path = Path("/etc/passwd"), process: Path = Path("/proc/self")) -> User | None:
    """Return whom root hands over to; None where this is not root, or may not become anybody else."""
    if os.geteuid() != 0 or not _may_change(process):
        return None
    known = {line.split(":")[2] for line in _lines(accounts) if line.count(":") >= 3}
    for number in (_NOBODY,) if str(_APP) in known else (_APP, _NOBODY):
        if all(_is_mapped(number, process / name) for name in ("uid_map", "gid_map")):
            return User(uid=number, gid=number)
    return None


def is_reachable(path: str | Path) -> bool:
    """Tell whether another user can get to this file or folder, links followed."""
    real = os.path.realpath(path)
    try:
        if not os.stat(real).st_mode & 0o004:  # noqa: PTH116
            return False
        return all(parent.stat().st_mode & 0o001 for parent in Path(real).parents)
    except OSError:
        return False


def _may_change(process: Path) -> bool:
    row = next((line for line in _lines(process / "status") if line.startswith("CapEff:")), "CapEff: 0")
    held = int(row.split()[1], 16)
    return all(held >> number & 1 for number in _NEEDED)


def _is_mapped(number: int, table: Path) -> bool:
    """Tell whether this user namespace has the number (user_namespaces(7))."""
    rows = [[int(word) for word in line.split()] for line in _lines(table)]
    return any(first <= number < first + count for first, _, count in rows)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
