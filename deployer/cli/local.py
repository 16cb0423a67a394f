"""`deploy local`: the Procfile's processes on this machine."""

from __future__ import annotations

import os
from typing import Any

import click

from deployer.cli import options as shared
from deployer.cli.local_run import run_here
from deployer.cli.operands import OperandsCommand, command_of, split_operands
from deployer.cli.suggestions import suggest_folders

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
@shared.operands("[APP] [TYPE[=N]]...")
@shared.port(f"$PORT, also of .env, else {PORT}")
@shared.env
@shared.env_file
@shared.category
@click.option("--dev", is_flag=True, help="Serve web by its framework's development server.")
@click.option("--reload", is_flag=True, help="Start processes again when a file changes.")
@click.option(
    "--venv",
    metavar="[=PATH]",
    shell_complete=suggest_folders,
    help="Use an existing virtual environment: the active one, APP/.venv, PATH.",
)
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
    return run_here(meant, options, default_port=PORT, command="local")
