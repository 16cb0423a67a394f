"""`deploy completion`: prints the script with which a shell completes commands, options and their values."""

from __future__ import annotations

import os

import click

SHELLS = ("bash", "zsh", "fish")

EXAMPLES = """\b
Examples:
  deploy completion bash   eval "$(deploy completion bash)" in ~/.bashrc
  deploy completion fish   write to ~/.config/fish/completions/deploy.fish
"""


@click.command("completion", epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> int:
    """Print a completion script for bash, zsh or fish.

    For zsh, write `eval "$(deploy completion zsh)"` in ~/.zshrc, after compinit.
    """
    return answer(f"{shell}_source", ctx.find_root().command)


def answer(instruction: str, root: click.Command) -> int:
    """Do what a shell's script asks for, in click's words: ``bash_source``, ``bash_complete``.

    Nothing is printed about errors while somebody types: there is nothing to complete then.
    """
    from deployer.cli.shells import CLASSES

    shell, _, what = instruction.partition("_")
    found = CLASSES.get(shell)
    if found is None:
        return 2
    complete = found(root, {}, "deploy", "_DEPLOY_COMPLETE")
    if what == "source":
        click.echo(complete.source(), nl=False)
        return 0
    try:
        text = complete.complete()
    except Exception:  # noqa: BLE001  a Procfile that cannot be read, a command that does not exist
        return 1
    if text:
        click.echo(os.fsencode(text))
    return 0
