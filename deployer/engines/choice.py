"""Choose the engine that runs the processes: a container engine if one answers, else this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from buildpack.errors import EngineError
from buildpack.oci.engine_host import Endpoint, find_engine, require_engine
from deployer.engines.local.engine import LocalEngine

if TYPE_CHECKING:
    from deployer.engines.engine import Engine


def choose_engine(asked: str, environ: Mapping[str, str]) -> Engine:
    """Return the engine that `--engine` asks for; raises EngineError if it does not answer.

    ``auto`` is a container engine if one answers, else this machine.
    """
    if asked == "local":
        return LocalEngine(why="--engine local")
    if asked == "docker":
        return _connect(require_engine(environ))
    try:
        endpoint = find_engine(environ)
        return LocalEngine(why="no container engine was found") if endpoint is None else _connect(endpoint)
    except EngineError as error:
        return LocalEngine(why=error.what)


def _connect(endpoint: Endpoint) -> Engine:
    from deployer.engines.docker.client import connect
    from deployer.engines.docker.engine import DockerEngine

    return DockerEngine(connect(endpoint), why=f"{endpoint} answers")
