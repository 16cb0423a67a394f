"""How many of each process type to start, from what the command line, app.json and the Procfile say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployer.errors import nothing_to_start, unknown_type

__all__ = ["choose_formation"]


def choose_formation(
    named: Mapping[str, int], *, processes: Sequence[str], formation: Mapping[str, int], where: str
) -> dict[str, int]:
    """Return how many of each process type to start, web first: those `named`, else one of each but ``release``.

    `processes` are the known types, `formation` is what app.json says, `where` names the app or the image in
    messages. Raises UsageError for an unknown type, and where nothing would be started.
    """
    for name in named:
        if name not in processes:
            raise unknown_type(name, processes, where)
    wanted = dict(named) or {name: formation.get(name, 1) for name in processes if name != "release"}
    chosen = {name: wanted[name] for name in sorted(wanted, key=lambda name: name != "web") if wanted[name]}
    if not chosen:
        raise nothing_to_start(processes, where)
    return chosen
