"""The arguments and options that commands share. Each is declared once: spelling, type, help and suggestions."""

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
    suggest_destinations,
    suggest_files,
    suggest_folders,
    suggest_images,
    suggest_operands,
    suggest_platforms,
    suggest_stacks,
)

if TYPE_CHECKING:
    from buildpack.options import Options

_DAY = 86400

_Command = TypeVar("_Command", bound=Callable[..., object])


class Folder(click.Path):
    """A folder that need not exist, as a path. An empty word is wrong usage: shells make it of an unset variable."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; raises UsageError."""
        return super().convert(_refuse_empty(ctx, param, value), param, ctx)


def _refuse_empty(_ctx: click.Context | None, _parameter: click.Parameter | None, operand: Any) -> Any:
    """Return an operand that is not empty; raises UsageError."""
    if operand == "":
        from deployer.errors.commands import operand_empty

        raise operand_empty()
    return operand


class Seconds(click.FloatRange):
    """A time of at most a day. Python takes ``nan`` and ``inf`` for numbers, and no clock takes them for times."""

    def __init__(self) -> None:
        super().__init__(0, _DAY)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is not a number, and what compares with none."""
        seconds = super().convert(value, param, ctx)
        return self.fail(f"{value} is not a number.", param, ctx) if math.isnan(seconds) else seconds


def _seconds(name: str, default: float, *, help: str) -> Callable[[_Command], _Command]:  # noqa: A002  click's word
    return click.option(name, type=Seconds(), default=default, show_default=True, metavar="S", help=help)


def _repeated(*names: str, **attributes: Any) -> Callable[[_Command], _Command]:
    return click.option(*names, multiple=True, **attributes)


_files = partial(_repeated, metavar="FILE", shell_complete=suggest_files)
_flag = partial(click.option, is_flag=True)


def folder(name: str, **attributes: Any) -> Callable[[_Command], _Command]:
    """Return an argument that is a folder, which need not exist."""
    return click.argument(name, type=Folder(), shell_complete=suggest_folders, **attributes)


def app_or_image(name: str) -> Callable[[_Command], _Command]:
    """Return an argument that is an app's folder or an image, with the current folder as its default."""
    return click.argument(name, default=".", metavar="[APP|REF]", callback=_refuse_empty, shell_complete=suggest_images)


def operands(metavar: str) -> Callable[[_Command], _Command]:
    """Return the arguments that `deployer.cli.operands` splits."""
    return click.argument("operands", nargs=-1, metavar=metavar, shell_complete=suggest_operands)


app = folder("app", default=".")
app_option = click.option(
    "--app",
    metavar="APP",
    default=".",
    type=Folder(),
    shell_complete=suggest_folders,
    help="Choose another folder than this.",
)

# What an image is built from

tag = _repeated("-t", "--tag", "references", metavar="REF", help="Name the image; may be repeated.")
stack = click.option(
    "--stack",
    metavar="S",
    shell_complete=suggest_stacks,
    help="host, python:X.Y-slim or another reference, oci:DIR, archive:FILE.",
)
_platform = partial(click.option, "--platform", shell_complete=suggest_platforms)
platform = _platform(metavar="OS/ARCH", help="Choose this platform: linux/amd64, linux/arm64.")
platforms = _platform(metavar="OS/ARCH,...", help="Build for this platform, or these: an index of several.")
destinations = _repeated(
    "--to",
    "destinations",
    metavar="DEST",
    shell_complete=suggest_destinations,
    help="Send it on: docker, registry, oci:DIR, ...",
)
build_env = _repeated("--build-env", metavar="K[=V]", help="Set a variable for hooks and package builds.")
_build_env_file = partial(_files, help="Read variables for the build from a file.")
build_env_file = _build_env_file("--env-file", "build_env_files")
ci_build_env_file = _build_env_file("--build-env-file", "build_env_files")
image_format = click.option(
    "--format", "format_", type=click.Choice(["oci", "docker"]), help="Write the manifest in this format."
)
label = _repeated("--label", "labels", metavar="K=V", help="Add a label to the image.")
category = _repeated(
    "--category",
    "categories",
    metavar="NAME",
    shell_complete=suggest_categories,
    help="Install this category of the lock as well: develop.",
)
cache_from = _repeated("--cache-from", metavar="REF", help="Take unchanged layers from this image, too.")
no_cache = _flag("--no-cache", help="Trust nothing that earlier builds left.")
strict = _flag("--strict", help="Treat warnings as errors.")
no_sbom = _flag("--no-sbom", help="Attach no bill of materials to what is pushed.")
remote = _flag("--remote", help="Ask the registry, whatever is in the store.")

