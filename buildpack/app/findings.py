"""The problems and warnings found while an app is read, and findings that hold only if no wheel brings something.

Such a finding is a `Doubt`: it is settled once somebody has looked into the wheels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeVar

from buildpack.dataclass import dataclass, field
from buildpack.errors import BuildpackError, Notice, Problems, parse_notice

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """A finding that holds if no wheel brings the module or program `name`.

    `otherwise` is reported if nobody knows what the wheels bring; None reports nothing.
    """

    kind: Literal["module", "program"]
    name: str
    finding: BuildpackError | Notice
    otherwise: Notice | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Collects all that is wrong with an app, and all that deserves a warning."""

    problems: list[BuildpackError] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)

    def attempt(self, read: Callable[[], _T]) -> _T | None:
        """Call a reader, and collect the error that it raises."""
        try:
            return read()
        except BuildpackError as error:
            self.problems.append(error)
            return None

    def add(self, found: Iterable[BuildpackError | Notice | Doubt]) -> None:
        """Collect what a check found."""
        for one in found:
            if isinstance(one, Notice):
                self.notices.append(one)
            elif isinstance(one, Doubt):
                self.doubts.append(one)
            else:
                self.problems.append(one)

    def warn(self, text: str) -> None:
        """Collect a warning that is one sentence, which may begin with its place."""
        self.notices.append(parse_notice(text))

    def all_problems(self) -> tuple[BuildpackError, ...]:
        """Return each problem once: several readers of one file may find the same fault."""
        flat = (one for each in self.problems for one in (each.problems if isinstance(each, Problems) else [each]))
        return tuple({str(one): one for one in flat}.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """The modules, by their first names, and the programs that an app's wheels bring."""

    modules: frozenset[str]
    programs: frozenset[str]


def brought_by(paths: Iterable[str], *, scripts: str) -> Brought:
    """Return the modules and programs among installed files; `scripts` is the folder of programs."""
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
    """Return the errors and notices that hold; `brought` is None if nobody has looked into some wheel."""
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
