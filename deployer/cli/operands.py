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
from deployer.errors import commands as errors
from deployer.text import operand_text

METAVAR = "[APP|REF] [TYPE[=N]]..."
"""The operands before ``--``, in the usage line."""

MOST = 100
"""The largest number of processes of a type; a larger one is a typing error."""

_COMMAND = "deployer.command"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """An app's folder or an image to run, never both; with neither the app is the current folder.

    `formation` has the process types in the order of the command line. `command` is the command after ``--``. Both may
    be empty.
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
        """Return the command line of a command of ours for the same app or image."""
        return f"deploy {command}{operand_text(self.reference or str(self.folder))}"

    @property
    def shown(self) -> str:
        """The name of the app or image in messages."""
        return self.reference or ("this folder" if self.app is None else str(self.app))


class OperandsCommand(Command):
    """A command that splits its line at the first ``--`` before anything else; `command_of` returns the second part."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse only the words before ``--``."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = tuple(args[at + 1 :]) if at < len(args) else None
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Add the command to the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- CMD...]"]


def command_of(ctx: click.Context) -> tuple[str, ...] | None:
    """Return the words after the first ``--``; None if the line has no ``--``."""
    command: Any = ctx.meta.get(_COMMAND)
    return None if command is None else tuple(command)


def split_operands(
    arguments: Sequence[str], *, command: Sequence[str] | None = None, folder_exists: Callable[[str], bool]
) -> Operands:
    """Sort the operands into APP, REF and TYPE.

    The first operand is APP if that folder exists or it begins with ``.`` or ``/``, REF if it has a tag or a
    digest, else a TYPE in the current folder. Raises UsageError.
    """
    if command is not None and not command:
        raise errors.command_missing()
    if "" in arguments:
        raise errors.operand_empty()
    app, reference, rest = None, None, list(arguments)
    if rest and (rest[0][:1] in {".", "/"} or folder_exists(rest[0])):
        app = Path(rest.pop(0))
    elif rest and ("@" in rest[0] or ":" in rest[0].rpartition("/")[2]):
        reference = rest.pop(0)
    elif rest and "/" in rest[0].partition("=")[0]:
        raise errors.no_such_folder(rest[0])
    formation: dict[str, int] = {}
    for text in rest:
        name, count = _parse_type(text)
        if name in formation:
            raise errors.counted_twice(name)
        formation[name] = count
    if command and formation:
        raise errors.command_with_types(list(formation))
    return Operands(app=app, reference=reference, formation=formation, command=tuple(command or ()))


def is_folder(operand: str) -> bool:
    """Return True for an app's folder, which exists or looks like a path; False for an image's name."""
    return operand[:1] in {".", "/"} or os.path.isdir(operand)


def image_name(operand: str, environ: Mapping[str, str]) -> str:
    """Return the name of an image, which the operand is, or which the app in that folder has."""
    if not is_folder(operand):
        return operand
    from buildpack.app.settings import read_settings
    from buildpack.errors.app import no_such_folder, not_a_folder

    folder = Path(operand)
    if not os.path.isdir(folder):
        raise not_a_folder(operand) if os.path.exists(folder) else no_such_folder(operand)

    return f"{read_settings(folder, environ=environ, flags={}).name}:latest"


def check_types(meant: Operands) -> None:
    """Raise UsageError for a process type that the folder's Procfile does not have; an image is checked later."""
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
        raise errors.neither_folder_nor_type(first, names)
    choose_formation(meant.formation, processes=names, formation={}, where=meant.shown)


def _parse_type(text: str) -> tuple[str, int]:
    name, equals, count = text.partition("=")
    if not name or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise errors.bad_operand(text)
    if not equals:
        return name, 1
    number = parse_integer(count, most=MOST)
    if number is None:
        raise errors.bad_quantity(name, count, MOST)
    return name, number