# What a process finds

env = _repeated("-e", "--env", "assignments", metavar="K[=V]", help="Set a variable, or pass ours on.")
env_file = _files("--env-file", "env_files", help="Read variables from a file, after .env.")
service_env = _repeated(
    "--service-env", metavar="K[=V]", help="Set a variable for tests and release alone: where a service is."
)
service = _repeated(
    "--service", "service_images", metavar="ADDON=IMAGE", help="Start this add-on of app.json's tests from this image."
)
memory = click.option("--memory", metavar="M", help="Limit each process's memory: 512m, 1.5g.")
cpus = click.option("--cpus", metavar="N", help="Limit each process's processors: 2, 0.5.")
engine = click.option(
    "--engine", type=click.Choice(["auto", "docker", "local"]), default="auto", help="Choose what runs it."
)
health_host = click.option("--health-host", metavar="HOST", help="Ask web as this host.  [app.json, ALLOWED_HOSTS]")
boot_timeout = _seconds("--boot-timeout", 60.0, help="Wait this long for the first answer.")

# What is printed

as_json = _flag("--json", "as_json", help="Print one JSON object on standard output.")
verbose = _flag("-v", "--verbose", help="Show all output of a failed package build.")
"""Nothing reads it but `deployer.cli.hints`, once a command has failed."""
pipenv_verbose = _flag("-v", "--verbose", help="Show pipenv's own output.")
quiet = _flag("-q", "--quiet", help="Print the digest, warnings and errors only.")


def port(default: str) -> Callable[[_Command], _Command]:
    """Return the option for the port of web.1; the help says what `default` says."""
    return click.option(
        "-p",
        "--port",
        type=click.IntRange(1, 65535),
        metavar="PORT",
        help=f"Port for web.1 on this machine.  [{default}]",
    )


def build_options(command: _Command) -> _Command:
    """Add the options that say what an image is built from, one platform's, at this place of a command's help."""
    return _apply(command, (stack, platform, build_env, category))


def process_options(command: _Command) -> _Command:
    """Add the options that say how processes start, stop and print, at this place of a command's help."""
    options = (
        click.option(
            "--restart",
            type=click.Choice(["no", "on-failure", "always"]),
            default="no",
            show_default=True,
            help="Start one that ended again.",
        ),
        _seconds("--stop-timeout", 25.0, help="Wait this long between TERM and KILL."),
        boot_timeout,
        health_host,
        click.option(
            "--log-format",
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            help="Choose how lines look.",
        ),
        _flag("-q", "--quiet", help="Print what the processes print, and errors."),
    )
    return _apply(command, options)


def read_options(given: Mapping[str, Any], folder: Path) -> Options:
    """Return the options of a build that a command was given; those that it does not have keep their defaults."""
    from buildpack.options import Options
    from deployer.settings.config import parse_build_env, parse_epoch, parse_labels

    files = given.get("build_env_files", ())
    return Options(
        **{name: given[name] for name in _AS_THEY_ARE if name in given},
        format=given.get("format_"),
        labels=parse_labels(given.get("labels", ())),
        build_env=parse_build_env(given["build_env"], os.environ, folder=folder, files=files),
        epoch=parse_epoch(os.environ),
    )


_AS_THEY_ARE = ("references", "stack", "platform", "no_cache", "pull", "categories", "cache_from", "strict")


def _apply(command: _Command, options: tuple[Callable[[_Command], _Command], ...]) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command
