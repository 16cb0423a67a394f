"""Chooses what runs the processes: a container engine if one answers, else this machine."""

from __future__ import annotations

from collections.abc import Mapping

from buildpack.dataclass import dataclass
from buildpack.errors import EngineError
from buildpack.oci.engine_host import find_engine, require_engine
from deployer.engines.docker.client import Engine, connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The engine, None for this machine's own processes, and why, as the end of a sentence."""

    engine: Engine | None
    why: str

    def __str__(self) -> str:
        return f"{self.engine.name if self.engine else 'local'} ({self.why})"


def choose_engine(asked: str, environ: Mapping[str, str]) -> Choice:
    """Choose an engine; raises EngineError where one is asked for that does not answer."""
    if asked == "local":
        return Choice(engine=None, why="--engine local")
    if asked == "docker":
        engine = connect(require_engine(environ))
        return Choice(engine=engine, why=f"{engine.endpoint} answers")
    try:
        endpoint = find_engine(environ)
        if endpoint is None:
            return Choice(engine=None, why="no container engine was found")
        engine = connect(endpoint)
    except EngineError as error:
        return Choice(engine=None, why=error.what)
    return Choice(engine=engine, why=f"{engine.endpoint} answers")
