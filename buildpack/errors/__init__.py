"""The one type of error: what happened, why, how to mend it, and an exit code.

Leaf modules raise by calling a function of `errors.app`, `errors.python`, `errors.oci` or
`errors.stacks` with the bare facts; those modules hold the prose, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AppError",
    "BuildpackError",
    "DependencyError",
    "EngineError",
    "LostError",
    "MachineError",
    "Problems",
    "StackError",
    "UsageError",
]


class BuildpackError(Exception):
    """What happened (`what`, one line), `why` (may be several lines) and a `hint` that says what to do next.

    `place` is the file of the app to mend, relative to its folder, with the first line there that is wrong
    (``Procfile:3``); empty where there is no one such place.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", hint: str = "", place: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint
        self.place = place

    def __str__(self) -> str:
        """Render the whole message, without the leading ``error:``."""
        parts = [self.what, self.why, f"hint: {self.hint}" if self.hint else ""]
        return "\n\n".join(part for part in parts if part)


class UsageError(BuildpackError):
    """Wrong usage."""

    exit_code = 2


class AppError(BuildpackError):
    """The app cannot be built as it stands; a file to mend is named."""

    exit_code = 10


class DependencyError(BuildpackError):
    """A dependency could not be fetched, verified or built."""

    exit_code = 20


class StackError(BuildpackError):
    """A stack or registry could not be reached, or refused."""

    exit_code = 30


class EngineError(BuildpackError):
    """No engine, or the engine refused."""

    exit_code = 40


class MachineError(BuildpackError):
    """This machine: disk full, permission, port taken."""

    exit_code = 70


class LostError(MachineError):
    """What was kept from earlier is damaged or gone; it was dropped, so the same work done again makes it anew."""


class Problems(BuildpackError):
    """Several errors found in one pass; the exit code is the first one's."""

    def __init__(self, problems: Sequence[BuildpackError]) -> None:
        super().__init__("; ".join(problem.what for problem in problems))
        self.problems = tuple(problems)
        self.exit_code = problems[0].exit_code

    def __str__(self) -> str:
        return "\n\n".join(str(problem) for problem in self.problems)
