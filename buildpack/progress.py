"""Progress as an observer: the library reports, and its caller decides what people see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from buildpack.dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a stage. `total` is 0 if it is not known yet. `item` names the thing that was last worked on.

    `line` is a line of the output of a program that runs. With it, `item` is the program.
    """

    stage: Literal["stack", "wheels", "layers", "hooks", "load", "push"]
    done: int
    total: int = 0
    unit: Literal["bytes", "items"] = "items"
    item: str = ""
    line: str | None = None


Observer = Callable[[Progress], None]


def ignore(_progress: Progress) -> None:
    """Observe nothing."""
