"""A formation in the foreground says why it ended, in the order in which an engine happens to report."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import termios
from collections.abc import Callable

import pytest

from buildpack.errors import BuildpackError
from deployer.engines.engine import Ground
from deployer.engines.foreground import Foreground
from deployer.readiness.health import Answer, Boot, Web
from deployer.runner.stage import Pace
from deployer.runner.supervisor import Settings, Supervisor


class Reporting(Ground):
    """One place whose reports come when the loop has read what it wrote before: each step is done in a later turn."""

    pace = Pace(settle=0.0, drain=0.0, kills=1, kill_again=1.0, deaf=0.0, cuts=True)
    name, quiet, output = "web.1", False, None

    def __init__(self, steps: list[Callable[[Reporting], object]]) -> None:
        self.places, self._steps = [self], steps

    def open(self, supervisor: Supervisor):
        self.supervisor, self.lifecycle = supervisor, supervisor.lifecycle
        return super().open(supervisor)

    def start(self) -> None:
        self.output, self.writer = os.pipe()
        os.set_blocking(self.output, False)

    def look(self, now: float) -> None:
        if self._steps and self.output is not None and not unread(self.output):
            self._steps.pop(0)(self)

    def next_look(self, now: float) -> float | None:
        return now if self._steps else None

    def webs(self, boot: Boot) -> list[Web]:
        url = "http://localhost:8000"
        return [Web(process=self.name, port=8000, url=url, ask=lambda _seconds: Answer(), listeners=lambda: None)]

    def write(self, text: bytes) -> None:
        os.write(self.writer, text)

    def started(self) -> None:
        self.lifecycle.started(self.name, self.supervisor.now(), label="container test")

    def exited(self, code: int) -> None:
        os.close(self.writer)
        self.lifecycle.exited(self.name, code, self.supervisor.now())
        self.lifecycle.vacated(self.name, self.supervisor.now())

    def signal(self, number: int) -> None:
        pass

    def abandon(self) -> str:
        raise AssertionError("it ends by itself")

    def close_output(self) -> None:
        if self.output is not None:
            os.close(self.output)
            self.output = None

    def end(self) -> None:
        pass


def unread(descriptor: int) -> int:
    return struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]


def run(steps: list[Callable[[Reporting], object]], *, restart: str = "no") -> str:
    """Run the steps, which end with a failure before web answers; return the error."""
    foreground = Foreground(Reporting(steps), Settings(restart=restart), boot=Boot(), out=io.BytesIO(), environ={})
    with pytest.raises(BuildpackError) as caught:
        foreground.run()
    return str(caught.value)


def test_what_a_process_says_before_the_engine_reports_its_start_is_in_the_error():
    told = run(
        [
            lambda place: place.write(b"hello\n"),
            Reporting.started,
            lambda place: place.write(b"oops\n"),
            lambda place: place.exited(9),
        ]
    )
    assert "From its log:\n  hello\n  oops\n" in told
