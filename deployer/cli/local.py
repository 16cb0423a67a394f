"""`deploy local`: the Procfile's processes on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import options as shared
from deployer.cli.messages import harmless, print_warning
from deployer.cli.operands import Operands, OperandsCommand, command_of, split_operands

if TYPE_CHECKING:
    from buildpack.oci.store import Store

PORT = 5006
"""5000 is taken on Macs."""

EXAMPLES = """\b
Examples:
  deploy local --dev --reload          while writing: debugger and restarts
  deploy local blasto -- flask shell   one command, in the app's environment
"""


class LocalCommand(OperandsCommand):
    """A command line on which ``--venv`` takes a value only after an equals sign, and never an operand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write a bare ``--venv`` as one with an empty value."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, ["--venv=" if one == "--venv" else one for one in args[:end]] + args[end:])


@click.command("local", cls=LocalCommand, epilog=EXAMPLES)
@click.argument("operands", nargs=-1, metavar="[APP] [TYPE[=N]]...")
@shared.port(f"$PORT, also of .env, else {PORT}")
@shared.env
@shared.env_file
@shared.category
@click.option("--dev", is_flag=True, help="Serve web by its framework's development server.")
@click.option("--reload", is_flag=True, help="Start processes again when a file changes.")
@click.option("--venv", metavar="[=PATH]", help="Use an existing virtual environment: the active one, APP/.venv, PATH.")
@shared.process_options
@shared.verbose
@click.pass_context
def command(ctx: click.Context, /, operands: tuple[str, ...], **options: Any) -> int:
    """Run the Procfile's processes on this machine, with the packages of Pipfile.lock.

    APP is a folder (default: the current one). TYPE=N starts N processes of that type; without any, one of each but
    release and postdeploy, or what app.json says. CMD runs instead of them.

    Processes get the variables of -e, over this shell's, over --env-file, over the app's .env, over app.json's env.
    """
    meant = split_operands(operands, command=command_of(ctx), folder_exists=os.path.isdir)
    del options["verbose"]
    return run_local(meant, default_port=PORT, **options)


def run_local(
    meant: Operands,
    *,
    port: int | None,
    assignments: Sequence[str],
    env_files: Sequence[str],
    restart: str,
    stop_timeout: float,
    boot_timeout: float,
    health_host: str | None,
    log_format: str,
    default_port: int = 8000,
    host: str = "127.0.0.1",  # noqa: ARG001 - `deploy run` hands all its options on
    venv: str | None = None,
    dev: bool = False,
    reload: bool = False,
    quiet: bool = False,
    categories: Sequence[str] = (),
    name: str = "local",
) -> int:
    """Run an app's folder as processes; what `deploy run` does too where there is no engine.

    `host` is what an engine publishes on: here the processes listen where they like. `name` is the command's.
    """
    from datetime import date

    from deployer.cli.progress import Reporter
    from deployer.engines.local.run import Hears, LocalRequest, prepare
    from deployer.engines.local.run import run_local as run
    from deployer.errors.local import reference_given
    from deployer.settings.config import parse_health_host
    from deployer.settings.environment import parse_assignments

    if meant.reference is not None:
        raise reference_given(meant.reference)
    if meant.formation:
        from deployer.cli.run import _check_types

        _check_types(meant)
    request = LocalRequest(
        folder=meant.folder,
        shown=meant.shown,
        named=meant.formation,
        command=meant.command,
        given=parse_assignments(one for one in assignments if one not in os.environ),
        env_files=[Path(path) for path in env_files],
        port=port,
        default_port=default_port,
        venv=venv,
        dev=dev,
        reload=reload,
        restart=restart,
        stop_timeout=stop_timeout,
        boot_timeout=boot_timeout,
        health_host=parse_health_host(health_host),
        log_format=log_format,
        quiet=quiet,
        categories=tuple(categories),
        again=meant.again(name),
    )
    warn, say = (_say_nothing, _say_nothing) if quiet else (print_warning, _say)
    opened: list[Store] = []  # as long as the processes run, since their environment is in it

    def store() -> Store:
        opened.append(_open_store(warn))
        return opened[-1]

    with Reporter(quiet=quiet) as reporter:
        prepared = prepare(
            request,
            store=store,
            environ=os.environ,
            own=sys.executable,
            today=date.today(),  # noqa: DTZ011  end-of-life dates have no time zone
            hears=Hears(progress=reporter, say=say, warn=warn),
        )
    for each in opened:
        each.lease.survive_exec()
    return run(prepared, out=sys.stdout.buffer)


def _open_store(warn: Callable[[str], None]) -> Store:
    from buildpack.oci.store import Store, find_store

    root, warning = find_store(os.environ)
    if warning:
        warn(warning)
    return Store(root)


def _say(text: str) -> None:
    print(harmless(text), file=sys.stderr)


def _say_nothing(_text: str) -> None:
    """Keep quiet."""
