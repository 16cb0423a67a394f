"""Options that commands share."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from buildpack.options import Options
from deployer.cli import options


def given(command: str, *arguments: str) -> dict[str, Any]:
    parsed: click.Command = import_module(f"deployer.cli.{command}").command
    return parsed.make_context(command, list(arguments)).params


@pytest.mark.parametrize("command", ["build", "ci", "run", "check"])
def test_a_command_without_options_asks_for_the_defaults(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert options.read_options(given(command), tmp_path) == Options()


def test_options_of_a_build_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "5")
    arguments = ["-t", "shop:1", "--stack", "host", "--label", "a=b", "--build-env", "A=1", "--format", "docker"]
    assert options.read_options(given("build", *arguments, "--no-cache", "--category", "docs"), tmp_path) == Options(
        references=("shop:1",),
        stack="host",
        labels={"a": "b"},
        build_env={"A": "1"},
        format="docker",
        no_cache=True,
        categories=("docs",),
        epoch=5,
    )


@pytest.mark.parametrize("seconds", ["nan", "-1", "inf", "86401", "soon"])
def test_seconds_are_a_time_of_at_most_a_day(seconds: str) -> None:
    with pytest.raises(click.BadParameter):
        given("ci", "--boot-timeout", seconds)
