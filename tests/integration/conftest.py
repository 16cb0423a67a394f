from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.command import EXAMPLES


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the session's builds: wheels are fetched once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def blasto(tmp_path: Path) -> Path:
    """A copy of the example, to change at will."""
    return Path(shutil.copytree(EXAMPLES / "blasto", tmp_path / "blasto"))


@pytest.fixture
def bookshelf(tmp_path: Path) -> Path:
    """A copy of the rich example."""
    return Path(shutil.copytree(EXAMPLES / "bookshelf", tmp_path / "bookshelf"))
