"""`deploy run` and `deploy local`: run an app's processes in the foreground, in containers or on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import options as shared
from deployer.cli.messages import print_line, print_nothing, print_warning
from deployer.cli.operands import METAVAR, Operands, OperandsCommand, check_types, command_of, split_operands
from deployer.cli.suggestions import suggest_folders
from deployer.formation import LOCAL_PORT, PORT
from deployer.text import harmless

if TYPE_CHECKING:
    from deployer.engines.engine import Engine

EXAMPLES = """\b
Examples:
  deploy run blasto web=2 -p 9000    two web processes, on 9000 and 9001
  deploy run blasto -- flask shell   one command in the app's image
"""

LOCAL_EXAMPLES = """\b
Examples:
  deploy local --dev --reload          while you write code
  deploy local blasto -- flask shell   one command in the app's environment
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
@shared.stack
@shared.platform
@shared.build_env
@shared.category
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
    from deployer.engines.choice import choose_engine
    from deployer.interrupts import ending_promptly

    engine = choose_engine(options["engine"], os.environ)
    if options["engine"] == "auto" and not options["quiet"]:
        print(harmless(f"engine: {engine.name} ({engine.why})"), file=sys.stderr)
    # A signal's exception may leave a lock of the connections taken, and closing them would wait for it for ever.
    with ending_promptly():
        try:
            image = [f"the image {meant.reference}"] if meant.reference is not None else []
            engine.require([*image, *(f"--{name.replace('_', '-')}" for name in _OF_CONTAINERS if options[name])])
            return _run_on(engine, meant, options, command="run", default_port=PORT)
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


class LocalCommand(OperandsCommand):
    """A command whose ``--venv`` takes a value only after an equals sign, and never an operand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give a bare ``--venv`` an empty value."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, ["--venv=" if one == "--venv" else one for one in args[:end]] + args[end:])


@click.command("local", cls=LocalCommand, epilog=LOCAL_EXAMPLES)
@shared.operands("[APP] [TYPE[=N]]...")
@shared.port(f"$PORT, or {LOCAL_PORT}")
@shared.env
@shared.env_file
@shared.category
@shared.option("--dev", is_flag=True, help="Run web with its framework's development server.")
@shared.option("--reload", is_flag=True, help="Restart processes when a file changes.")
@shared.option(
    "--venv",
    metavar="[=PATH]",
    shell_complete=suggest_folders,
    help="Use a virtual environment that exists: PATH, else the active one, else APP/.venv.",
)
@shared.process_options
@shared.verbose
@click.pass_context
def local(ctx: click.Context, /, operands: tuple[str, ...], **options: Any) -> int:
    """Run an app's processes on this machine, with the packages of Pipfile.lock.

    APP is a folder (default: the current one). TYPE=N starts N processes of a type of the Procfile. By default one
    process of each type starts, except release and postdeploy, or as many as app.json says. CMD runs instead of these
    processes.

    A variable comes from -e, else this shell, else --env-file, else the app's .env, else app.json.
    """
    meant = split_operands(operands, command=command_of(ctx), folder_exists=os.path.isdir)
    check_types(meant)
    from deployer.engines.local.engine import LocalEngine

    return _run_on(LocalEngine(why="deploy local"), meant, options, command="local", default_port=LOCAL_PORT)


def _run_on(engine: Engine, meant: Operands, options: Mapping[str, Any], *, command: str, default_port: int) -> int:
    """Get the app or image ready on an engine, and run it until it ends; return the exit code.

    `options` are the parsed ones of `command`, which has those that its engine understands.
    """
    from buildpack.session import open_store
    from deployer.cli.progress import Reporter
    from deployer.engines.engine import Listener, Request
    from deployer.engines.foreground import run_app
    from deployer.engines.ports import parse_host
    from deployer.formation import parse_limits
    from deployer.settings.environment import parse_health_host

    request = Request(
        folder=meant.folder,
        shown=meant.shown,
        reference=meant.reference,
        named=meant.formation,
        command=meant.command,
        assignments=options["assignments"],
        env_files=[Path(path) for path in options["env_files"]],
        port=options["port"],
        default_port=default_port,
        options=shared.read_options(options, meant.folder),
        stop_timeout=options["stop_timeout"],
        boot_timeout=options["boot_timeout"],
        health_host=parse_health_host(options["health_host"]),
        restart=options["restart"],
        log_format=options["log_format"],
        quiet=options["quiet"],
        again=meant.again(command),
        host=parse_host(options.get("host", "localhost")),
        limits=parse_limits(options.get("memory") or "", options.get("cpus") or ""),
        confined=not options.get("privileged_defaults"),
        build=options.get("build") is not False,
        terminal=bool(meant.command) and sys.stdin.isatty() and sys.stdout.isatty(),
        venv=options.get("venv"),
        dev=options.get("dev", False),
        reload=options.get("reload", False),
    )
    warn, say = (print_nothing, print_nothing) if request.quiet else (print_warning, print_line)
    store = cache(lambda: open_store(os.environ, warn=warn))
    with Reporter(quiet=request.quiet) as reporter:
        listener = Listener(progress=reporter, say=say, warn=warn)
        app = engine.offer(request, store=store, environ=os.environ, listener=listener)
    if request.command:
        return app.attach()
    return run_app(app, request, out=sys.stdout.buffer, environ=os.environ)
