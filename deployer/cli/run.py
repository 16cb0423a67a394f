"""`deploy run`: builds an app and runs its image in the foreground, one container for each process."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import options as shared
from deployer.cli.operands import METAVAR, Operands, OperandsCommand, check_types, command_of, split_operands
from deployer.cli.running import run_on
from deployer.formation import PORT
from deployer.text import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES = """\b
Examples:
  deploy run blasto web=2 -p 9000    two web processes, on 9000 and 9001
  deploy run blasto -- flask shell   one command in the app's image
"""


@click.command("run", cls=OperandsCommand, epilog=EXAMPLES)
@shared.operands(METAVAR)
@shared.port(str(PORT))
@shared.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    heading=shared.PROCESS,
    help="Publish ports on this address of this machine.",
)
@shared.env
@shared.env_file
@shared.engine
@shared.option(
    "--build/--no-build", "build", default=None, help="Build the image first (default), or run the one that exists."
)
@shared.memory
@shared.cpus
@shared.option(
    "--privileged-defaults",
    is_flag=True,
    heading=shared.PROCESS,
    help="Keep the engine's default privileges, and set no limit on the number of processes.",
)
@shared.build_options
@shared.process_options
@shared.verbose
@click.pass_context
def command(ctx: click.Context, /, operands: tuple[str, ...], **options: Any) -> int:
    """Build an app and run its image in the foreground, one container for each process.

    APP is a folder (default: the current one). REF is an image with its tag, which runs without a build. TYPE=N starts
    N processes of a type of the Procfile. By default one process of each type starts, except release and postdeploy,
    or as many as app.json says. CMD runs instead of these processes, with this terminal.

    A variable comes from -e, else --env-file, else the app's .env, else app.json; this shell's variables are not used.
    Inside its container web listens on PORT (8000); -p is the port on this machine.
    """
    meant = split_operands(operands, command=command_of(ctx), folder_exists=os.path.isdir)
    _check_built(ctx, meant, options)
    check_types(meant)
    from deployer.engines.choice import choose_engine, engine_text
    from deployer.interrupts import ending_promptly

    engine = choose_engine(options["engine"], os.environ)
    if options["engine"] == "auto" and not options["quiet"]:
        print(harmless(f"engine: {engine_text(engine)}"), file=sys.stderr)
    # A signal's exception may leave a lock of the connections taken, and closing them would wait for it for ever.
    with ending_promptly():
        try:
            image = [f"the image {meant.reference}"] if meant.reference is not None else []
            engine.require([*image, *(f"--{name.replace('_', '-')}" for name in _OF_CONTAINERS if options[name])])
            return run_on(engine, meant, options, command="run", default_port=PORT)
        finally:
            engine.close()


_OF_CONTAINERS = ("memory", "cpus", "privileged_defaults", "stack", "platform", "build_env")
_BUILT = ("stack", "platform", "build_env", "categories")


def _check_built(ctx: click.Context, meant: Operands, options: Mapping[str, Any]) -> None:
    """Raise UsageError for options of a build if nothing is built."""
    names = {parameter.name: parameter.opts[-1] for parameter in ctx.command.params}
    if meant.reference is not None and options["build"]:
        raise click.UsageError(f"--build cannot build the image {meant.reference}; name a folder", ctx)
    if meant.reference is None and options["build"] is not False:
        return
    given = [names[name] for name in _BUILT if options[name]]
    if given:
        reason = f"{meant.reference} is an image" if meant.reference is not None else "--no-build is given"
        raise click.UsageError(f"{' and '.join(given)} cannot be used: {reason}, so nothing is built", ctx)
