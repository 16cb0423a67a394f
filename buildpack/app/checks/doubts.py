"""Findings that hold only if no wheel brings a module or a program: settled once the wheels were looked into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError, Notice


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """A finding that holds if no wheel brings the module or program `name`.

    `otherwise` is what to say if nobody knows what the wheels bring; None for nothing.
    """

    kind: Literal["module", "program"]
    name: str
    finding: BuildpackError | Notice
    otherwise: Notice | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """All that an app's wheels bring: the first names of modules, and programs."""

    modules: frozenset[str]
    programs: frozenset[str]


def brought_by(paths: Iterable[str], *, scripts: str) -> Brought:
    """Return what installed files bring; `scripts` is the folder of programs."""
    modules, programs = set(), set()
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder == scripts:
            programs.add(name)
        else:
            inside = path.partition("/site-packages/")[2]
            modules.add(inside.partition("/")[0].partition(".")[0])
    return Brought(modules=frozenset(modules), programs=frozenset(programs))


def settle(doubts: Sequence[Doubt], brought: Brought | None) -> tuple[list[BuildpackError], list[Notice]]:
    """Return the errors and notices that hold; `brought` is None if some wheel was not looked into."""
    errors: list[BuildpackError] = []
    notices: list[Notice] = []
    for doubt in doubts:
        if brought is None:
            found: BuildpackError | Notice | None = doubt.otherwise
        else:
            names = brought.modules if doubt.kind == "module" else brought.programs
            found = None if doubt.name in names else doubt.finding
        if isinstance(found, Notice):
            notices.append(found)
        elif found is not None:
            errors.append(found)
    return errors, notices
