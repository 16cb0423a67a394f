"""Makes the hint of an error true for the command that failed: its options, and its app.

The error modules word a hint once for all commands. A clause of it ends at ``;``, a full stop or ``, or``. If a clause
names an option that the command lacks, this module writes the setting of deploy.toml instead, or leaves the clause out.
A command in backquotes, such as ``deploy lock``, gets the folder, image and stack of the failed command. ``deploy add``
needs a Pipfile; for an app without one the hint says to write it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import click

from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError, Problems
from buildpack.errors.wheels import BuildFailed
from deployer.cli.operands import is_folder
from deployer.text import harmless, operand_text

_SPAN = re.compile(r"`[^`]*`|\n  [^\n]*")
"""Parts of a hint that stay as they are: words in backquotes, and indented lines, such as those of a Dockerfile."""
_OPTION = re.compile(r"(?<![\w-])(?:--[a-z][a-z-]*|-[a-zA-Z](?![\w-]))")
_END_OF_CLAUSE = re.compile(r"(; |\. |, or )")
_SETTINGS = (
    (re.compile(r"--stack (\S+)"), 'stack = "{}"` in deploy.toml'),
    (re.compile(r"--platform (\S+)"), 'platform = "{}"` in deploy.toml'),
    (re.compile(r"--build-env (\w+)=(\S+)"), '{} = "{}"` below `[build.env]` in deploy.toml'),
    (re.compile(r"(--no-cache|--category \S+)"), "deploy build {}`"),
)
"""Options, each with its replacement, up to the backquote that ends it."""

_WITHOUT_IMAGES = frozenset({"info", "prune", "inspect", "push"})
"""Commands that read no settings of an app."""
_OF_FOLDERS = frozenset({"add", "build", "check", "init", "local", "lock", "remove"})
_OF_BOTH = frozenset({"inspect", "push", "run", "verify"})
_ADD = re.compile(r"`deploy add ([^`]+)`")
_RUN_ADD = re.compile(rf"run {_ADD.pattern}")
_COMMAND = re.compile(r"`deploy (\w+)((?: (?:-[^`]*|release))?)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The parts of a command line on which hints depend.

    `name` is the command's, such as ``run``. `options` are all that it accepts. `folder` or `image` is its operand;
    both are empty for the current folder. `repeated` are the options that another build of the same image needs.
    `editable` is true if the folder has a Pipfile for ``deploy add`` to change. `verbose` is true if -v was given.
    """

    name: str = ""
    options: frozenset[str] = frozenset()
    folder: str = ""
    image: str = ""
    repeated: Sequence[tuple[str, str]] = ()
    editable: bool = True
    verbose: bool = False


def read_call(root: click.Group, arguments: Sequence[str]) -> Call:
    """Parse the command line of a failed command again, as far as possible."""
    command: click.Command | None = root
    words, context = list(arguments), click.Context(root, info_name="deploy", **root.context_settings)
    while isinstance(command, click.Group) and words:
        command = command.get_command(context, words.pop(0))
    if command is None or isinstance(command, click.Group):
        return Call()
    try:
        return call_of(command.make_context(command.name, words, parent=context, resilient_parsing=True))
    except (click.ClickException, BuildpackError):
        return Call(name=command.name or "", options=_options(command))


def call_of(ctx: click.Context) -> Call:
    """Return the call of a command whose command line is parsed."""
    arguments = [each.name for each in ctx.command.params if isinstance(each, click.Argument) and each.name]
    first = ctx.params.get("app") or (ctx.params.get(arguments[0]) if arguments else None)
    word = (first[0] if first else "") if isinstance(first, tuple) else str(first or "")
    folder = isinstance(first, Path) or is_folder(word)
    return Call(
        name=ctx.command.name or "",
        options=_options(ctx.command),
        folder=word if folder and word != "." else "",
        editable=not folder or os.path.isfile(f"{word}/Pipfile"),
        image=word if not folder and (":" in word or "@" in word) else "",
        repeated=[(f"--{name}", str(ctx.params[name])) for name in ("stack", "platform") if ctx.params.get(name)],
        verbose=bool(ctx.params.get("verbose")),
    )


