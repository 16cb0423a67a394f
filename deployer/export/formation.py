"""What is exported: an app's process types, how many of each, and what they find in their environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from buildpack.dataclass import dataclass

MARK = "written by `deploy export"
"""Stands in the first line of each file, so that the next export knows which files are its own."""

STOP_SECONDS = 30
"""From TERM to KILL: longer than the 25 s the launcher takes, so that it is never cut short."""

TURNING = r"\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
"""Characters that turn the direction of writing (UAX 9), so that a command reads as another, and separators of lines.

They are for a class of a regular expression.
"""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """One file to write; `secret` where it holds config vars, which only its owner should read."""

    name: str
    content: str
    secret: bool = False
