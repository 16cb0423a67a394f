"""Replay what happens to a formation against the code that decides about it, without processes and without real time.

A history is a text. A line that begins with ``>`` is an event, at a time in seconds. Every other line is done or
printed because of it. `replay` plays the events and returns the whole text again, so that a test compares two texts.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from deployer.engines.docker import group as containers
from deployer.engines.docker.container import Blueprint, Exit
from deployer.engines.docker.instance import Boot, Settings
from deployer.engines.docker.life import Step
from deployer.runner import supervisor
from deployer.runner.child import Child
from deployer.runner.command import CommandError
from deployer.runner.formation import Process
from deployer.runner.printer import Printer

_NOISE = re.compile(r" \((?:pid|container)[ =][^)]*\)")


class Stage:
    """Where a history is played: the time, and what was done so far."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.stalled = self.queued = False
        self.strays = 0
        self.missing: dict[str, int] = {}

    def note(self, text: str) -> None:
        self.lines.append(f"{self.now:g} {text}")

    def emit(self, rendered: bytes) -> None:
        """Note what the printer printed; a line that has not ended yet is followed by a backslash."""
        for line in rendered.decode().splitlines(keepends=True):
            shown = re.sub(r"^\d\d:\d\d:\d\d (\S+) +\| ", r"\1 | ", line)
            self.note(_NOISE.sub("", shown.rstrip("\n") + "\\" * (not line.endswith("\n"))))


class FakeFlow:
    """Prints as a flow does, and reads nothing."""

    stage: Stage

    def __init__(self, _out: object, **_options: object) -> None:
        self.printer = Printer(self.stage.emit, wall_clock=lambda: 0.0)
        self.waiting = 0

    @property
    def paused(self) -> bool:
        return self.stage.stalled

    def add(self, source: Any) -> None:
        source.output = 0

    def end(self, source: Any) -> None:
        if source.output is not None:
            source.output = None
            self.stage.note(f"close the output of {source.name}")

    def discard(self) -> None:
        self.waiting = 0


class FakeChild(Child):
    stage: Stage
    there = False

    def start(self, now: float) -> None:
        self.start_at = self.kill_at = self.drain_until = self.delay = None
        self.asked_to_stop, self.kills, self.started_at = False, 0, now
        if self.name in self.stage.missing:
            raise CommandError("command not found", self.stage.missing[self.name])
        self.stage.note(f"start {self.name}")
        self.active = self.leader_alive = self.group_alive = self.there = True

    def signal_group(self, signum: int) -> bool:
        if signum and self.there:
            self.stage.note(f"{signal.Signals(signum).name} to {self.name}")
        return self.there

    def signal_leader(self, signum: int) -> None:
        if self.leader_alive:
            self.stage.note(f"{signal.Signals(signum).name} to {self.name}")


class Processes:
    """A formation of processes."""

    def __init__(self, stage: Stage, names: list[str], patch: pytest.MonkeyPatch, out: Any, **options: Any) -> None:
        self.stage = stage
        FakeChild.stage = FakeFlow.stage = stage
        patch.setattr(supervisor, "Flow", FakeFlow)
        patch.setattr(supervisor, "Child", FakeChild)
        patch.setattr(supervisor, "leftovers", lambda _foreign: [0] * stage.strays)
        patch.setattr(
            supervisor, "signal_each", lambda _pids, number: stage.note(f"{signal.Signals(number).name} to strays")
        )
        self.group = group = supervisor.Supervisor(
            [Process(name=name, command=name, env={}) for name in names],
            out=out,
            clock=lambda: stage.now,
            jitter=lambda: 0.0,
            **options,
        )
        patch.setattr(group, "_reap", lambda _now: None)
        patch.setattr(group, "_is_waited_for", lambda: stage.queued)
        group._foreign = frozenset()
        group._start()

    @property
    def due(self) -> float | None:
        return self.group._next_due(self.stage.now)

    @property
    def done(self) -> bool:
        return self.group._done()

    @property
    def code(self) -> int:
        return self.group.returncode or 0

    def tick(self) -> None:
        self.group._grant_wishes()
        self.group._tick(self.stage.now)

    def child(self, name: str) -> Any:
        return next(child for child in self.group._children if child.name == name)

    def writes(self, name: str, text: str) -> None:
        self.group._printer.feed(name, text.encode(), self.stage.now)

    def exits(self, name: str, code: str) -> None:
        self.child(name).there = False
        self.child(name).output = None
        self.group._on_exit(self.child(name), int(code), self.stage.now)

    def leader_exits(self, name: str, code: str) -> None:
        self.group._on_exit(self.child(name), int(code), self.stage.now)

    def vanishes(self, name: str) -> None:
        self.child(name).there = False

    def leaves_its_output_open(self, name: str, code: str) -> None:
        self.child(name).there = False
        self.group._on_exit(self.child(name), int(code), self.stage.now)

    def ends_its_output(self, name: str) -> None:
        self.child(name).output = None

    def signal(self, name: str) -> None:
        self.group._on_signal(signal.Signals[f"SIG{name}"], self.stage.now)

    def stop(self, code: str) -> None:
        self.group.stop(int(code))

    def restart(self, name: str) -> None:
        self.group.restart_processes([name])


class FakeContainer:
    warnings = ()
    id = ""

    def __init__(self, *_: object, name: str, **__: object) -> None:
        self.name = name


