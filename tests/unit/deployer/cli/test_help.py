"""Help texts: the order of commands, examples that work, lines that fit the screen."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import buildpack.errors
from buildpack.errors import BuildpackError
from deployer.cli.command import COMMANDS, CONTEXT, DAILY, deploy, run


def contexts() -> Iterator[click.Context]:
    """Yield the context of each command and subcommand."""
    root = click.Context(deploy, info_name="deploy", **CONTEXT)
    for name in COMMANDS:
        command = deploy.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, **CONTEXT)
        yield context
        if isinstance(command, click.Group):
            for each, sub in command.commands.items():
                yield click.Context(sub, info_name=each, parent=context, **CONTEXT)


ALL = {context.command_path: context for context in contexts()}


def examples(text: str) -> list[str]:
    """Return the commands at the end of a help text; a description follows after two spaces."""
    lines = text.partition("Examples:\n")[2].splitlines()
    return [re.split(r"\s{2,}", line.strip())[0] for line in lines if line.strip()]


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_the_daily_commands_come_first(capsys):
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    sections = re.findall(r"^(\w[\w ]+):$", text, flags=re.MULTILINE)
    assert sections[:3] == ["Daily commands", "Other commands", "Options"]
    assert re.findall(r"^  (\w+)  ", text.partition("Options:")[0], flags=re.MULTILINE) == list(COMMANDS)
    assert list(DAILY) == ["build", "run", "local", "ci"]
    assert run([]) == 0
    assert capsys.readouterr().out == text


def test_the_exit_codes_are_those_of_the_errors(capsys):
    run(["--help"])
    listed = capsys.readouterr().out.partition("Exit codes:\n")[2].partition("Examples:")[0]
    codes = {int(code) for code in re.findall(r"(?:^| {2,})(\d+)  ", listed, flags=re.MULTILINE)}
    own = {
        kind.exit_code
        for kind in vars(buildpack.errors).values()
        if isinstance(kind, type) and issubclass(kind, BuildpackError)
    }
    assert own <= codes
    assert codes == {0, 1, 2, 10, 20, 30, 40, 50, 60, 70}


@pytest.mark.parametrize("path", [*ALL, "deploy"])
def test_help_fits_eighty_columns(path, capsys):
    assert run([*path.split()[1:], "--help"]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert [line for line in text.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("path", ALL)
def test_help_ends_with_two_examples_that_parse(path):
    context = ALL[path]
    lines = examples(context.command.get_help(context))
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(f"{path} ") or line == path
        parse(line)


def parse(line: str) -> None:
    """Parse a command line without running it; raises click's UsageError."""
    words = shlex.split(line)
    context = click.Context(deploy, info_name=words.pop(0))
    while isinstance(context.command, click.Group):
        name = words.pop(0)
        command = context.command.get_command(context, name)
        assert command is not None, name
        if not isinstance(command, click.Group):
            command.make_context(name, words, parent=context)
        context = click.Context(command, info_name=name, parent=context)


def test_many_options_are_listed_under_headings_in_equal_columns(capsys):
    assert run(["run", "--help"]) == 0
    text = capsys.readouterr().out.partition("Examples:")[0]
    headings = re.findall(r"^(\w[\w ]+):$", text, flags=re.MULTILINE)
    assert headings == ["Options", "Process options", "Build options", "Output options"]
    assert len({len(line) for line in re.findall(r"^  -.*?  +(?=[A-Z])", text, flags=re.MULTILINE)}) == 1


def test_root_s_examples_parse(capsys):
    run(["--help"])
    lines = examples(capsys.readouterr().out)
    assert len(lines) == 2
    for line in lines:
        parse(line)


def test_the_summary_in_the_list_is_about_the_command():
    for name, summary in COMMANDS.items():
        assert summary.endswith(".")
        assert ALL[f"deploy {name}"].command.help


def test_options_of_one_name_have_one_spelling_and_one_kind_of_value():
    spellings: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for context in ALL.values():
        for parameter in context.command.params:
            if isinstance(parameter, click.Option):
                longest = max(parameter.opts, key=len)
                spellings[longest].add((*parameter.opts, *parameter.secondary_opts))
    assert {name: found for name, found in spellings.items() if len(found) > 1} == {}


def test_every_option_says_what_it_does():
    silent = [
        (path, parameter.name)
        for path, context in ALL.items()
        for parameter in context.command.params
        if isinstance(parameter, click.Option) and not (parameter.help or "").endswith((".", "]"))
    ]
    assert silent == []


@pytest.mark.parametrize("arguments", [["help", "lock"], ["lock", "-h"]])
def test_help_can_be_asked_for_in_several_ways(arguments, capsys):
    assert run(arguments) == 0
    text = capsys.readouterr().out
    run(["lock", "--help"])
    assert capsys.readouterr().out == text


def test_an_unknown_command_names_the_nearest(capsys):
    assert run(["biuld"]) == 2
    assert capsys.readouterr().err == "error: no such command: biuld\n\nhint: did you mean `deploy build`?\n"


@pytest.mark.parametrize("project", ['[project]\nversion = "3.2.1"\n', "", "damaged ["])
def test_the_version_of_a_checkout_that_is_not_installed(tmp_path, project):
    for package in ("deployer", "buildpack"):
        (tmp_path / package).symlink_to(Path(__file__).parents[4] / package)
    (tmp_path / "click").symlink_to(Path(click.__file__).parent)
    (tmp_path / "pyproject.toml").write_text(project)
    said = subprocess.run(
        [sys.executable, "-S", "-B", "-m", "deployer", "--version"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == f"procdeploy {'3.2.1' if '3.2.1' in project else 'unknown'}\n"
