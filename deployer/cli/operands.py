"""The operands that `run`, `local` and their like share: ``[APP|REF] [TYPE[=N]...] [-- CMD...]``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from buildpack.bounded import parse_integer
from buildpack.dataclass import dataclass
from deployer.cli.options import Command
from deployer.errors.commands import (
    bad_operand,
    bad_quantity,
    command_missing,
    command_with_types,
    counted_twice,
    neither_folder_nor_type,
    no_such_folder,
    operand_empty,
)
from deployer.text import operand_text

METAVAR = "[APP|REF] [TYPE[=N]]..."
"""What the operands before ``--`` are called in the usage line."""

MOST = 100
"""More processes of one type than that on one machine are a slip of the keyboard."""

_COMMAND = "deployer.command"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """What to run: an app's folder or an image, never both; with neither the app is the current folder.

    `formation` holds the process types in the order they were named, and is empty where none was. `command` is
    what followed ``--``, empty where there was none.
    """

    app: Path | None = None
    reference: str | None = None
    formation: Mapping[str, int]
    command: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The app's folder."""
        return self.app or Path()

    def again(self, command: str) -> str:
        """Return the command line, so far as it names the app or image, for a command of ours."""
        return f"deploy {command}{operand_text(self.reference or str(self.folder))}"

    @property
    def shown(self) -> str:
        """What messages call it."""
        return self.reference or ("this folder" if self.app is None else str(self.app))


class OperandsCommand(Command):
    """A command line that is split at its first ``--`` before anything else; `command_of` gives what followed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows ``--`` from click, options and all."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = tuple(args[at + 1 :]) if at < len(args) else None
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show where the command stands."""
        return [*super().collect_usage_pieces(ctx), "[-- CMD...]"]


def command_of(ctx: click.Context) -> tuple[str, ...] | None:
    """Return what followed the first ``--``; None where there was none."""
    command: Any = ctx.meta.get(_COMMAND)
    return None if command is None else tuple(command)


def split_operands(
    arguments: Sequence[str], *, command: Sequence[str] | None = None, folder_exists: Callable[[str], bool]
) -> Operands:
    """Tell APP, REF and TYPE apart.

    The first operand is APP if that folder exists or it begins with ``.`` or ``/``, REF if it has a tag or a
    digest, else a TYPE in the current folder. Raises UsageError.
    """
    if command is not None and not command:
        raise command_missing()
    if "" in arguments:
        raise operand_empty()
    app, reference, rest = None, None, list(arguments)
    if rest and (rest[0][:1] in {".", "/"} or folder_exists(rest[0])):
        app = Path(rest.pop(0))
    elif rest and _is_reference(rest[0]):
        reference = rest.pop(0)
    elif rest and "/" in rest[0].partition("=")[0]:
        raise no_such_folder(rest[0])
    formation: dict[str, int] = {}
    for text in rest:
        name, count = _parse_type(text)
        if name in formation:
            raise counted_twice(name)
        formation[name] = count
    if command and formation:
        raise command_with_types(list(formation))
    return Operands(app=app, reference=reference, formation=formation, command=tuple(command or ()))


def is_folder(operand: str) -> bool:
    """Tell an app's folder from an image's name: it is there, or looks like a path."""
    return operand[:1] in {".", "/"} or os.path.isdir(operand)


def image_name(operand: str, environ: Mapping[str, str]) -> str:
    """Return the name of what is meant: the image of the app in a folder, or an image."""
    if not is_folder(operand):
        return operand
    from buildpack.app.settings import read_settings
    from buildpack.errors import app as errors

    folder = Path(operand)
    if not os.path.isdir(folder):
        raise errors.not_a_folder(operand) if os.path.exists(folder) else errors.no_such_folder(operand)

    return f"{read_settings(folder, environ=environ, flags={}).name}:latest"


def check_types(meant: Operands) -> None:
    """Raise UsageError for an unknown process type if the folder's Procfile shows that; the image shows the rest."""
    if not meant.formation or meant.reference is not None:
        return
    from buildpack.app.procfile import read_procfile
    from deployer.formation import choose_formation

    procfile = read_procfile(meant.folder) if os.path.isdir(meant.folder) else None
    if procfile is None and (meant.app is not None or os.path.exists(meant.folder / "Pipfile.lock")):
        return
    names = [process.name for process in procfile.processes] if procfile else []
    first = next(iter(meant.formation))
    if meant.app is None and first not in names:
        raise neither_folder_nor_type(first, names)
    choose_formation(meant.formation, processes=names, formation={}, where=meant.shown)


def _is_reference(text: str) -> bool:
    return "@" in text or ":" in text.rpartition("/")[2]


def _parse_type(text: str) -> tuple[str, int]:
    name, equals, count = text.partition("=")
    if not name or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise bad_operand(text)
    if not equals:
        return name, 1
    number = parse_integer(count, most=MOST)
    if number is None:
        raise bad_quantity(name, count, MOST)
    return name, number
