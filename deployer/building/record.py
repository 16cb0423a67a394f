"""The build record: what a `deploy build` saw and what it answered, so that the same question is answered at once.

Ninja's and git's way: nothing is read, the stamps of all that decided the answer are compared. This half asks, and is
imported before anything else; `recording` is the half that writes. A record that is absent, damaged, of another day or
in any doubt is no record: then the build proper runs, and finds what is unchanged by content.
"""

from __future__ import annotations

import json
import os
import sys
import time

from buildpack.app.file_stamps import stamp
from buildpack.oci.store_path import locate_store

# Not hashlib, which loads OpenSSL: that takes as long as all the rest. `random` does the same.
try:
    from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore]  # Python 3.12 and later
except ImportError:
    from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from buildpack.app.file_stamps import Stamp

SCHEMA = 1
FOLDER = "records"
_VOLATILE = frozenset(
    (*("_", "OLDPWD", "PWD", "SHLVL"), *("COLORTERM", "COLUMNS", "LINES", "TERM", "TMUX", "TMUX_PANE", "WINDOWID"))
)
"""Variables that differ between two terminals, or two calls in one, and decide nothing."""


class Asked:
    """A call of `deploy build`: the file that may answer it, and when it began, in seconds since 1970.

    `unchanged` says, once `recall` looked, that everything is as an equal call left it here. What an engine was sent it
    may have lost since: `loaded` is what `loaded.is_loaded` asks it, None where nothing was sent.
    """

    __slots__ = ("begin", "loaded", "path", "unchanged")

    def __init__(self, path: str, begin: float) -> None:
        self.path = path
        self.begin = begin
        self.unchanged = False
        self.loaded: tuple[list[str], list[str]] | None = None


def ask(arguments: Sequence[str], environ: Mapping[str, str], *, now: float) -> Asked | None:
    """Find out which record would answer this command line, in this folder and environment; None where none can."""
    try:
        store = locate_store(environ)
        variables = sorted((name, value) for name, value in environ.items() if name not in _VOLATILE)
        user = (os.geteuid(), os.getegid(), os.getgroups())
        python = (sys.executable, sys.version, sys.flags, sys.path, os.uname().machine)
        parts = (SCHEMA, list(arguments), os.getcwd(), variables, user, python)  # noqa: PTH109  pathlib is slow to import
    except OSError:
        return None
    return Asked(f"{store}/{FOLDER}/{_hash(repr(parts).encode())}", now) if store else None


def recall(asked: Asked) -> dict[str, Any] | None:
    """Return the answer of an equal call, if nothing that decided it has changed since."""
    try:
        with open(asked.path, "rb") as file:  # noqa: PTH123  pathlib is slow to import
            content = file.read()
        body = content[65:]
        if content[:65] != _hash(body).encode() + b"\n":
            return None
        record = json.loads(body)
        if not _holds(record, asked.begin):
            return None
        answer: dict[str, Any] | None = record["answer"]
        asked.unchanged = True
        asked.loaded = record.get("loaded")
    except Exception:  # noqa: BLE001  whatever is wrong with a record, building is right
        return None
    return answer


def _holds(record: Mapping[str, Any], now: float) -> bool:
    if record["day"] != day_of(now) or not record["made"] <= now < (record["expires"] or float("inf")):
        return False
    # Two folders may have one name, by a link that was turned; the app's default name is its folder's.
    if os.path.realpath(record["folder"]) != record["real"]:
        return False
    # The app's own files come first: they change most.
    return all(fold(map(stamp, paths)) == stamps for paths, stamps in record["witnesses"])


def day_of(now: float) -> list[int]:
    """Return year, month and day here: builds warn of a Python's end of life from a day on."""
    return list(time.localtime(now)[:3])


def fold(stamps: Iterable[Stamp | None]) -> str:
    """Return what stands for all these stamps, in this order."""
    return _hash(repr(list(stamps)).encode())


def seal(record: Mapping[str, object]) -> bytes:
    """Render a record, its hash first, so that no damage goes unseen."""
    body = json.dumps(record, separators=(",", ":")).encode()
    return _hash(body).encode() + b"\n" + body


def _hash(content: bytes) -> str:
    return str(sha256(content).hexdigest())
