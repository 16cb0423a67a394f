"""How many of each process type: here, and in the files of another program; release and postdeploy only if named."""

from __future__ import annotations

import pytest

from buildpack.app.procfile import Process, select_default
from buildpack.errors import UsageError
from deployer.formation import choose_formation, export_formation, find_one_off, one_off_text

TYPES = ["release", "worker", "web", "postdeploy"]


def choose(**named: int) -> dict[str, int]:
    return choose_formation(named, processes=TYPES, formation={"worker": 3}, where="shop")


def export(**named: int) -> dict[str, int]:
    return export_formation(named, processes=TYPES, formation={"worker": 3}, where="shop")


def test_what_runs_once_and_ends_is_not_part_of_the_formation_unless_it_is_named():
    assert choose() == {"web": 1, "worker": 3}
    assert choose(postdeploy=1) == {"postdeploy": 1}
    assert choose(release=1) == {"release": 1}
    assert find_one_off(TYPES, choose()) == ["release", "postdeploy"]
    assert find_one_off(["web"], {"web": 1}) == []


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
    assert one_off_text(["release", "postdeploy"], "deploy run shop") == (
        "release is not run; `deploy run shop release` runs it\n"
        "postdeploy is not run; `deploy run shop postdeploy` runs it"
    )
