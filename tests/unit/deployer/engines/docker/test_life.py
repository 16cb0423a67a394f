"""One container's life: what comes while the engine starts it is not lost."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from deployer.engines.docker.container import Exit
from deployer.engines.docker.life import Life, Step


class Silent:
    def pieces(self) -> list[list[tuple[int, bytes]]]:
        return []

    def cut(self) -> None: ...

    def close(self) -> None: ...


class Early:
    """A container whose process runs, and is sent a signal, before the engine has answered that it started."""

    name = "early"

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.life: Life | None = None

    def create(self) -> None:
        assert self.life is not None
        self.life.send(signal.SIGUSR2)  # nothing is there yet

    def attach(self) -> Silent:
        return Silent()

    def start(self) -> None:
        assert self.life is not None
        self.life.send(signal.SIGUSR1)

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def wait(self) -> Exit:
        return Exit(code=0)

    def remove(self) -> bool:
        return True


def test_a_signal_that_comes_while_the_engine_starts_the_container_arrives() -> None:
    container: Any = Early()
    removed = threading.Event()

    def report(_life: Life, step: Step) -> None:
        if step.kind == "removed":
            removed.set()

    container.life = life = Life(container, report)
    life.begin()
    assert removed.wait(30)
    os.close(life.output)
    assert container.signals == [signal.SIGUSR1]