def repeated_text(ctx: click.Context) -> str:
    """Return the options that another command needs for the same image, a space before each; empty if none were given.

    The values of `--build-env` may be secret, so they are not repeated.
    """
    names = {"stack": "stack", "platform": "platform", "categories": "category", "build_env_files": "env-file"}
    words = [
        (f"--{option}", str(value))
        for name, option in names.items()
        for values in (ctx.params.get(name),)
        for value in (values if isinstance(values, tuple) else (values,))
        if value
    ]
    return harmless("".join(f" {option} {quote(value)}" for option, value in words))


def _options(command: click.Command) -> frozenset[str]:
    return frozenset(option for each in command.params for option in (*each.opts, *each.secondary_opts))


def fit(error: BuildpackError, call: Call) -> None:
    """Fit the hints of an error to the command that failed."""
    for problem in error.problems if isinstance(error, Problems) else (error,):
        problem.hint = fit_hint(problem.hint, call)


def logs_of(error: BuildpackError, call: Call) -> list[str]:
    """Return the whole output of the package builds that failed, if -v was given."""
    failed = [each for each in (error.problems if isinstance(error, Problems) else (error,)) if call.verbose]
    logs = [each.log for each in failed if isinstance(each, BuildFailed) and each.log]
    return [harmless(f"{log}:\n{log.read_text(errors='replace')}".rstrip()) for log in logs if log.is_file()]


def fit_hint(hint: str, call: Call) -> str:
    """Return a hint that works in the command that failed."""
    spans = _SPAN.findall(hint)
    parts = _END_OF_CLAUSE.split(_SPAN.sub("\0", hint.rstrip(".")))
    kept: list[str] = []
    seen: set[str] = set()
    for at in range(0, len(parts), 2):
        clause = re.sub("\0", lambda _: spans.pop(0), parts[at])
        if options_in(clause) - call.options and call.name not in _WITHOUT_IMAGES:
            clause = _say_settings(clause, call)
        quoted = "".join(_SPAN.findall(clause)).replace("'", '"')
        if options_in(clause) - call.options or (quoted and quoted in seen):
            continue
        seen.add(quoted)
        kept += [parts[at - 1], clause] if kept else [clause]
    text = _name_operands("".join(kept), call)
    return text + ("." if hint.endswith(".") and text else "")


def fit_warning(text: str) -> str:
    """Return a warning that is true for the command that prints it.

    Its text after the first ``;`` is advice, which is fitted like a hint. Commands in the rest name the app, too.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return text
    call = call_of(context)
    fact, _, advice = text.partition("; ")
    fitted = fit_hint(advice, call)
    return _name_operands(fact, call) + (f"; {fitted}" if fitted else "." if advice else "")


def options_in(text: str) -> frozenset[str]:
    """Return the options of the failed command that a text names, without those of other commands in backquotes."""
    own = _SPAN.sub(lambda span: span[0] if span[0].startswith("`-") else "", text)
    return frozenset(_OPTION.findall(own))


def _say_settings(clause: str, call: Call) -> str:
    """Replace each option that the command lacks with the setting that does the same."""

    def instead(span: re.Match[str]) -> str:
        if not options_in(span[0]) - call.options:
            return span[0]
        settings = [
            text.format(*found.groups()) for option, text in _SETTINGS if (found := option.search(span[0][:-1]))
        ]
        return " and ".join(f"`{each}" for each in settings) or span[0]

    return _SPAN.sub(instead, clause)


def _name_operands(text: str, call: Call) -> str:
    if not call.editable:
        text = _RUN_ADD.sub(r"write the app's packages and \1 into a Pipfile, run `deploy lock`", text)
    if call.folder:
        text = _ADD.sub(lambda found: f"`deploy add {found[1]} --app {quote(call.folder)}`", text)
    return _COMMAND.sub(lambda found: _name_operand(found[1], found[2], call), text)


def _name_operand(name: str, rest: str, call: Call) -> str:
    word = call.folder if name in _OF_FOLDERS else (call.folder or call.image) if name in _OF_BOTH else ""
    operand = operand_text(word) if word else ""
    repeated = [f" {option} {quote(value)}" for option, value in call.repeated if option not in rest]
    return f"`deploy {name}{operand}{''.join(repeated) if name == 'build' else ''}{rest}`"
