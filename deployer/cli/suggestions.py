"""What can stand where a value is typed: folders, the process types of an app, stacks, destinations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import click
from click.shell_completion import CompletionItem

Items: TypeAlias = "list[CompletionItem[str]]"
Suggest: TypeAlias = Callable[[click.Context, str], Items]


def suggestions_for(parameter: click.Parameter) -> Suggest | None:
    """Return what suggests values for a parameter, by its name as it is typed; None leaves it to its type."""
    for name in (*parameter.opts, parameter.name or ""):
        if name in _BY_NAME:
            return _BY_NAME[name]
    return None


def suggest_paths(incomplete: str, *, files: bool = True, prefix: str = "") -> Items:
    """Suggest what a folder holds; a folder ends in ``/``, and hidden names are shown to those who type the dot."""
    folder, slash, start = incomplete.rpartition("/")
    try:
        with os.scandir(os.path.expanduser(folder + slash) or ".") as entries:  # noqa: PTH111  the text is kept
            found = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError:
        return []
    return [
        CompletionItem(f"{prefix}{folder}{slash}{name}{'/' if is_folder else ''}")
        for name, is_folder in found
        if name.startswith(start)
        and (start or not name.startswith("."))
        and (is_folder or files)
        and name.isprintable()
    ]


def _folders(_ctx: click.Context, incomplete: str) -> Items:
    return suggest_paths(incomplete, files=False)


def _paths(_ctx: click.Context, incomplete: str) -> Items:
    return suggest_paths(incomplete)


def _operands(ctx: click.Context, incomplete: str) -> Items:
    typed: tuple[str, ...] = ctx.params.get("operands") or ()
    if not typed:
        return _process_types(Path(), incomplete, leave_out=()) + suggest_paths(incomplete, files=False)
    folder = Path(typed[0])
    return _process_types(folder if os.path.isdir(folder) else Path(), incomplete, leave_out=typed)


def _images(_ctx: click.Context, incomplete: str) -> Items:
    """Suggest folders, and what the store has, by the names that people type."""
    from buildpack.oci.store import Store
    from buildpack.oci.store_path import locate_store

    root = locate_store(os.environ)
    names = Store(Path(root)).images() if root else {}
    short = [name.removeprefix("docker.io/").removeprefix("library/").removesuffix(":latest") for name in names]
    known = [CompletionItem(name) for name in short if name.startswith(incomplete)]
    return known + suggest_paths(incomplete, files=False)


def _process_types(folder: Path, incomplete: str, *, leave_out: Iterable[str]) -> Items:
    from buildpack.app.procfile import read_procfile
    from buildpack.errors import BuildpackError

    named = {operand.partition("=")[0] for operand in leave_out}
    try:
        procfile = read_procfile(folder)
    except BuildpackError:
        return []
    return [
        CompletionItem(process.name, help=process.command)
        for process in (procfile.processes if procfile else ())
        if process.name.startswith(incomplete) and process.name not in named
    ]


def _stacks(_ctx: click.Context, incomplete: str) -> Items:
    from buildpack.app.python_version import DEFAULT, OLDEST

    newest = int(DEFAULT.partition(".")[2]) + 1
    series = [f"3.{minor}" for minor in range(newest, OLDEST[1] - 1, -1)]
    series.sort(key=lambda version: version != DEFAULT)
    known = [("host", "the Python of this machine")]
    known += [(f"python:{version}-slim", f"Python {version} on Debian") for version in series]
    return _choose([*known, ("oci:", "an image layout"), ("archive:", "an image in a file")], incomplete)


def _destinations(_ctx: click.Context, incomplete: str) -> Items:
    known = [("docker", "the engine"), ("registry", "where it is named"), ("oci:", "a layout"), ("archive:", "a file")]
    return _choose(known, incomplete)


def _platforms(_ctx: click.Context, incomplete: str) -> Items:
    return _choose([("linux/amd64", ""), ("linux/arm64", "")], incomplete)


def _categories(_ctx: click.Context, incomplete: str) -> Items:
    """Suggest those of the current folder: click forgets operands where an option still lacks its value."""
    from buildpack.app.pipfile import read_pipfile
    from buildpack.errors import BuildpackError

    try:
        pipfile = read_pipfile(Path())
    except BuildpackError:
        return []
    return _choose([(name, "") for name in (pipfile.categories if pipfile else ())], incomplete)


def _choose(known: Iterable[tuple[str, str]], incomplete: str) -> Items:
    """Suggest of a list, and paths behind ``oci:`` and ``archive:``."""
    kind, colon, path = incomplete.partition(":")
    if colon and kind in {"oci", "archive"}:
        return suggest_paths(path, files=kind == "archive", prefix=f"{kind}:")
    return [CompletionItem(value, help=text or None) for value, text in known if value.startswith(incomplete)]


_BY_NAME: dict[str, Suggest] = {
    "app": _folders,
    "folder": _folders,
    "operands": _operands,
    "operand": _images,
    "reference": _images,
    "--stack": _stacks,
    "--category": _categories,
    "--to": _destinations,
    "--platform": _platforms,
    "--venv": _folders,
    "--output": _folders,
    "--build-env-file": _paths,
    "--env-file": _paths,
}
