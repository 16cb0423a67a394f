"""An app runs on the engine that is asked for, on one that answers, or on this machine."""

from __future__ import annotations

import pytest

from buildpack.errors import EngineError
from deployer.engines.choice import choose_engine


def test_auto_falls_back_to_this_machine_and_says_why():
    engine = choose_engine("auto", {"DOCKER_HOST": "unix:///nonexistent/docker.sock"})
    assert engine.name == "local"
    assert engine.why == "the container engine at unix:///nonexistent/docker.sock is not running"


def test_docker_does_not_fall_back():
    with pytest.raises(EngineError):
        choose_engine("docker", {"DOCKER_HOST": "unix:///nonexistent/docker.sock"})


def test_local_asks_no_engine():
    engine = choose_engine("local", {"DOCKER_HOST": "nonsense://"})
    assert (engine.name, engine.why) == ("local", "--engine local")
