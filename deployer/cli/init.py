"""`deploy init`: writes a new app, or the files that an existing app lacks."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deployer.cli import options
from deployer.cli.messages import print_line, print_warning
from deployer.text import harmless, operand_text, plural

if TYPE_CHECKING:
    from deployer.scaffold.layout import Layout

EXAMPLES = """\b
Examples:
  deploy init blasto            create an app in the folder blasto
  deploy init . --license MIT   add a licence and what this folder lacks
"""


@click.command("init", cls=options.Command, epilog=EXAMPLES)
@options.folder("folder", default=".", metavar="[DIR]")
@options.option("--package", metavar="NAME", help="Name the Python package.  [default: the folder's name]")
@options.option("--license", "license_name", type=click.Choice(["MIT"]), help="Add a LICENSE file.")
@options.option("-y", "--yes", is_flag=True, help="Add all missing files without asking.")
@options.option("--no-lock", is_flag=True, help="Do not create Pipfile.lock.")
def command(folder: Path, package: str | None, license_name: str | None, yes: bool, no_lock: bool) -> int:
    """Create a new Flask app that builds and runs, or add the files that an app lacks.

    DIR is the folder of the app (default: the current one). If it holds an app already, the command asks before it
    adds each missing file. It never changes a file that exists.
    """
    from buildpack.errors.app import not_a_folder
    from deployer.errors import files as errors
    from deployer.scaffold.layout import Wishes, plan_layout

    if os.path.exists(folder) and not os.path.isdir(folder):
        raise not_a_folder(str(folder))
    wishes = Wishes(
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        host=sys.platform == "linux",
        package=package,
        license_text=_license(folder) if license_name else None,
        environ=os.environ,
    )
    offers: dict[str, str] = {}
    layout = plan_layout(folder, wishes, accept=lambda place, package: bool(offers.setdefault(package, place)))
    wanted = [path for path in layout.paths if not (no_lock and path == "Pipfile.lock")]
    must_ask = not layout.fresh and not yes and bool(wanted)
    if must_ask and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise errors.must_ask(wanted)
    if not must_ask:
        _look_for_obstacles(folder, wanted)
    _announce(folder, layout, wanted)
    if must_ask and offers:
        taken = {package for package, place in offers.items() if _ask_for_import(place, package)}
        layout = plan_layout(folder, wishes, accept=lambda _, package: package in taken)
    for remark in layout.remarks:
        print_warning(remark)
    if must_ask:
        wanted = [path for path in wanted if click.confirm(harmless(f"Add {path}?"), default=True, err=True)]
        _look_for_obstacles(folder, wanted)
    _write(folder, layout, wanted)
    if "Pipfile.lock" in wanted and os.path.exists(folder / "Pipfile"):
        _lock(folder)
    _say_next(folder, layout)
    return 0


def _ask_for_import(place: str, package: str) -> bool:
    return click.confirm(harmless(f"{place} needs {package}. Put {package} into Pipfile?"), default=True, err=True)


def _announce(folder: Path, layout: Layout, wanted: list[str]) -> None:
    """Say what will happen, before the command asks or writes anything."""
    if not wanted:
        return
    fresh = f"deploy init creates an app in {folder}"
    lacks = f"deploy init adds the files that the app in {folder} lacks, and changes no existing file"
    print_line(fresh if layout.fresh else lacks)


def _license(folder: Path) -> str:
    from deployer.scaffold.layout import author_name
    from deployer.scaffold.templates import license_text
    from deployer.settings.environment import today

    there = next(place for place in (folder, *folder.absolute().parents) if os.path.isdir(place))
    return license_text(year=today().year, holder=author_name(there, os.environ))


def _look_for_obstacles(folder: Path, wanted: list[str]) -> None:
    """Raise UsageError if a file, or a link to nothing, is in the place of a folder that is needed."""
    from deployer.errors import files as errors

    for path in wanted:
        there = next(place for place in (folder / path).parents if os.path.exists(place) or os.path.islink(place))
        if not os.path.isdir(there):
            raise errors.in_the_way(str(there), path)


def _write(folder: Path, layout: Layout, wanted: list[str]) -> None:
    from deployer.errors import files as errors

    written = [path for path in wanted if path in layout.files]
    if not wanted:
        print_line(f"Nothing is missing in {folder}")
    for number, path in enumerate(written):
        place = folder / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("x", encoding="utf-8") as file:  # never overwrite a file that appeared in the meantime
                file.write(layout.files[path])
        except OSError as error:
            raise errors.not_written(str(place), error, written[:number]) from error
        print_line(f"  {path}")


def _lock(folder: Path) -> None:
    """Make Pipfile.lock with pipenv, after all other files; raises DependencyError if that fails."""
    from buildpack.errors import DependencyError
    from deployer.cli.lock import lock_app
    from deployer.errors import files as errors

    try:
        changes = lock_app(folder).changes
    except DependencyError as error:
        raise errors.not_locked(str(folder), error) from error
    print_line(f"  Pipfile.lock, with {plural(len(changes), 'package')}")


def _say_next(folder: Path, layout: Layout) -> None:
    app = operand_text(str(folder))
    lines = [f"deploy build{app} && deploy run{app}" if layout.fresh else f"deploy check{app}"]
    if os.path.exists(folder / "Pipfile") and not os.path.exists(folder / "Pipfile.lock"):
        lines.insert(0, f"deploy lock{app}")
    lines.append(f"deploy local{app} --dev --reload   while you write code")
    lines.append(f"deploy local{app} -- pytest        run its tests")
    print_line("\nNext: " + "\n      ".join(lines))
