"""The build record: the inputs and the answer of a `deploy build`, with which an equal call is answered at once.

No input is read: their file stamps are compared, as Ninja and git do. This module reads records, and is imported before
anything else; `recording` writes them. If a record is absent, damaged, of another day or in any doubt, the build runs,
and finds the unchanged layers by their content.
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
    from typing import Any, TypedDict

    from buildpack.app.file_stamps import Stamp

    class Answer(TypedDict):
        """The output of a build as a value: the same if it built or remembered.

        `report` is the object that ``--json`` prints. `slots` has the names of our layers for each platform. `app` is
        the folder as it was typed. `style` is ``json``, ``quiet``, ``plain`` or ``verbose``. `sent` has a text for each
        destination. `kept` and `unchanged` are as in `Built`. `loaded` is true if an engine got the only image.
        `special` is true if a build of the folder alone would make another image, or another name.
        """

        report: dict[str, Any]
        slots: list[list[str]]
        app: str
        style: str
        sent: list[str]
        kept: bool
        unchanged: bool
        loaded: bool
        special: bool


SCHEMA = 1
FOLDER = "records"
_VOLATILE = frozenset(
    (*("_", "OLDPWD", "PWD", "SHLVL"), *("COLORTERM", "COLUMNS", "LINES", "TERM", "TMUX", "TMUX_PANE", "WINDOWID"))
)
"""Variables that differ between two terminals or two calls, and decide nothing."""

_PATIENCE = 5.0
"""Seconds. A build waits longer for an engine than this question does."""


class Asked:
    """A call of `deploy build`: the path of the record that may answer it, and its begin in seconds since 1970.

    `recall` sets `unchanged` if everything is as an equal call left it. An engine may have lost the image since then:
    `loaded` has the arguments of `is_loaded`, None if nothing was sent to an engine.
    """

    __slots__ = ("begin", "loaded", "path", "unchanged")

    def __init__(self, path: str, begin: float) -> None:
        self.path = path
        self.begin = begin
        self.unchanged = False
        self.loaded: tuple[list[str], list[str]] | None = None


def ask(arguments: Sequence[str], environ: Mapping[str, str], *, now: float) -> Asked | None:
    """Find the record that would answer this command line, in this folder and environment; None if it has none."""
    try:
        store = locate_store(environ)
        variables = sorted((name, value) for name, value in environ.items() if name not in _VOLATILE)
        user = (os.geteuid(), os.getegid(), os.getgroups())
        python = (sys.executable, sys.version, sys.flags, sys.path, os.uname().machine)
        parts = (SCHEMA, list(arguments), os.getcwd(), variables, user, python)  # noqa: PTH109  pathlib is slow to import
    except OSError:
        return None
    return Asked(f"{store}/{FOLDER}/{_hash(repr(parts).encode())}", now) if store else None


def recall(asked: Asked) -> Answer | None:
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
        answer: Answer | None = record["answer"]
        asked.unchanged = True
        asked.loaded = record.get("loaded")
    except Exception:  # noqa: BLE001  if a record is wrong in any way, the build runs
        return None
    return answer


def _holds(record: Mapping[str, Any], now: float) -> bool:
    if record["day"] != day_of(now) or not record["made"] <= now < (record["expires"] or float("inf")):
        return False
    # If a link was changed, the same name is another folder, and the app's default name is that of its folder.
    if os.path.realpath(record["folder"]) != record["real"]:
        return False
    # The app's own files come first, because they change most.
    return all(fold(map(stamp, paths)) == stamps for paths, stamps in record["witnesses"])


def day_of(now: float) -> list[int]:
    """Return the local year, month and day: warnings of a Python's end of life begin at a date."""
    return list(time.localtime(now)[:3])


def fold(stamps: Iterable[Stamp | None]) -> str:
    """Return a hash of these stamps in this order."""
    return _hash(repr(list(stamps)).encode())


def seal(record: Mapping[str, object]) -> bytes:
    """Render a record after its hash, which shows damage."""
    body = json.dumps(record, separators=(",", ":")).encode()
    return _hash(body).encode() + b"\n" + body


def _hash(content: bytes) -> str:
    return str(sha256(content).hexdigest())


def is_loaded(names: Sequence[str], ids: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Return True if the engine of the environment has one of these images, in hexadecimal, under each of the names.

    If the engine does not answer, it returns False.
    """
    from contextlib import closing
    from urllib.parse import quote

    from buildpack.errors import BuildpackError
    from buildpack.oci.engine_host import find_engine
    from buildpack.oci.engine_http import Connection

    try:
        endpoint = find_engine(environ)
        if endpoint is None:
            return False
        with closing(Connection(endpoint, timeout=_PATIENCE)) as connection:
            answers = (connection.ask("GET", f"/images/{quote(name, safe='/:@')}/json").object() for name in names)
            return all(str(answer.get("Id", "")).removeprefix("sha256:") in ids for answer in answers)
    except (BuildpackError, OSError):
        return False