class FakeLife:
    stage: Stage
    slow: bool
    report: Any

    def __init__(self, container: Any, _tell: Any) -> None:
        self.container, self.output = container, 0
        self.process = re.sub(r"app-(\w+)-(\d+)-x", r"\1.\2", container.name)

    def begin(self) -> None:
        self.stage.note(f"start {self.process}")
        if not self.slow:
            self.report(self, Step(kind="started"))

    def send(self, number: int) -> None:
        self.stage.note(f"{signal.Signals(number).name} to {self.process}")

    stop = send

    def cut(self) -> None: ...


class Containers:
    """A formation of containers."""

    def __init__(
        self, stage: Stage, names: list[str], patch: pytest.MonkeyPatch, out: Any, slow: str = "", **options: Any
    ) -> None:
        self.stage = stage
        FakeLife.stage, FakeLife.slow, FakeFlow.stage = stage, bool(slow), stage
        patch.setattr(containers, "Flow", FakeFlow)
        patch.setattr(containers, "Life", FakeLife)
        patch.setattr(containers, "Container", FakeContainer)
        engine: Any = None
        self.group = containers.Group(
            [Blueprint(app="app", process=name, image="", command=[name], environment={}) for name in names],
            engine=engine,
            owner=engine,
            out=out,
            settings=Settings(**options),
            boot=Boot(address=None, shown="", seconds=60.0),
            environ={},
            clock=lambda: stage.now,
            jitter=lambda: 0.0,
            suffix=lambda: "x",
        )
        FakeLife.report = staticmethod(self.group._on_step)

    @property
    def due(self) -> float | None:
        return self.group._next_due()

    @property
    def done(self) -> bool:
        return self.group._done()

    @property
    def code(self) -> int:
        return self.group._code

    def tick(self) -> None:
        self.group._tick(self.stage.now)

    def _step(self, name: str, **step: Any) -> None:
        instance = self.group._named[name]
        assert instance.life is not None
        self.group._on_step(instance.life, Step(**step))

    def starts(self, name: str) -> None:
        self._step(name, kind="started")

    def is_refused(self, name: str) -> None:
        self.ends_its_output(name)
        self._step(name, kind="failed", error=RuntimeError())
        self._step(name, kind="removed")

    def writes(self, name: str, text: str) -> None:
        self.group._remember(name, text.encode())
        self.group._printer.feed(name, text.encode(), self.stage.now)

    def exits(self, name: str, code: str) -> None:
        self._step(name, kind="exited", exit=Exit(code=int(code)))
        self.ends_its_output(name)
        self._step(name, kind="removed")

    def leaves_its_output_open(self, name: str, code: str) -> None:
        self._step(name, kind="exited", exit=Exit(code=int(code)))

    def ends_its_output(self, name: str) -> None:
        self.group._named[name].output = None

    def vanishes(self, name: str) -> None:
        self._step(name, kind="removed")

    def signal(self, name: str) -> None:
        self.group._on_signal(signal.Signals[f"SIG{name}"])


Kind = type[Processes] | type[Containers]


def replay(kind: Kind, history: str, patch: pytest.MonkeyPatch) -> str:
    """Play the events of a history; return it as it then reads. The first event names the processes and the options."""
    stage = Stage()
    head, *events = [line.strip() for line in history.strip().splitlines() if line.startswith(">")]
    names, options = parse_head(head, stage)
    with Path("/dev/null").open("wb") as out:
        driver = kind(stage, names, patch, out, **options)
        stage.lines.append(head)
        driver.tick()
        for event in events:
            at, *words = event.removeprefix("> ").split(" ")
            pass_time(driver, float(at))
            stage.lines.append(event)
            act(driver, words)
            driver.tick()
        pass_time(driver, float("inf"))
    stage.note(f"the end, with code {driver.code}" if driver.done else "it waits")
    return "\n".join(stage.lines)


def parse_head(head: str, stage: Stage) -> tuple[list[str], dict[str, Any]]:
    """Read ``> web.1 worker.1 restart=always missing=web.1 slow=yes``."""
    words = [word.partition("=") for word in head.removeprefix("> ").split()]
    options: dict[str, Any] = {name: value for name, equals, value in words if equals}
    stage.missing = {options.pop("missing"): 127} if "missing" in options else {}
    return [name for name, equals, _ in words if not equals], options


def pass_time(driver: Processes | Containers, until: float) -> None:
    """Let time pass as the loop does, from one due moment to the next; what is due just then waits for the event."""
    stage = driver.stage
    for _ in range(10_000):
        due = driver.due
        if driver.done or due is None or due >= until:
            stage.now = until if until < float("inf") else stage.now
            return
        stage.now = max(stage.now, due)
        driver.tick()
    raise AssertionError("the loop turns for ever:\n" + "\n".join(stage.lines))


def act(driver: Any, words: list[str]) -> None:
    stage: Stage = driver.stage
    text = " ".join(words)
    if text in {"the reader stalls", "the reader reads"}:
        stage.stalled = text.endswith("stalls")
    elif text in {"requests wait", "requests are taken"}:
        stage.queued = text.endswith("wait")
    elif text.endswith("strays"):
        stage.strays = int(words[0])
    elif words[0] in {"signal", "stop", "restart"}:
        getattr(driver, words[0])(*words[1:])
    else:
        name, *verb = words
        arguments = []
        if verb[0] == "writes":
            arguments, verb = [" ".join(verb[1:]).encode().decode("unicode_escape")], verb[:1]
        elif verb[-1].isdigit():
            arguments, verb = verb[-1:], verb[:-1]
        getattr(driver, "_".join(verb))(name, *arguments)


def histories(file: Path) -> list[Any]:
    """Split a file at its headings, ``# name``."""
    parts = [part.partition("\n") for part in re.split(r"^# ", file.read_text(), flags=re.MULTILINE)[1:]]
    return [pytest.param(body.strip(), id=name) for name, _, body in parts]
