"""How many of each process type: here, and in the files of another program; release and postdeploy only if named."""

from __future__ import annotations

import pytest

from buildpack.app.procfile import Process, select_default
from buildpack.errors import UsageError
from deployer.formation import (
    Limits,
    choose_formation,
    export_formation,
    left_out_text,
    parse_limits,
)

TYPES = ["release", "worker", "web", "postdeploy"]


def choose(**named: int) -> dict[str, int]:
    return choose_formation(named, processes=TYPES, formation={"worker": 3}, where="shop")


def export(**named: int) -> dict[str, int]:
    return export_formation(named, processes=TYPES, formation={"worker": 3}, where="shop")


def test_what_runs_once_and_ends_is_not_part_of_the_formation_unless_it_is_named():
    assert choose() == {"web": 1, "worker": 3}
    assert choose(postdeploy=1) == {"postdeploy": 1}
    assert choose(release=1) == {"release": 1}


def test_an_image_with_one_process_type_besides_those_starts_that():
    def default(*names: str) -> str | None:
        return select_default([Process(name=name, command="true") for name in names])

    assert default("release", "postdeploy", "bot") == "bot"
    assert default("postdeploy") is None
    assert default("bot", "clock", "postdeploy") is None


def test_an_export_has_release_and_naming_one_type_keeps_the_others():
    assert export() == {"web": 1, "release": 1, "worker": 3}
    assert export(web=2) == {"web": 2, "release": 1, "worker": 3}
    assert export(release=0, worker=0) == {"web": 1}
    assert export(postdeploy=1)["postdeploy"] == 1


def test_an_export_of_nothing_or_of_an_unknown_type_is_wrong_usage():
    with pytest.raises(UsageError, match="there is nothing to start in shop"):
        export(web=0, worker=0, release=0)
    with pytest.raises(UsageError, match="shop has no process type 'wbe'"):
        export(wbe=1)


def test_what_is_not_run_is_said_with_the_command_that_runs_it():
    assert left_out_text(TYPES, choose(), "deploy run shop") == (
        "release is not run; `deploy run shop release` runs it\n"
        "postdeploy is not run; `deploy run shop postdeploy` runs it"
    )
    assert left_out_text(TYPES, {"web": 1, "postdeploy": 1}, "deploy run") == (
        "release is not run; `deploy run release` runs it"
    )
    assert left_out_text(["web"], {"web": 1}, "deploy run") == ""


# Limits


@pytest.mark.parametrize(
    ("text", "size"),
    [("512m", 512 << 20), ("1.5g", 3 << 29), ("64MB", 64 << 20), ("1GiB", 1 << 30), ("8388608", 8 << 20)],
)
def test_amounts_of_memory(text, size):
    assert parse_limits(text, "") == Limits(memory=size)


@pytest.mark.parametrize("text", ["m", "1", "5m", "-1g", "1e9", "1 2g", "²g"])
def test_operands_that_are_not_an_amount_of_memory(text):
    with pytest.raises(UsageError) as caught:
        parse_limits(text, "")
    assert str(caught.value) == (
        f"--memory {text!r} is not an amount of memory\n\n"
        "Engines accept 6m and more.\n\n"
        "hint: write it as 512m or 1.5g."
    )


def test_numbers_of_processors():
    assert [parse_limits("", text).nano_cpus for text in ("2", "0.5", ".25")] == [
        2_000_000_000,
        500_000_000,
        250_000_000,
    ]


@pytest.mark.parametrize("text", ["0", "x", "-1", "nan", "1e3", "9999"])
def test_operands_that_are_not_a_number_of_processors(text):
    with pytest.raises(UsageError) as caught:
        parse_limits("", text)
    assert str(caught.value) == f"--cpus {text!r} is not a number of processors\n\nhint: write it as 2 or 0.5."
