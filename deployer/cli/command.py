"""The root command: it finds subcommands, writes the help, and turns errors into messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from buildpack.errors import BuildpackError
from deployer.cli.messages import print_error, report_bug
from deployer.interrupts import say_interrupted, watched
from deployer.text import harmless, styled

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from deployer.building.record import Asked

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 80}

DAILY = {
    "build": "Build a container image from an app's folder.",
    "run": "Build an app and run its image in containers.",
    "local": "Run an app's processes on this machine, without containers.",
    "ci": "Check, build, test, boot and push an app in one pipeline step.",
}
OTHERS = {
    "init": "Create a new app, or add the files that an app lacks.",
    "check": "Report everything that is wrong with an app.",
    "push": "Push an image from the store to a registry.",
    "lock": "Update Pipfile.lock with pipenv, and pin the stack.",
    "add": "Add packages to Pipfile and Pipfile.lock.",
    "remove": "Remove packages from Pipfile and Pipfile.lock.",
    "verify": "Rebuild an image from its source, and compare bit for bit.",
    "inspect": "Show what an image contains.",
    "cache": "Show and free the disk space that the store uses.",
    "export": "Write systemd units or a compose file that start an app.",
    "completion": "Print a completion script for bash, zsh or fish.",
}
COMMANDS = {**DAILY, **OTHERS}
_IN_ANOTHER_MODULE = {"add": ("lock", "add"), "remove": ("lock", "remove"), "local": ("run", "local")}

EPILOG = """\b
Exit codes:
  0   success                       30  cannot reach a stack or registry
  1   a bug in deploy               40  no container engine, or it refused
  2   wrong usage                   50  the app started, but never answered
  10  the app needs a fix           60  tests failed, or images differ
  20  a package is not available    70  this machine: disk full, port taken
                                    126, 127, 128+N: as the app's process

\b
Examples:
  deploy init blasto   create an app in the folder blasto
  deploy run blasto    build and run it; Ctrl-C stops it
"""


class Commands(click.Group):
    """A group whose commands are imported when they are called, so that `--help` costs nothing."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Accept `deploy help COMMAND` for `deploy COMMAND --help`."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands without importing them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        if cmd_name not in COMMANDS:
            return None
        module, name = _IN_ANOTHER_MODULE.get(cmd_name, (cmd_name, "command"))
        command = getattr(import_module(f"deployer.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown name, hint at the one that does its job here."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from deployer.cli.foreign import command_hint

            hint = command_hint(args[0], tuple(COMMANDS))
            raise click.UsageError(f"no such command: {args[0]}\n\nhint: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Suggest commands without importing them, and the options of `deploy` itself."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands before the options."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the daily commands before the others."""
        for title, commands in (("Daily commands", DAILY), ("Other commands", OTHERS)):
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


def _show_version(ctx: click.Context, _parameter: click.Parameter, asked: object) -> None:
    if asked and not ctx.resilient_parsing:
        print(f"procdeploy {_version()}")
        ctx.exit()


def _version() -> str:
    """Return the installed version, or the checkout's if it runs without an installation."""
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    try:
        return version("procdeploy")
    except PackageNotFoundError:
        import tomllib

        try:
            project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8"))
            return str(project["project"]["version"])
        except (OSError, ValueError, KeyError):
            return "unknown"


@click.command(cls=Commands, context_settings=CONTEXT, invoke_without_command=True, epilog=EPILOG)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version."
)
@click.pass_context
def deploy(ctx: click.Context) -> None:
    """Build, test and run Python web apps.

    An app is a folder with a Pipfile.lock, which lists its packages, and a Procfile, which lists its processes.
    `deploy COMMAND --help` shows the options of a command.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(arguments: Sequence[str], asked: Asked | None = None) -> int:
    """Run `deploy` with these arguments, and return the exit code.

    `asked` names the record in which a build may be remembered.
    """
    if "_DEPLOY_COMPLETE" in os.environ:
        from deployer.cli.completion import answer

        return answer(os.environ["_DEPLOY_COMPLETE"], deploy)
    with watched():
        return _run(arguments, asked)


def _run(arguments: Sequence[str], asked: Asked | None) -> int:
    try:
        _require_current_folder()
        # Not `deploy.main`, which exits with 1 if the reader of a pipe ended.
        with deploy.make_context("deploy", list(arguments), obj=asked) as ctx:
            outcome = deploy.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except BuildpackError as error:
        from deployer.cli.hints import fit, logs_of, read_call

        call = read_call(deploy, arguments)
        fit(error, call)
        for log in logs_of(error, call):
            print(log, file=sys.stderr)
        print_error(error)
        return error.exit_code
    except click.ClickException as error:
        return _usage(error, arguments)
    except (KeyboardInterrupt, click.Abort):
        say_interrupted()
        return 128 + signal.SIGINT
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except Exception as error:  # noqa: BLE001  the last resort: any other exception is a bug of ours
        interrupted = interrupt_code(error)
        if interrupted is not None:
            if interrupted == 128 + signal.SIGINT:
                say_interrupted()
            return interrupted
        if isinstance(error, (OSError, MemoryError)):
            return machine_failed(error)
        report_bug(error)
        return 1
    return outcome if isinstance(outcome, int) else 0


def interrupt_code(error: BaseException) -> int | None:
    """Return the exit code if a signal caused this error; None if not.

    A signal raises an exception anywhere in the code. Python 3.11 turns it into a RuntimeError while it makes a class.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return 128 + signal.SIGINT
        if isinstance(cause, SystemExit) and isinstance(cause.code, int):
            return cause.code
        cause = cause.__cause__ or cause.__context__
    return None


def _require_current_folder() -> None:
    """Raise MachineError if the current folder was removed: all relative paths would be wrong."""
    try:
        os.getcwd()  # noqa: PTH109  it only checks that the folder exists
    except OSError:
        from deployer.errors.commands import no_current_folder

        raise no_current_folder() from None


def _usage(error: click.ClickException, arguments: Sequence[str]) -> int:
    message = error.format_message()
    message = message[:1].lower() + (message[1:] if "hint:" in message else message[1:].rstrip("."))
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        from deployer.cli.foreign import option_hint

        message = f"no such option: {error.option_name}\n\nhint: {option_hint(error.option_name, error.ctx)}"
    if "hint:" not in message:
        message += f"\n\nhint: `{_command_path(arguments)} --help` shows the usage."
    print(f"{styled('error:', 'red')} {harmless(message)}", file=sys.stderr)
    return 2


def _command_path(arguments: Sequence[str]) -> str:
    """Return the command that a command line names, with its group."""
    path = ["deploy"]
    command: click.Command | None = deploy
    for word in arguments:
        command = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        if command is None:
            break
        path.append(word)
    return " ".join(path)


def machine_failed(error: OSError | MemoryError) -> int:
    """Print what this machine refused, and return the exit code."""
    from deployer.errors import commands as errors

    known = errors.machine_failed(error)
    if known is None:
        report_bug(error)
        return 1
    with suppress(OSError):  # standard error itself may be full
        print_error(known)
    return known.exit_code
