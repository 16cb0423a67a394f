"""`deploy export`: writes files with which systemd or compose start an app."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from buildpack.dataclass import dataclass
from deployer.cli import options as shared
from deployer.cli.messages import print_line, print_warning
from deployer.cli.operands import split_operands
from deployer.cli.suggestions import suggest_folders
from deployer.formation import PORT
from deployer.text import harmless

if TYPE_CHECKING:
    from buildpack.app.read import App
    from deployer.export.files import ExportedFile
    from deployer.formation import Formation

EXAMPLES = """\b
Examples:
  deploy export systemd -o ~/.config/systemd/user   units for this user
  deploy export compose blasto web=2 -o -           print a compose file
"""

SYSTEMD_EXAMPLES = """\b
Examples:
  deploy export systemd -o ~/.config/systemd/user   for systemctl --user
  deploy export systemd blasto web=2 --user www -o /etc/systemd/system
"""

COMPOSE_EXAMPLES = """\b
Examples:
  deploy export compose                            write ./compose.yaml
  deploy export compose web=2 --image blasto:1.0   two web processes
"""


@click.group("export", epilog=EXAMPLES)
def command() -> None:
    """Write systemd units or a compose file that start an app."""


_shared = shared.together(
    shared.operands("[APP] [TYPE[=N]]..."),
    shared.option(
        "-o",
        "--output",
        default=".",
        show_default=True,
        metavar="DIR",
        shell_complete=suggest_folders,
        help="Write the files to this folder, or with - to standard output.",
    ),
    shared.port(f"$PORT, or {PORT}"),
    shared.env,
    shared.env_file,
    shared.memory,
    shared.cpus,
    shared.option("--force", is_flag=True, help="Replace files that deploy did not write."),
)


@command.command("systemd", cls=shared.Command, epilog=SYSTEMD_EXAMPLES)
@_shared
@shared.option(
    "--venv",
    metavar="DIR",
    shell_complete=suggest_folders,
    help="Run the app in this virtual environment.  [default: APP/.venv]",
)
@shared.option("--user", metavar="NAME", help="Write system units that run as this user.")
def systemd(operands: tuple[str, ...], venv: str | None, user: str | None, **options: Any) -> int:
    """Write systemd units that run an app from its folder: a target, and a service for each process.

    APP is a folder (default: the current one), and TYPE=N says how many processes of a type to start. Without --user
    the units are for `systemctl --user`. The variables of app.json, .env, --env-file and -e are written to NAME.env,
    which only its owner can read.
    """
    from deployer.export.systemd import render_systemd, render_variables, unit_name

    asked = _read(operands, options)
    app, name = asked.formation, unit_name(asked.formation.name)
    environment = Path(venv).absolute() if venv else app.folder / ".venv"
    variables = [render_variables(app, environment)] if app.variables else []
    place = Path.cwd() if options["output"] == "-" else Path(options["output"]).absolute()
    units = render_systemd(
        app, venv=environment, user=user, variables_file=place / variables[0].name if variables else None
    )
    written = _write([*units, *variables], options)
    if written is None:
        return 0
    from deployer.export.files import find_leftovers

    for path in find_leftovers(units, place, name):
        print_warning(f"{path} is of an earlier export, and not part of the formation any more; remove it.")
    if not os.path.isdir(environment / "bin"):
        made = "the units need it" if venv else f"in {app.folder} make it with `PIPENV_VENV_IN_PROJECT=1 pipenv sync`"
        print_warning(f"{environment} does not exist yet; {made}.")
    print_line(f"\nNext: {_start(name, place, user=user)}")
    return 0


def _start(name: str, place: Path, *, user: str | None) -> str:
    """Return the commands that make systemd read the units and start them; they work for units in any folder."""
    systemctl = "systemctl" if user else "systemctl --user"
    unit = shlex.quote(str(place / name))
    looked_for = place.parts[-2:] in {("systemd", "user"), ("systemd", "system")}
    known = "daemon-reload" if looked_for else f"link {unit}.target {unit}-*.*"
    return f"{systemctl} {known} && {systemctl} enable --now {name}.target"


@command.command("compose", cls=shared.Command, epilog=COMPOSE_EXAMPLES)
@_shared
@shared.option("--image", metavar="REF", help="Run this image.  [default: the one that deploy build names]")
def compose(operands: tuple[str, ...], image: str | None, **options: Any) -> int:
    """Write a compose file that runs an app's image, with a service for each process type.

    APP is a folder (default: the current one), and TYPE=N says how many processes of a type to start. The file refers
    to .env and --env-file. It contains the variables of -e, and those that only app.json has.
    """
    from buildpack.oci.reference import parse_reference
    from deployer.export.compose import render_compose

    if image is not None:
        parse_reference(image)
    asked = _read(operands, options)
    place = None if options["output"] == "-" else options["output"]
    paths = [os.path.relpath(path, place or ".") for path in asked.env_files]
    for path in asked.env_files:
        _warn_of_variables(path)
    named = image or f"{asked.formation.name}:latest"
    files = render_compose(
        asked.given, image=named, env_files=[path if path[:1] in {"/", "."} else f"./{path}" for path in paths]
    )
    if _write(files, options) is None:
        return 0
    build = (
        "" if image else f"deploy build {'' if asked.app is None else shlex.quote(str(asked.app)) + ' '}--to docker && "
    )
    where = "" if place == "." else f" -f {shlex.quote(str(Path(str(place)) / files[0].name))}"
    print_line(f"\nNext: {build}docker compose{where} up -d")
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The operands and options of both exports; `given` has the variables of app.json and the command line only."""

    app: Path | None
    formation: Formation
    given: Formation
    env_files: Sequence[Path]


