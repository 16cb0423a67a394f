"""`deploy local`: runs the Procfile's processes on this machine."""

from __future__ import annotations

import os
from typing import Any

import click

from deployer.cli import options as shared
from deployer.cli.operands import OperandsCommand, check_types, command_of, split_operands
from deployer.cli.running import run_on
from deployer.cli.suggestions import suggest_folders
from deployer.formation import LOCAL_PORT

EXAMPLES = """\b
Examples:
  deploy local --dev --reload          while you write code
  deploy local blasto -- flask shell   one command in the app's environment
"""


class LocalCommand(OperandsCommand):
    """A command whose ``--venv`` takes a value only after an equals sign, and never an operand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give a bare ``--venv`` an empty value."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, ["--venv=" if one == "--venv" else one for one in args[:end]] + args[end:])


@click.command("local", cls=LocalCommand, epilog=EXAMPLES)
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
def command(ctx: click.Context, /, operands: tuple[str, ...], **options: Any) -> int:
    """Run an app's processes on this machine, with the packages of Pipfile.lock.

    APP is a folder (default: the current one). TYPE=N starts N processes of a type of the Procfile. By default one
    process of each type starts, except release and postdeploy, or as many as app.json says. CMD runs instead of these
    processes.

    A variable comes from -e, else this shell, else --env-file, else the app's .env, else app.json.
    """
    meant = split_operands(operands, command=command_of(ctx), folder_exists=os.path.isdir)
    check_types(meant)
    from deployer.engines.local.engine import LocalEngine

    return run_on(LocalEngine(why="deploy local"), meant, options, command="local", default_port=LOCAL_PORT)
