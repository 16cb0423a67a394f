"""`deploy completion`: prints the script with which a shell completes commands, options and their values.

The mechanism is click's, the scripts are ours. click's scripts do not know that bash ends a word at ``:``
(``python:3.13-slim``). They put a space after a folder in zsh, and cut help at a comma in fish. Ours pass the command
line up to the cursor, and insert values without changing them.
"""

from __future__ import annotations

import os
import re

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from deployer.cli.suggestions import suggest_paths
from deployer.text import harmless

EXAMPLES = """\b
Examples:
  deploy completion bash   eval "$(deploy completion bash)" in ~/.bashrc
  deploy completion fish   write to ~/.config/fish/completions/deploy.fish
"""


BASH = """\
%(complete_func)s() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" %(complete_var)s=bash_complete "$1" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/:=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null || complete -F %(complete_func)s %(prog_name)s
"""

ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local line value
    local -a open values shown
    for line in "${(@f)$(COMP_LINE="${words[1,CURRENT-1]} $PREFIX" \\
            %(complete_var)s=zsh_complete ${(Q)words[1]} 2>/dev/null)}"; do
        value="${line%%%%$'\\t'*}"
        if [[ $value == *[/:=] ]]; then
            open+=("$value")
        elif [[ -n $value ]]; then
            values+=("$value")
            shown+=("${line/$'\\t'/  -- }")
        fi
    done
    (( $#open )) && compadd -Q -S '' -V folders -a open
    (( $#values )) && compadd -Q -V values -l -d shown -a values
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

FISH = """\
function %(complete_func)s
    set -l program (commandline -opc)[1]
    env COMP_LINE=(commandline -cp | string collect) %(complete_var)s=fish_complete $program 2>/dev/null
end
complete --no-files --keep-order --command %(prog_name)s --arguments "(%(complete_func)s)"
"""

_END = "\uffff"


SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


class Shell(ShellComplete):
    """A shell that passes the command line up to the cursor in ``COMP_LINE``, and inserts whole words."""

    def __init__(self, name: str, root: click.Command) -> None:
        super().__init__(root, {}, "deploy", "_DEPLOY_COMPLETE")
        self.name, self.source_template = name, SCRIPTS[name]  # type: ignore[misc]  # click's are the class's
        self._typed = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Split the line; its last word, which may be empty, is the one to complete."""
        words = split_arg_string(os.environ.get("COMP_LINE", "") + _END)
        self._typed = words[-1].rstrip(_END)
        return words[1:-1], self._typed

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Return completed words: of ``--stack=py`` all of ``--stack=python:3.13-slim``."""
        if "--" in args:
            return suggest_paths(incomplete)
        name, equals, _ = incomplete.partition("=")
        before = name + equals if equals and name.startswith("-") else ""
        found = super().get_completions(args, incomplete)
        return [CompletionItem(before + str(item.value), help=item.help) for item in found]

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return a word and, after a tab, its help. fish quotes words itself, and the scripts of the others do not.

        bash shows no help, and replaces only the text after the last ``:`` or ``=``.
        """
        if self.name == "bash":
            return _quote(item.value[max(self._typed.rfind(":"), self._typed.rfind("=")) + 1 :])
        word = _quote(item.value) if self.name == "zsh" else item.value
        return f"{word}\t{harmless(' '.join(item.help.split()))}" if item.help else word


def _quote(text: str) -> str:
    return re.sub(r"(?<!^)~|[^\w@%+=:,./~-]", r"\\\g<0>", text)


@click.command("completion", epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> int:
    """Print a completion script for bash, zsh or fish.

    For zsh, write `eval "$(deploy completion zsh)"` in ~/.zshrc, after compinit.
    """
    return answer(f"{shell}_source", ctx.find_root().command)


def answer(instruction: str, root: click.Command) -> int:
    """Carry out an instruction of a shell's script, such as ``bash_source`` or ``bash_complete``.

    Errors are not printed while somebody types; there is just nothing to complete.
    """
    shell, _, what = instruction.partition("_")
    if shell not in SCRIPTS:
        return 2
    complete = Shell(shell, root)
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
