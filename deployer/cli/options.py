"""The arguments and options that commands share, each declared once, and how help lists them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deployer.cli.suggestions import (
    suggest_categories,
    suggest_files,
    suggest_folders,
    suggest_images,
    suggest_operands,
    suggest_stacks,
    suggest_words,
)

if TYPE_CHECKING:
    from buildpack.options import Options

_DAY = 86400
_MANY = 8
"""A command with more options than this lists them under headings."""

BUILD, OUTPUT, PROCESS, TRIAL = "Build options", "Output options", "Process options", "Test and boot options"
_HEADINGS = ("Options", TRIAL, PROCESS, BUILD, OUTPUT)

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


class Option(click.Option):
    """An option that is listed under a heading."""

    def __init__(self, *names: Any, heading: str = "Options", **attributes: Any) -> None:
        super().__init__(*names, **attributes)
        self.heading = heading

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Leave out the range of numbers: an error names it."""
        return {name: text for name, text in super().get_help_extra(ctx).items() if name != "range"}


class Command(click.Command):
    """A command whose help lists many options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, in columns that are equal under all headings."""
        listed = [(each, each.get_help_record(ctx)) for each in self.get_params(ctx) if isinstance(each, click.Option)]
        options = [(each, record) for each, record in listed if record is not None]
        width = max(len(name) for _, (name, _) in options if len(name) <= _WIDEST)
        last = next((OUTPUT for each, _ in options if getattr(each, "heading", "") == OUTPUT), "Options")
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in _HEADINGS}
        for each, (name, text) in options:
            heading = getattr(each, "heading", last) if len(options) > _MANY else "Options"
            sections[heading].append((f"{name:<{width}}", text))
        for heading, rows in sections.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows, col_max=_WIDEST)


_WIDEST = 28
"""Characters of an option and its value, beside which the text begins."""


def option(*names: str, **attributes: Any) -> Callable[[_Decorated], _Decorated]:
    """Declare an option, as `click.option` does; `heading` is where a long help text lists it."""
    return click.option(*names, cls=Option, **attributes)


class Folder(click.Path):
    """A folder that need not exist, as a path. Refuses an empty operand, which a shell makes of an unset variable."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; raises UsageError."""
        return super().convert(_refuse_empty(ctx, param, value), param, ctx)


def _refuse_empty(_ctx: click.Context | None, _parameter: click.Parameter | None, operand: Any) -> Any:
    if operand == "":
        from deployer.errors.commands import operand_empty

        raise operand_empty()
    return operand


class Seconds(click.FloatRange):
    """A time of at most a day. Refuses ``nan``, which Python accepts as a number and no clock as a time."""

    def __init__(self) -> None:
        super().__init__(0, _DAY)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the seconds; raises click's BadParameter."""
        seconds = super().convert(value, param, ctx)
        return self.fail(f"{value} is not a number.", param, ctx) if math.isnan(seconds) else seconds


_repeated = partial(option, multiple=True)
_flag = partial(option, is_flag=True)
_files = partial(_repeated, metavar="FILE", shell_complete=suggest_files)
_seconds = partial(option, type=Seconds(), show_default=True, metavar="SECONDS", heading=PROCESS)


def folder(name: str, **attributes: Any) -> Callable[[_Decorated], _Decorated]:
    """Return an argument that is a folder, which need not exist."""
    return click.argument(name, type=Folder(), shell_complete=suggest_folders, **attributes)


def app_or_image(name: str) -> Callable[[_Decorated], _Decorated]:
    """Return an argument that is an app's folder or an image, with the current folder as its default."""
    return click.argument(name, default=".", metavar="[APP|REF]", callback=_refuse_empty, shell_complete=suggest_images)


def operands(metavar: str) -> Callable[[_Decorated], _Decorated]:
    """Return the arguments that `deployer.cli.operands` splits."""
    return click.argument("operands", nargs=-1, metavar=metavar, shell_complete=suggest_operands)


app = folder("app", default=".")
app_option = option(
    "--app",
    metavar="APP",
    default=".",
    type=Folder(),
    shell_complete=suggest_folders,
    help="Use the app in this folder.  [default: the current one]",
)

# Sources and settings of an image

