"""The options that `deploy run` and `deploy local` have in common: how processes end, start again and look."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["Seconds", "process_options"]

_DAY = 86400

_Command = TypeVar("_Command", bound=Callable[..., object])


class Seconds(click.FloatRange):
    """A time of at most a day. Python takes ``nan`` and ``inf`` for numbers, and no clock takes them for times."""

    def __init__(self) -> None:
        super().__init__(0, _DAY)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is no number, and what compares with none."""
        seconds = super().convert(value, param, ctx)
        return self.fail(f"{value} is not a number.", param, ctx) if math.isnan(seconds) else seconds


def process_options(command: _Command) -> _Command:
    """Add the options to a command, at this place of its help."""
    options = [
        click.option(
            "--restart",
            type=click.Choice(["no", "on-failure", "always"]),
            default="no",
            show_default=True,
            help="When one ends.",
        ),
        _seconds("--stop-timeout", 25.0, help="Seconds from TERM to KILL."),
        _seconds("--boot-timeout", 60.0, help="Seconds to the first answer."),
        click.option(
            "--log-format",
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            help="How lines look.",
        ),
        click.option("-q", "--quiet", is_flag=True, help="Print what the processes print, and errors."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _seconds(name: str, default: float, *, help: str) -> Callable[[_Command], _Command]:  # noqa: A002  click's word
    return click.option(name, type=Seconds(), default=default, show_default=True, metavar="S", help=help)
