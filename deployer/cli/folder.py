"""Operands that name an app's folder: a word that is empty is none, and least of all the current folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class Folder(click.Path):
    """A folder, as a path, that need not be there; an empty word is wrong usage.

    A shell passes one on where a variable is not set, as in ``deploy build "$APP"``.
    """

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Make it a path; raises UsageError."""
        if value == "":
            from deployer.errors.commands import operand_empty

            raise operand_empty()
        return super().convert(value, param, ctx)


def refuse_empty(_ctx: click.Context, _parameter: click.Parameter, operand: str) -> str:
    """Let an operand through that is not empty, for click; raises UsageError."""
    if not operand:
        from deployer.errors.commands import operand_empty

        raise operand_empty()
    return operand
