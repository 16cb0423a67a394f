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

from deployer.runner.lifecycle import Lifecycle
from deployer.runner.printer import Printer
from deployer.runner.stage import Action, Pace

_NOISE = re.compile(r" \((?:pid|container)[ =][^)]*\)")


class Stage:
    """The world that a history is played in: the time, and the actions so far."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.stalled = self.queued = False
        self.strays = 0
        self.holds = False
        self.missing: set[str] = set()

    def note(self, text: str) -> None:
        """Note what is done; what is repeated for strays is noted once."""
        if "strays" not in text or not self.lines[-1].endswith(text):
            self.lines.append(f"{self.now:g} {text}")

    def emit(self, rendered: bytes) -> None:
        """Note what the printer printed; a line that has not ended yet is followed by a backslash."""
        for line in rendered.decode().splitlines(keepends=True):
            shown = re.sub(r"^\d\d:\d\d:\d\d (\S+) +\| ", r"\1 | ", line)
            self.note(_NOISE.sub("", shown.rstrip("\n") + "\\" * (not line.endswith("\n"))))


class Formation:
    """The lifecycle of a formation under test, with a printer, and with places that do nothing by themselves.

    A place starts at once; with `slow` the history says when.
    """

    def __init__(self, stage: Stage, pace: Pace, names: list[str], *, restart: str = "no", slow: str = "") -> None:
        self.stage, self.slow = stage, bool(slow)
        self.lifecycle = Lifecycle(
            names, pace=pace, stop_timeout=25.0, restart=restart, holds=stage.holds, jitter=lambda: 0.0
        )
        self.printer = Printer(stage.emit, wall_clock=lambda: 0.0)
        self.open: set[str] = set()
        self.lifecycle.begin(stage.now)

    @property
    def due(self) -> float | None:
        looks = self.lifecycle.at_rest and not self.lifecycle.swept
        due = [self.lifecycle.next_due(), self.printer.next_partial(), self.stage.now + 0.05 if looks else None]
        return min((moment for moment in due if moment is not None), default=None)

    def tick(self) -> None:
        """Do as a turn of the supervisor's loop does."""
        lifecycle, now = self.lifecycle, self.stage.now
        if not self.stage.queued:
            lifecycle.queue_taken(now)
        self.carry_out()
        while lifecycle.start_next(now):
            self.carry_out()
        lifecycle.tick(now, stalled=self.stage.stalled)
        self.carry_out()
        self.printer.show_partials(now)
        if lifecycle.at_rest and not lifecycle.swept:
            lifecycle.stray(self.stage.strays, now)
            self.carry_out()

    def carry_out(self) -> None:
        while self.lifecycle.actions:
            self.do(self.lifecycle.actions.popleft())

    def do(self, action: Action) -> None:
        name, now = action.place, self.stage.now
        match action.kind:
            case "say":
                self.printer.system(action.text)
            case "strays":
                self.stage.note(f"{signal.Signals(action.number).name} to strays")
            case "start" if name in self.stage.missing:
                self.lifecycle.not_started(name, 127, "command not found", now)
            case "start":
                self.stage.note(f"start {name}")
                self.open.add(name)
                if not self.slow:
                    self.starts(name)
            case "signal":
                self.stage.note(f"{signal.Signals(action.number).name} to {name}")
            case "abandon":
                self.stage.note(f"give up {name}")
            case "close":
                self.ends_its_output(name, noted=True)
            case "end":
                self.printer.end(name)

    # The words of a history

    def starts(self, name: str) -> None:
        self.lifecycle.started(name, self.stage.now, label="pid=1", tag=" (pid 1)")

    def is_refused(self, name: str) -> None:
        self.ends_its_output(name)
        self.lifecycle.refused(name, 1, self.stage.now)
        self.vanishes(name)

    def writes(self, name: str, text: str) -> None:
        self.lifecycle.wrote(name)
        self.printer.feed(name, text.encode(), self.stage.now)

    def exits(self, name: str, code: str) -> None:
        self.lifecycle.exited(name, int(code), self.stage.now)
        self.ends_its_output(name)
        self.vanishes(name)

    def leader_exits(self, name: str, code: str) -> None:
        self.lifecycle.exited(name, int(code), self.stage.now, left=True)

    def leaves_its_output_open(self, name: str, code: str) -> None:
        self.lifecycle.exited(name, int(code), self.stage.now)

    def vanishes(self, name: str) -> None:
        self.lifecycle.vacated(name, self.stage.now)

    def ends_its_output(self, name: str, *, noted: bool = False) -> None:
        if name in self.open:
            self.open.remove(name)
            if noted:
                self.stage.note(f"close the output of {name}")
            self.lifecycle.closed(name, self.stage.now)

    def signal(self, name: str) -> None:
        self.lifecycle.signalled(signal.Signals[f"SIG{name}"], self.stage.now, queued=self.stage.queued)

    def stop(self, code: str) -> None:
        self.lifecycle.stop(int(code), self.stage.now)

    def restart(self, name: str) -> None:
        self.lifecycle.restart([name], self.stage.now)


def replay(pace: Pace, history: str) -> str:
    """Play the events of a history; return it as it then reads. The first event names the processes and the options."""
    stage = Stage()
    head, *events = [line.strip() for line in history.strip().splitlines() if line.startswith(">")]
    names, options = parse_head(head, stage)
    driver = Formation(stage, pace, names, **options)
    stage.lines.append(head)
    driver.tick()
    for event in events:
        at, *words = event.removeprefix("> ").split(" ")
        pass_time(driver, float(at))
        stage.lines.append(event)
        act(driver, words)
        driver.tick()
    pass_time(driver, float("inf"))
    done, code = driver.lifecycle.done, driver.lifecycle.code
    stage.note(f"the end, with code {code}" if done else "it waits")
    return "\n".join(stage.lines)


def parse_head(head: str, stage: Stage) -> tuple[list[str], dict[str, Any]]:
    """Read ``> web.1 worker.1 restart=always missing=web.1 slow=yes holds=yes``."""
    words = [word.partition("=") for word in head.removeprefix("> ").split()]
    options: dict[str, Any] = {name: value for name, equals, value in words if equals}
    stage.missing = {options.pop("missing")} if "missing" in options else set()
    stage.holds = bool(options.pop("holds", ""))
    return [name for name, equals, _ in words if not equals], options


def pass_time(driver: Formation, until: float) -> None:
    """Let time pass as the loop does, from one due moment to the next; what is due just then waits for the event."""
    stage = driver.stage
    for _ in range(10_000):
        due = driver.due
        if driver.lifecycle.done or due is None or due >= until:
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
