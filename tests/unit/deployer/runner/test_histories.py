"""Play histories of a formation without real time, and compare everything that follows from each event."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.engines.docker.ground import PACE as CONTAINERS
from deployer.runner.processes import PACE as PROCESSES
from deployer.runner.stage import Pace
from tests.support.replay import histories, replay

FOLDER = Path(__file__).parent / "histories"


@pytest.mark.parametrize("pace", [PROCESSES, CONTAINERS], ids=["processes", "containers"])
@pytest.mark.parametrize("history", histories(FOLDER / "both.txt"))
def test_processes_and_containers(pace: Pace, history: str) -> None:
    assert replay(pace, history) == history


@pytest.mark.parametrize("history", histories(FOLDER / "processes.txt"))
def test_processes(history: str) -> None:
    assert replay(PROCESSES, history) == history


@pytest.mark.parametrize("history", histories(FOLDER / "containers.txt"))
def test_containers(history: str) -> None:
    assert replay(CONTAINERS, history) == history
