"""A short command in a container. The app there may stop it, so its time has a bound."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from deployer.engines.docker.client import Engine

_START_SECONDS = 10.0
"""Seconds that an engine may take to start a command, beside those of the command."""


def run_inside(
    engine: Engine, identity: str, command: Sequence[str], *, seconds: float, stderr: bool = True
) -> tuple[int, bytes] | None:
    """Run a command that should end after `seconds`; return its exit code and output. None if it does not end.

    Raises what the engine's client raises.
    """
    done: list[tuple[int, bytes] | Exception] = []

    def run() -> None:
        try:
            done.append(_run(engine, identity, command, stderr=stderr))
        except Exception as error:  # noqa: BLE001  raised below
            done.append(error)

    # Nothing ends a read from an engine but the end of the container.
    running = threading.Thread(target=run, name="command in a container", daemon=True)
    running.start()
    running.join(seconds + _START_SECONDS)
    if not done:
        return None
    if isinstance(done[0], Exception):
        raise done[0]
    return done[0]


def _run(engine: Engine, identity: str, command: Sequence[str], *, stderr: bool) -> tuple[int, bytes]:
    asked = engine.api.exec_create(identity, list(command), stderr=stderr)
    output: bytes = engine.api.exec_start(asked["Id"])
    return int(engine.api.exec_inspect(asked["Id"])["ExitCode"]), output
