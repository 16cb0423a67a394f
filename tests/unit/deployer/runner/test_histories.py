"""Play histories of a formation without real time, and compare everything that follows from each event."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.replay import Containers, Kind, Processes, histories, replay

FOLDER = Path(__file__).parent / "histories"


@pytest.mark.parametrize("kind", [Processes, Containers])
@pytest.mark.parametrize("history", histories(FOLDER / "both.txt"))
def test_processes_and_containers(kind: Kind, history: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert replay(kind, history, monkeypatch) == history


@pytest.mark.parametrize("history", histories(FOLDER / "processes.txt"))
def test_processes(history: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert replay(Processes, history, monkeypatch) == history


@pytest.mark.parametrize("history", histories(FOLDER / "containers.txt"))
def test_containers(history: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert replay(Containers, history, monkeypatch) == history
