"""A formation: an app's process types, and how many of each the command line, app.json and the Procfile ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from buildpack.app.procfile import ONE_OFF
from buildpack.bounded import LARGEST, parse_json
from buildpack.dataclass import dataclass
from deployer.errors.commands import nothing_to_start, unknown_type
from deployer.errors.engines import bad_cpus, bad_memory
from deployer.runner import defaults

PORT = int(defaults.PORT)
"""The port that web listens on in a container, and the first one of this machine that is published."""
LOCAL_PORT = 5006
"""The port of web without a container. macOS uses 5000 itself."""

_MEMORY = re.compile(r"(\d{1,19}(?:\.\d{1,9})?) ?([kmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_LEAST_MEMORY = 6 << 20
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
_MOST = 1000
"""The largest count in `app.json` and on the command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of each process: memory in bytes, processors in billionths; None for no limit."""

    memory: int | None = None
    nano_cpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Formation:
    """An app's processes; `counts` are in the order in which they are shown, none of them 0.

    `folder` is absolute. `variables` are config vars, without PORT, PS and DYNO, which each process gets its own of.
    """

    name: str
    folder: Path
    processes: Mapping[str, str]
    counts: Mapping[str, int]
    port: int
    variables: Mapping[str, str]
    app_object: str | None = None
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The launcher's settings in an image: process types with their commands, in the Procfile's order, and quantities.

    `default` is the process type that starts if a container gets no command.
    """

    processes: Mapping[str, str]
    formation: Mapping[str, int]
    default: str | None = None
    app_object: str | None = None


def parse_launch(text: bytes) -> Launch | None:
    """Parse a launch.json; None if our launcher would not understand it."""
    try:
        document: Any = parse_json(text)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    processes, formation = document.get("processes"), document.get("formation") or {}
    default, app_object = document.get("default"), document.get("app_object")
    if not isinstance(processes, dict) or not isinstance(formation, dict):
        return None
    if not all(_NAME.fullmatch(name) and isinstance(command, str) for name, command in processes.items()):
        return None
    if not all(type(count) is int and 0 <= count <= _MOST for count in formation.values()):
        return None
    if not all(each is None or isinstance(each, str) for each in (default, app_object)):
        return None
    return Launch(processes=processes, formation=formation, default=default, app_object=app_object)


def parse_limits(memory: str, cpus: str) -> Limits:
    """Read the operands of --memory and --cpus; empty for no limit. Raises UsageError.

    Memory is ``512m`` or ``1.5g``, in powers of 1024 as Docker reads it.
    """
    return Limits(memory=_parse_memory(memory) if memory else None, nano_cpus=_parse_cpus(cpus) if cpus else None)


def _parse_memory(text: str) -> int:
    match = _MEMORY.fullmatch(text.strip())
    amount = int(float(match[1]) * 1024 ** _POWERS[match[2].lower()]) if match else 0
    if not _LEAST_MEMORY <= amount <= LARGEST:
        raise bad_memory(text)
    return amount


def _parse_cpus(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}(?:\.\d{1,9})?|\.\d{1,9}", text.strip(), re.ASCII) or not 0.01 <= float(text) <= 1024:
        raise bad_cpus(text)
    return round(float(text) * 1e9)


def choose_formation(
    named: Mapping[str, int], *, processes: Sequence[str], formation: Mapping[str, int], where: str
) -> dict[str, int]:
    """Return how many of each process type to start, web first: those `named`, else one of each that keeps running.

    `processes` are the known types, `formation` is what app.json says, `where` names the app or the image in
    messages. Raises UsageError for an unknown type, and if nothing would be started.
    """
    _require_known(named, processes, where)
    wanted = dict(named) or _by_default(processes, formation)
    return _in_order(wanted, processes, where)


def export_formation(
    named: Mapping[str, int], *, processes: Sequence[str], formation: Mapping[str, int], where: str
) -> dict[str, int]:
    """Return how many of each process type another program should start; it starts ``release`` before the others.

    A type in `named` gets that count, and the others keep theirs. Raises UsageError as `choose_formation` does.
    """
    _require_known(named, processes, where)
    release = {name: 1 for name in processes if name == "release"}
    return _in_order({**_by_default(processes, formation), **release, **named}, processes, where)


def left_out_text(processes: Sequence[str], chosen: Mapping[str, int], command: str) -> str:
    """Name the process types that run once and that a formation leaves out, and the command that runs them.

    `command` lacks the type alone. The text is empty if there are none.
    """
    left = [name for name in ONE_OFF if name in processes and name not in chosen]
    return "\n".join(f"{name} is not run; `{command} {name}` runs it" for name in left)


def _require_known(named: Mapping[str, int], processes: Sequence[str], where: str) -> None:
    for name in named:
        if name not in processes:
            raise unknown_type(name, processes, where)


def _by_default(processes: Sequence[str], formation: Mapping[str, int]) -> dict[str, int]:
    return {name: formation.get(name, 1) for name in processes if name not in ONE_OFF}


def _in_order(wanted: Mapping[str, int], processes: Sequence[str], where: str) -> dict[str, int]:
    chosen = {name: wanted[name] for name in sorted(wanted, key=lambda name: name != "web") if wanted[name]}
    if not chosen:
        raise nothing_to_start(processes, where)
    return chosen
