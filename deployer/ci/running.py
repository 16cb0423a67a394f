"""A container that runs, and commands in it: how a trial asks web and services from inside.

From outside a published port is not always where it seems to be: the engine may be another machine's, or the one that
runs this very container.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from buildpack.errors import EngineError
from deployer.engines.docker.client import Engine, explain
from deployer.engines.docker.container import Container, Exit
from deployer.engines.docker.inside import run_inside
from deployer.errors import engines as errors

_REFUSALS = 5
"""Commands in a row that an engine does not run in a container that runs, before it is clear that it never will."""
_NOT_RUN = frozenset((125, 126, 127, 128, 255))
"""Exit codes that engines give for a command that they could not run."""


class Running:
    """A container that was started; `exit` is set once it has ended."""

    def __init__(self, engine: Engine, container: Container) -> None:
        self.container = container
        self.exit: Exit | None = None
        self.over = threading.Event()
        self._engine = engine
        self._refused = 0
        """How often in a row the engine ran no command in the running container."""

    @property
    def alive(self) -> bool:
        """False once it has ended."""
        return not self.over.is_set()

    def watch(self) -> None:
        """Wait for its end, in a thread."""
        threading.Thread(target=self._wait, name="container", daemon=True).start()

    def _wait(self) -> None:
        try:
            self.exit = self.container.wait()
        finally:
            self.over.set()

    def run(self, command: Sequence[str], *, seconds: float) -> tuple[int, str] | None:
        """Run a command in it; its exit code and output. None if it is about to end, or the command does not end.

        The command itself should end after `seconds`; an app can stop it. Raises EngineError if the engine runs no
        commands in it.
        """
        from docker.errors import APIError

        try:
            with self._engine.worded():
                done = run_inside(self._engine, self.container.id, command, seconds=seconds)
        except EngineError as error:
            if not isinstance(error.__cause__, APIError):
                raise
            self._on_refusal(explain(error.__cause__))
            return None
        if done is None:
            return None
        code, said = done
        text = said.decode("utf-8", "replace").strip()
        if code in _NOT_RUN:
            self._on_refusal(" ".join(text.split()) or f"exit code {code}")
            return None
        self._refused = 0
        return code, text

    def _on_refusal(self, message: str) -> None:
        """Assume that the container is about to end, which `_wait` finds out; raise EngineError if it is not."""
        self._refused += 1
        if not self.over.wait(0.5) and self._refused >= _REFUSALS:
            raise errors.exec_failed(self._engine.name, message)
