from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.command import EXAMPLES
from tests.support.tiny import with_stack


@pytest.fixture(scope="session")
def home(seed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the session's builds: wheels are fetched once."""
    return with_stack(seed, tmp_path_factory.mktemp("home") / "home")


@pytest.fixture
def blasto(tmp_path: Path) -> Path:
    """A copy of the example, to change at will."""
    return Path(shutil.copytree(EXAMPLES / "blasto", tmp_path / "blasto"))


@pytest.fixture
def bookshelf(tmp_path: Path) -> Path:
    """A copy of the rich example."""
    return Path(shutil.copytree(EXAMPLES / "bookshelf", tmp_path / "bookshelf"))
