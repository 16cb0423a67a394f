"""A formation: an app's process types, and how many of each the command line, app.json and the Procfile ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from buildpack.app.procfile import ONE_OFF
from buildpack.dataclass import dataclass
from deployer.errors.commands import nothing_to_start, unknown_type
from deployer.runner import defaults

PORT = int(defaults.PORT)
"""The port that web listens on in a container, and the first one of this machine that is published."""
LOCAL_PORT = 5006
"""The port of web without a container. macOS uses 5000 itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Formation:
    """An app's processes; `counts` are in the order in which they are shown, none of them 0.

    `folder` is absolute. `variables` are config vars, without PORT, PS and DYNO, which each process gets its own of.
    `memory` is in bytes, `nano_cpus` in billionths of a processor; None is no limit.
    """

    name: str
    folder: Path
    processes: Mapping[str, str]
    counts: Mapping[str, int]
    port: int
    variables: Mapping[str, str]
    app_object: str | None = None
    memory: int | None = None
    nano_cpus: int | None = None


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

    What is `named` changes the count of that type alone. Raises UsageError as `choose_formation` does.
    """
    _require_known(named, processes, where)
    release = {name: 1 for name in processes if name == "release"}
    return _in_order({**_by_default(processes, formation), **release, **named}, processes, where)


def find_one_off(processes: Sequence[str], chosen: Mapping[str, int]) -> list[str]:
    """Return the process types that run once and end, and that a formation leaves out."""
    return [name for name in ONE_OFF if name in processes and name not in chosen]


def one_off_text(names: Sequence[str], command: str) -> str:
    """Say that these process types are not run, and which command runs them; it lacks the type alone."""
    return "\n".join(f"{name} is not run; `{command} {name}` runs it" for name in names)


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
