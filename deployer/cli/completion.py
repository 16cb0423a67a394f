"""`deploy completion`: what a shell needs to complete commands, options, process types, folders and stacks."""

from __future__ import annotations

import os

import click

SHELLS = ("bash", "zsh", "fish")

EXAMPLES = """\b
Examples:
  deploy completion bash    eval "$(deploy completion bash)" in ~/.bashrc
  deploy completion fish    into ~/.config/fish/completions/deploy.fish
"""


@click.command("completion", epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    """Print the script that completes `deploy` in a shell.

    For zsh it is `eval "$(deploy completion zsh)"` in ~/.zshrc, after compinit.
    """
    return answer(f"{shell}_source")


def answer(instruction: str) -> int:
    """Do what a shell's script asks for, as click has it: ``bash_source``, ``bash_complete``.

    Whatever goes wrong while somebody types is told by no message: there is nothing to complete then.
    """
    from deployer.cli.shells import CLASSES, completing

    shell, _, what = instruction.partition("_")
    found = CLASSES.get(shell)
    if found is None:
        return 2
    complete = found(completing(), {}, "deploy", "_DEPLOY_COMPLETE")
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