def _read(operands: Sequence[str], options: Mapping[str, Any]) -> _Asked:
    from dataclasses import replace

    from deployer.engines.ports import ports_of_web, read_port
    from deployer.errors.files import image_operand
    from deployer.formation import Formation, export_formation, parse_limits
    from deployer.settings.app_variables import default_variables
    from deployer.settings.environment import merge_environment, pass_on, read_env_files

    meant = split_operands(operands, folder_exists=os.path.isdir)
    if meant.reference is not None:
        raise image_operand(meant.reference)
    given = pass_on(options["assignments"], os.environ, warn=print_warning)
    app = _read_app(meant.folder)
    processes = {process.name: process.command for process in app.processes}
    counts = export_formation(meant.formation, processes=list(processes), formation=app.formation, where=meant.shown)
    env_files = [Path(path) for path in options["env_files"]]
    read = read_env_files(env_files, app=meant.folder, own=True, environ={})
    if len(read) > len(env_files):
        env_files.insert(0, meant.folder / ".env")
    variables = merge_environment(given=given, environ={}, files=read, defaults={})
    # The files are not a place to keep a secret, so none is made.
    defaults = default_variables(meant.folder, given=variables, environ=None)
    defaults.tell(say=print_line, warn=print_warning, insist=False)
    # In compose, a variable that the file itself sets wins over a file of variables.
    given = {**{name: value for name, value in defaults.values.items() if not variables.get(name)}, **given}
    variables = defaults.below(variables)
    port = options["port"] or read_port(variables, PORT)
    ports_of_web(port, counts.get("web", 0))
    formation = Formation(
        name=app.settings.name.value,
        folder=meant.folder.absolute(),
        processes=processes,
        counts=counts,
        port=port,
        variables=_without_own(variables),
        app_object=app.app_object.target if app.app_object else None,
        limits=parse_limits(options["memory"] or "", options["cpus"] or ""),
    )
    only_given = replace(formation, variables=_without_own(given))
    return _Asked(app=meant.app, formation=formation, given=only_given, env_files=env_files)


def _read_app(folder: Path) -> App:
    from buildpack.app.read import read_app
    from buildpack.options import OwnPython
    from buildpack.stacks.find_python import usable_versions
    from deployer.settings.environment import today

    read = read_app(
        folder,
        environ=os.environ,
        today=today(),
        own_python=OwnPython().version,
        installed=lambda: usable_versions(environ=os.environ, own=sys.executable),
    )
    for text in read.warnings:
        print_warning(text)
    return read


def _without_own(variables: Mapping[str, str]) -> dict[str, str]:
    """Leave out the variables that differ in each process."""
    return {name: value for name, value in variables.items() if name not in {"PORT", "PS", "DYNO"}}


def _warn_of_variables(path: Path) -> None:
    from deployer.export.compose import unlike_elsewhere

    line = unlike_elsewhere(path.read_text(encoding="utf-8-sig"))
    if line is not None:
        print_warning(
            f"{path}:{line}: releases of compose read quotes, escapes, `$` and `#` in different ways; "
            "check the values with `docker compose config`."
        )


def _write(files: Sequence[ExportedFile], options: Mapping[str, Any]) -> list[Path] | None:
    """Write the files, print their paths and return them; None if they went to standard output."""
    from deployer.export.files import write_files

    if options["output"] == "-":
        text = "\n".join(file.content for file in files)
        print(harmless(text) if sys.stdout.isatty() else text, end="")
        return None
    paths = write_files(files, Path(options["output"]), force=options["force"])
    for path in paths:
        print_line(f"  wrote  {path}")
    return paths
