from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.command import EXAMPLES
from tests.support.containers import Host

DOCKER, PODMAN = (
    pytest.param("docker", marks=pytest.mark.engine),
    pytest.param("podman", marks=pytest.mark.podman),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests of `docker_or_podman` on Docker, and those marked `each_engine` on Podman too."""
    if "docker_or_podman" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("each_engine") is not None
        engines = [DOCKER, PODMAN] if both else [DOCKER]
        metafunc.parametrize("docker_or_podman", engines, indirect=True, scope="session")


@pytest.fixture(scope="session")
def docker_or_podman(request: pytest.FixtureRequest) -> Host:
    """This machine's Docker or Podman."""
    address = request.getfixturevalue("engine" if request.param == "docker" else "podman")
    return Host(address=address, product=request.param.capitalize())


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
