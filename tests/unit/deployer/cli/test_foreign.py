"""Commands and options of Heroku, Docker and Foreman get a hint, and a hint names only what exists."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from deployer.cli import foreign
from deployer.cli.command import COMMANDS, CONTEXT, deploy, run
from deployer.cli.hints import read_call


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["config:set", "A=1"], "deploy keeps no variables yet: write them into .env, or"),
        (["ps"], "`docker ps` lists the containers; `deploy run` removes its own when it ends."),
        (["logs", "-f"], "`deploy run` and `deploy local` print all logs; `docker logs` shows those of a container."),
        (["scale", "web=2"], "name how many processes of each type to start: `deploy run web=2 worker=1`."),
        (["ps:scale", "web=2"], "name how many processes of each type to start: `deploy run web=2 worker=1`."),
        (["publish"], "`deploy push REF` sends an image to its registry; `deploy ci --push` tests it first."),
        (["enter"], "`deploy run -- CMD` runs a command in the app's image."),
        (["clean"], "`deploy cache prune` frees disk space."),
        (["prune"], "`deploy cache prune` frees disk space."),
        (["rollback"], "deploy keeps no releases yet: name each image with `-t`, and run an earlier one by that name."),
        (["run:detached"], "`deploy run` cannot run in the background yet: keep its terminal open."),
        (["push:origin"], "did you mean `deploy push`?"),
        (["quux"], "`deploy --help` lists the commands."),
        (["build", "--file", "x"], "the Procfile is read from the app's folder; name the folder as it is"),
        (["build", "--quite"], "did you mean --quiet?"),
        (["build", "--exhaustive"], "`deploy build --help` shows the usage."),
        (["run", "--detach"], "leave it out: `deploy run` cannot run in the background yet."),
    ],
)  # fmt: skip
def test_a_word_of_another_tool_is_answered_with_what_deploy_has(arguments, hint, capsys):
    assert run(arguments) == 2
    assert f"\n\nhint: {hint}" in capsys.readouterr().err


def test_no_word_of_another_tool_is_a_command():
    assert not set(foreign._COMMANDS) & set(COMMANDS)


def test_a_hint_for_a_word_names_only_commands_and_options_that_exist():
    root = click.Context(deploy, info_name="deploy", **CONTEXT)
    for hint in {*foreign._COMMANDS.values(), *foreign._OPTIONS.values()}:
        for span in re.findall(r"`deploy ([^`]*)`", hint):
            words = shlex.split(span.partition(" -- ")[0])
            if words[0].startswith("-"):
                assert words == ["--version"]
                continue
            assert deploy.get_command(root, words[0]) is not None, hint
            assert {word for word in words if word.startswith("-")} <= read_call(deploy, words).options, hint
