"""Suggests values to a shell: folders, the process types of an app, stacks, destinations.

Options and arguments name these functions as their ``shell_complete``, so every command imports this module. The
functions import what they need.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deployer.text import short_name

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    Items = list[CompletionItem[str]]


def suggest_paths(incomplete: str, *, files: bool = True, prefix: str = "") -> Items:
    """Suggest the entries of a folder; folders end in ``/``, and hidden names need a dot to be typed."""
    folder, slash, start = incomplete.rpartition("/")
    try:
        with os.scandir(os.path.expanduser(folder + slash) or ".") as entries:  # noqa: PTH111  the text is kept
            found = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError:
        return []
    return [
        _item(f"{prefix}{folder}{slash}{name}{'/' if is_folder else ''}")
        for name, is_folder in found
        if name.startswith(start)
        and (start or not name.startswith("."))
        and (is_folder or files)
        and name.isprintable()
    ]


def suggest_folders(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Suggest folders."""
    return suggest_paths(incomplete, files=False)


def suggest_files(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Suggest files and folders."""
    return suggest_paths(incomplete)


def suggest_operands(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Suggest folders and process types; after a folder, the process types of the app in it."""
    typed: tuple[str, ...] = ctx.params.get("operands") or ()
    if not typed:
        return _process_types(Path(), incomplete, leave_out=()) + suggest_paths(incomplete, files=False)
    folder = Path(typed[0])
    return _process_types(folder if os.path.isdir(folder) else Path(), incomplete, leave_out=typed)


def suggest_images(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Suggest images of the store, by short names, and folders."""
    from buildpack.oci.store import Store
    from buildpack.oci.store_path import locate_store

    root = locate_store(os.environ)
    names = Store(Path(root)).images() if root else {}
    short = [short_name(name).removesuffix(":latest") for name in names]
    known = [_item(name) for name in short if name.startswith(incomplete)]
    return known + suggest_paths(incomplete, files=False)


def suggest_stacks(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Suggest kinds of stacks, and the Pythons that are supported."""
    from buildpack.app.python_version import DEFAULT, OLDEST

    newest = int(DEFAULT.partition(".")[2]) + 1
    series = [f"3.{minor}" for minor in range(newest, OLDEST[1] - 1, -1)]
    series.sort(key=lambda version: version != DEFAULT)
    known = [("host", "the Python of this machine")]
    known += [(f"python:{version}-slim", f"Python {version} on Debian") for version in series]
    return _choose([*known, ("oci:", "an image layout"), ("archive:", "an image in a file")], incomplete)


def suggest_words(*known: tuple[str, str]) -> Callable[[click.Context, click.Parameter, str], Items]:
    """Return a function that suggests these words, each with its meaning."""
    return lambda _ctx, _parameter, incomplete: _choose(known, incomplete)


def suggest_categories(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Suggest categories of the current folder's Pipfile: click passes no operands while an option lacks its value."""
    from buildpack.app.pipfile import read_pipfile
    from buildpack.errors import BuildpackError

    try:
        pipfile = read_pipfile(Path())
    except BuildpackError:
        return []
    return _choose([(name, "") for name in (pipfile.categories if pipfile else ())], incomplete)


def _choose(known: Iterable[tuple[str, str]], incomplete: str) -> Items:
    """Suggest words of a list, and paths after ``oci:`` and ``archive:``."""
    kind, colon, path = incomplete.partition(":")
    if colon and kind in {"oci", "archive"}:
        return suggest_paths(path, files=kind == "archive", prefix=f"{kind}:")
    return [_item(value, text) for value, text in known if value.startswith(incomplete)]


def _process_types(folder: Path, incomplete: str, *, leave_out: Iterable[str]) -> Items:
    from buildpack.app.procfile import read_procfile
    from buildpack.errors import BuildpackError

    named = {operand.partition("=")[0] for operand in leave_out}
    try:
        procfile = read_procfile(folder)
    except BuildpackError:
        return []
    return [
        _item(process.name, process.command)
        for process in (procfile.processes if procfile else ())
        if process.name.startswith(incomplete) and process.name not in named
    ]


def _item(value: str, help: str = "") -> CompletionItem[str]:  # noqa: A002  click's word
    from click.shell_completion import CompletionItem

    return CompletionItem(value, help=help or None)
