"""`deploy run`: builds an app and runs its image in the foreground, one container for each process."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import options as shared
from deployer.cli.messages import print_line, print_nothing, print_warning
from deployer.cli.operands import METAVAR, Operands, OperandsCommand, check_types, command_of, split_operands
from deployer.formation import PORT
from deployer.text import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployer.engines.docker.client import Engine

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
    from deployer.engines.docker.choice import choose_engine

    choice = choose_engine(options["engine"], os.environ)
    if options["engine"] == "auto" and not options["quiet"]:
        print(harmless(f"engine: {choice}"), file=sys.stderr)
    if choice.engine is None:
        return _run_locally(meant, options, why=choice.why)
    from deployer.interrupts import ending_promptly

    # A signal's exception may leave a lock of the connections taken. Closing them then waits for that lock for ever.
    with ending_promptly():
        try:
            return _run(choice.engine, meant, options)
        finally:
            choice.engine.close()


_BUILT = ("stack", "platform", "build_env", "categories")


def _check_built(ctx: click.Context, meant: Operands, options: Mapping[str, Any]) -> None:
    """Refuse options that say how to build if nothing is built."""
    names = {parameter.name: parameter.opts[-1] for parameter in ctx.command.params}
    if meant.reference is not None and options["build"]:
        raise click.UsageError(f"--build has nothing to build for the image {meant.reference}", ctx)
    if meant.reference is None and options["build"] is not False:
        return
    given = [names[name] for name in _BUILT if options[name]]
    if given:
        reason = f"{meant.reference} is an image" if meant.reference is not None else "--no-build is given"
        raise click.UsageError(f"{' and '.join(given)} cannot be used: {reason}, so nothing is built", ctx)


def _run(engine: Engine, meant: Operands, options: Mapping[str, Any]) -> int:
    from buildpack.session import open_store
    from deployer.cli.progress import Reporter
    from deployer.engines.docker.container import Limits
    from deployer.engines.docker.limits import parse_cpus, parse_host, parse_memory
    from deployer.engines.docker.run import Observing, Request, prepare, run_formation, run_one
    from deployer.engines.ports import read_port
    from deployer.settings.config import parse_health_host

    request = Request(
        folder=meant.folder,
        reference=meant.reference,
        named=meant.formation,
        command=meant.command,
        environment=_environment(meant, options),
        port=options["port"] or PORT,
        host=parse_host(options["host"]),
        limits=Limits(
            memory=parse_memory(options["memory"]) if options["memory"] else None,
            nano_cpus=parse_cpus(options["cpus"]) if options["cpus"] else None,
        ),
        confined=not options["privileged_defaults"],
        build=options["build"] is not False,
        options=shared.read_options(options, meant.folder),
        terminal=bool(meant.command) and sys.stdin.isatty() and sys.stdout.isatty(),
        boot_timeout=options["boot_timeout"],
        health_host=parse_health_host(options["health_host"]),
        stop_timeout=options["stop_timeout"],
        restart=options["restart"],
        log_format=options["log_format"],
        quiet=options["quiet"],
        again=meant.again("run"),
    )
    if not request.command:
        read_port(request.environment, PORT)  # before a build that would be in vain
    say, warn = (print_nothing, print_nothing) if request.quiet else (print_line, print_warning)
    store = open_store(os.environ, warn=print_warning)
    with Reporter(quiet=request.quiet) as reporter:
        hears = Observing(progress=reporter, say=say, warn=warn)
        image = prepare(engine, request, store=store, environ=os.environ, hears=hears)
    if request.command:
        return run_one(engine, request, image, warn=warn)
    return run_formation(engine, request, image, out=sys.stdout.buffer, environ=os.environ, say=print_line)


def _environment(meant: Operands, options: Mapping[str, Any]) -> dict[str, str]:
    """Return what -e says over --env-file over the app's .env over its app.json; nothing of this process's own."""
    from deployer.settings.app_variables import default_variables
    from deployer.settings.environment import merge_environment, pass_on, read_env_files

    warn, say = (print_nothing, print_nothing) if options["quiet"] else (print_warning, print_line)
    of_app = meant.reference is None
    files = read_env_files(options["env_files"], app=meant.folder if of_app else None, own=of_app, environ={})
    told = merge_environment(
        given=pass_on(options["assignments"], os.environ, warn=warn),
        environ={},
        files=files,
        defaults={},
    )
    if meant.reference is not None:
        return told
    defaults = default_variables(meant.folder, given={name for name in told if told[name]}, environ=os.environ)
    defaults.tell(say=say, warn=warn, insist=not meant.command)
    return defaults.below(told)


def _run_locally(meant: Operands, options: Mapping[str, Any], *, why: str) -> int:
    from deployer.errors.engines import local_cannot

    asked = [f"the image {meant.reference}"] if meant.reference is not None else []
    needing = ("memory", "cpus", "privileged_defaults", "stack", "platform", "build_env")
    asked += [f"--{name.replace('_', '-')}" for name in needing if options[name]]
    if asked:
        raise local_cannot(asked, why)
    from deployer.cli.local_run import run_here

    return run_here(meant, options, default_port=PORT, command="run")