tag = _repeated("-t", "--tag", "references", metavar="REF", help="Name the image (repeatable).")
stack = option(
    "--stack",
    metavar="STACK",
    heading=BUILD,
    shell_complete=suggest_stacks,
    help="Build on this: host, python:X.Y-slim or another image, oci:DIR, archive:FILE.",
)
_platforms = suggest_words(("linux/amd64", ""), ("linux/arm64", ""))
_platform = partial(option, "--platform", heading=BUILD, shell_complete=_platforms)
platform = _platform(metavar="OS/ARCH", help="Choose the platform: linux/amd64 or linux/arm64.")
platforms = _platform(metavar="OS/ARCH,...", help="Build for this platform, or for several at once.")
destinations = _repeated(
    "--to",
    "destinations",
    metavar="DEST",
    shell_complete=suggest_words(
        ("docker", "the engine"), ("registry", "its registry"), ("oci:", "a layout"), ("archive:", "a file")
    ),
    help="Also send the image to docker, registry, oci:DIR or archive:FILE (repeatable).",
)
build_env = _repeated(
    "--build-env",
    metavar="NAME[=VALUE]",
    heading=BUILD,
    help="Set a variable for hooks and package builds, or pass on one of this shell.",
)
_build_env_file = partial(_files, heading=BUILD, help="Read variables for hooks and package builds from a file.")
build_env_file = _build_env_file("--env-file", "build_env_files")
ci_build_env_file = _build_env_file("--build-env-file", "build_env_files")
image_format = option(
    "--format",
    "format_",
    type=click.Choice(["oci", "docker"]),
    heading=BUILD,
    help="Write the image's manifest in this format.",
)
label = _repeated("--label", "labels", metavar="NAME=VALUE", heading=BUILD, help="Add a label to the image.")
category = _repeated(
    "--category",
    "categories",
    metavar="NAME",
    heading=BUILD,
    shell_complete=suggest_categories,
    help="Also install this category of Pipfile.lock, such as develop.",
)
cache_from = _repeated("--cache-from", metavar="REF", heading=BUILD, help="Also reuse unchanged layers of this image.")
no_cache = _flag("--no-cache", heading=BUILD, help="Reuse nothing from earlier builds.")
strict = _flag("--strict", heading=BUILD, help="Treat warnings as errors.")
no_sbom = _flag("--no-sbom", help="Push the image without its bill of materials.")
remote = _flag("--remote", help="Look for the image in the registry, not in the store.")

# The environment of processes

env = _repeated(
    "-e",
    "--env",
    "assignments",
    metavar="NAME[=VALUE]",
    heading=PROCESS,
    help="Set a variable for the processes, or pass on one of this shell.",
)
env_file = _files("--env-file", "env_files", heading=PROCESS, help="Read variables for the processes from a file.")
memory = option("--memory", metavar="SIZE", heading=PROCESS, help="Limit each process's memory, to 512m for example.")
cpus = option("--cpus", metavar="N", heading=PROCESS, help="Limit each process's processors, to 0.5 for example.")
engine = option(
    "--engine",
    type=click.Choice(["auto", "docker", "local"]),
    default="auto",
    show_default=True,
    help="Run the app in containers (docker, Podman too) or as processes of this machine (local).",
)
health_host = option(
    "--health-host",
    metavar="HOST",
    heading=PROCESS,
    help="Check web under this host name.  [default: from app.json or ALLOWED_HOSTS]",
)
boot_timeout = _seconds("--boot-timeout", default=60, help="Wait this long for web's first answer (seconds).")

# Output

_printed = partial(_flag, heading=OUTPUT)
as_json = _printed("--json", "as_json", help="Print the result as JSON.")
verbose = _printed("-v", "--verbose", help="Show all output of a failed package build.")
"""Only `deployer.cli.hints` reads it, after a command has failed."""
pipenv_verbose = _printed("-v", "--verbose", help="Show pipenv's output.")
quiet = _printed("-q", "--quiet", help="Print only the digest, warnings and errors.")


def port(default: str) -> Callable[[_Decorated], _Decorated]:
    """Return the option for the port of web.1; the help names `default`."""
    return option(
        "-p",
        "--port",
        type=click.IntRange(1, 65535),
        metavar="PORT",
        heading=PROCESS,
        help=f"Use this port for web.1, and the next ones for web.2 and so on.  [default: {default}]",
    )


def together(*options: Callable[[_Decorated], _Decorated]) -> Callable[[_Decorated], _Decorated]:
    """Return a decorator that adds several options or arguments, in this order."""

    def decorate(command: _Decorated) -> _Decorated:
        for each in reversed(options):
            command = each(command)
        return command

    return decorate


process_options = together(
    option(
        "--restart",
        type=click.Choice(["no", "on-failure", "always"]),
        metavar="WHEN",
        default="no",
        show_default=True,
        heading=PROCESS,
        help="Start ended processes again: no, on-failure or always.",
    ),
    _seconds("--stop-timeout", default=25, help="Wait this long between TERM and KILL (seconds)."),
    boot_timeout,
    health_host,
    option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        heading=OUTPUT,
        help="Print log lines as text or as JSON.",
    ),
    _printed("-q", "--quiet", help="Print only errors and what the processes print."),
)
"""The options that say how processes start, stop and print."""


def read_options(given: Mapping[str, Any], folder: Path) -> Options:
    """Return the options of a build that a command was given; those that it does not have keep their defaults."""
    from buildpack.options import Options
    from deployer.settings.environment import parse_build_env, parse_epoch, parse_labels

    files = given.get("build_env_files", ())
    return Options(
        **{name: given[name] for name in _AS_THEY_ARE if name in given},
        format=given.get("format_"),
        labels=parse_labels(given.get("labels", ())),
        build_env=parse_build_env(given.get("build_env", ()), os.environ, folder=folder, files=files),
        epoch=parse_epoch(os.environ),
    )


_AS_THEY_ARE = ("references", "stack", "platform", "no_cache", "pull", "categories", "cache_from", "strict")
