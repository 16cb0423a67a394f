"""What an image's launch.json says it can start: the engine gives it as an archive, and anybody may have made it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass

LAUNCH_FILE = "/opt/deploy/launch.json"

_LARGEST = 1 << 20
"""Bytes of a launch.json: a Procfile's lines, and little more."""
_MOST = 1000
"""As `app.json` and the command line may ask for."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What an image's launcher can start: process types in the Procfile's order, and app.json's formation."""

    processes: tuple[str, ...]
    formation: Mapping[str, int]


def take_launch(pieces: Iterable[bytes]) -> Launch | None:
    """Read launch.json from the archive that an engine sends of it; None where it is none of ours.

    What is larger than any of ours is not read.
    """
    from buildpack.errors import StackError
    from buildpack.oci.tar_reader import read_members

    try:
        for member, content in read_members(iter(pieces), origin=LAUNCH_FILE):
            if member.kind != "file" or member.size > _LARGEST:
                return None
            return parse_launch(b"".join(content))
    except StackError:
        return None
    return None


def parse_launch(text: bytes) -> Launch | None:
    """Take what a launcher of ours would understand; None for anything else."""
    try:
        document: Any = parse_json(text)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    processes, formation = document.get("processes"), document.get("formation") or {}
    if not isinstance(processes, dict) or not isinstance(formation, dict):
        return None
    if not all(_NAME.fullmatch(name) and isinstance(command, str) for name, command in processes.items()):
        return None
    if not all(type(count) is int and 0 <= count <= _MOST for count in formation.values()):
        return None
    return Launch(processes=tuple(processes), formation=formation)
