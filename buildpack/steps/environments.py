"""Write virtual environments on this machine's disk, from the same wheels and entries as an image's.

The store has each under a key of everything that decides it. Python compiles modules there as it imports them.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.errors import build as errors
from buildpack.system.temporary import alone
from buildpack.system.unprivileged import is_complete, mark_complete

if TYPE_CHECKING:
    from buildpack.oci.entry import Entry
    from buildpack.python.venv import VenvLayout
    from buildpack.steps.assembly import WheelFetcher
    from buildpack.steps.install_target import Resolution
    from buildpack.system.processes import User

KEPT_DAYS = 30
"""An environment that was not used for so long is removed when the next one is made."""


def is_there(folder: Path, executable: str, user: User | None) -> bool:
    """Return True if the environment is complete (it appears by a rename) and its interpreter exists.

    For another `user` it may be in a temporary folder, from which other programs remove files.
    """
    config = f"{folder}/pyvenv.cfg"
    try:
        with open(config, encoding="utf-8", errors="replace") as text:  # noqa: PTH123 - on the path of every start
            settings = text.read()
    except OSError:
        return False
    whole = f"executable = {executable}\n" in settings and os.access(f"{folder}/bin/python", os.X_OK)
    return whole and (user is None or is_complete(folder))


def _clear(folder: Path) -> None:
    """Remove this environment, parts that dead writers left, and environments that were not used for long."""
    oldest = time.time() - KEPT_DAYS * 86400
    for path in folder.parent.iterdir():
        abandoned = path.name.startswith(".")
        if abandoned or path == folder or path.stat().st_mtime < oldest:
            # Renamed first: an interrupted removal must not leave half an environment.
            doomed = path if abandoned else path.rename(path.with_name(f".{path.name}-{os.getpid()}"))
            shutil.rmtree(doomed, ignore_errors=True)


def ensure_environment(
    resolution: Resolution,
    *,
    layout: VenvLayout,
    fetcher: WheelFetcher,
    user: User | None,
    fresh: bool = False,
    extra: Callable[[], Sequence[Entry]] = lambda: (),
) -> bool:
    """Write the environment of these wheels for `user`, unless it is there; return True if it was written.

    It is written as a whole or not at all, and with `fresh` in any case. Entries of `extra` replace others of the same
    paths.
    """
    from buildpack.python.venv import install_entries, venv_entries

    folder = Path(f"/{layout.root}")

    def is_known() -> bool:
        return not fresh and is_there(folder, layout.stack_python, user)

    if is_known():
        return False
    with alone(folder.parent):
        if is_known():
            return False
        _clear(folder)
        entries = venv_entries(layout)
        for wheel in resolution.wheels:  # in the order of their names: the last one that ships a path wins
            entries.extend(fetcher.read(wheel.sha256, layout=layout).entries)
        try:
            install_entries([*entries, *extra()], folder)
        except ValueError as error:
            raise errors.damaged_package(str(error)) from None
        mark_complete(folder)
    return True
