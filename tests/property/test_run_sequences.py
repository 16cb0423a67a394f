"""Random formations of `deploy run` that are stopped and killed: each ends in time, and nothing of it is left.

A fiftieth of the 500 sequences by default; all of them:

    DEPLOY_TEST_SCALE=1 pytest tests/property/test_run_sequences.py
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from docker.api.client import APIClient
from docker.errors import APIError
from hypothesis import Phase, example, given, seed, settings
from hypothesis import strategies as st

from deployer.engines.docker.owner import owner_labels, this_owner
from tests.support.command import deploy
from tests.support.ports import free_port
from tests.support.running import environment
from tests.support.tiny import write_app
from tests.support.waiting import settles

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="orphans are found by /proc"),
]

APP = f"deploytestsequences{os.getpid()}"

COMMANDS = {
    "web": "exec python -m http.server $PORT",
    "ends": "true",
    "fails": "exit 5",
    "fails-soon": "sleep 0.2; exit 6",
    "is-killed": "kill -9 $$",
    "is-missing": "no-such-command",
    "sleeps": "sleep 9999",
    "ignores-TERM": "trap '' TERM; while true; do sleep 0.1; done",
    "leaves-a-job": "sleep 9999 & exit 0",
    "leaves-a-stubborn-job": "(trap '' TERM; sleep 9999) & exit 0",
    "leaves-a-daemon": "python daemon.py; sleep 0.05",
    "has-a-daemon": "python daemon.py; exec sleep 9999",
    "makes-orphans": "while true; do (sleep 0.01 &); sleep 0.02; done",
    "forks": "sleep 9999 & sleep 9999 & wait",
    "floods": "yes",
}
DAEMON = """\
import os, signal, time

if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        time.sleep(9999)
    os._exit(0)
"""
LASTING = {"web", "sleeps", "ignores-TERM", "has-a-daemon", "makes-orphans", "forks", "floods"}
"""Process types that do not end by themselves."""
CODES = {"fails": 5, "fails-soon": 6, "is-killed": 137, "is-missing": 127}
"""With what the others end; where that is not 0."""

KILLED, TERMINATED, PIPE, REFUSED = 137, 143, 141, 40
SIGNALS = {name: signal.Signals[f"SIG{name}"] for name in ("TERM", "INT", "HUP", "USR1", "KILL")}
SECONDS = 60
"""From the last signal to the end: more than any deadline here, and time for a machine that is busy."""

STOPS = ("TERM", "INT", "HUP")
ACTIONS = (*STOPS, *("kill", "stop", "rm", "KILL", "wait") * 2, "USR1", "close output", "read nothing")


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """A formation, how it is started, and its steps: each is an action, the seconds before it, and a container.

    `begin` is when the first step's seconds begin: as soon as there is a process, once it has chosen the engine, or
    once a container runs.
    """

    formation: Mapping[str, int]
    policy: str
    stop_timeout: float
    begin: str
    steps: list[tuple[str, float, int]]
    last: str

    @property
    def arguments(self) -> list[str]:
        formation = [f"{name}={count}" for name, count in self.formation.items()]
        # For a second interrupt to be what ends it, rather than the deadline.
        stop_timeout = 30 if self.last == "INT twice" else self.stop_timeout
        return [*formation, "--restart", self.policy, "--stop-timeout", str(stop_timeout)]


def formations() -> st.SearchStrategy[Mapping[str, int]]:
    names = st.lists(st.sampled_from(sorted(COMMANDS)), min_size=1, max_size=3)
    return names.map(lambda chosen: {name: chosen.count(name) for name in chosen})


sequences = st.builds(
    Sequence,
    formation=formations(),
    policy=st.sampled_from(["no", "no", "on-failure", "always"]),
    stop_timeout=st.sampled_from([0, 0.5, 2]),
    begin=st.sampled_from(["at once", "chosen", "running", "running"]),
    steps=st.lists(st.tuples(st.sampled_from(ACTIONS), st.floats(0, 0.4), st.integers(0, 2)), max_size=4),
    last=st.sampled_from([*STOPS, "INT twice", "KILL"]),
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """The app's folder, its store, and the engine that has its image."""

    app: Path
    home: Path
    address: str
    api: Any  # docker.APIClient, which ships no types

    def containers(self, owner: int | None = None) -> list[dict[str, Any]]:
        """Return the containers of the app, or of one `deploy` here alone, in the order of their names."""
        labels = {"dev.deploy.app": APP} if owner is None else owner_labels(replace(this_owner(), pid=owner))
        labels.pop("dev.deploy.owner.started", None)
        found: list[dict[str, Any]] = self.api.containers(
            all=True, filters={"label": [f"{name}={value}" for name, value in labels.items()]}
        )
        return sorted(found, key=lambda one: one["Names"])

    def remove(self, owner: int | None = None) -> None:
        """Remove what is left after a failure."""
        for container in self.containers(owner):
            with contextlib.suppress(APIError):
                self.api.remove_container(container["Id"], force=True)


class Started:
    """A `deploy run` at work, whose processes, in containers too, carry a mark in their environment."""

    def __init__(self, place: Place, *arguments: str) -> None:
        self.mark = uuid.uuid4().hex
        self.place = place
        variable = f"DEPLOY_TEST={self.mark}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deployer", "run", place.app, "--no-build", "-e", variable, *arguments],
            env=environment(place.home, DOCKER_HOST=place.address, DEPLOY_TEST=self.mark),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.out, self.err = b"", b""
        self.reads = True
        self._closes = threading.Event()
        self._threads = [threading.Thread(target=read) for read in (self._read_out, self._read_err)]
        for thread in self._threads:
            thread.start()

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            while not self._closes.is_set():
                if not self.reads or not select.select([stream], [], [], 0.01)[0]:
                    self._closes.wait(0.01)
                    continue
                chunk = os.read(stream.fileno(), 1 << 16)
                if not chunk:
                    return
                self.out = (self.out + chunk)[-1 << 16 :]

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            while chunk := os.read(stream.fileno(), 1 << 16):
                self.err += chunk

    def close_output(self) -> None:
        """Go away as its reader, as `head` does."""
        self._closes.set()
        self._threads[0].join()

    @property
    def containers(self) -> list[dict[str, Any]]:
        return self.place.containers(self.process.pid)

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def marked(self) -> list[int]:
        """Return its processes, in containers or out of them."""
        found = []
        for pid in pids():
            with contextlib.suppress(OSError):
                if f"DEPLOY_TEST={self.mark}\0".encode() in Path("/proc", str(pid), "environ").read_bytes():
                    found.append(pid)
        return found

    def zombies(self) -> list[int]:
        """Return those children of the containers' first processes that nobody has reaped."""
        firsts = set()
        for container in self.containers:
            with contextlib.suppress(APIError):  # it is being removed, so that none of its processes is left
                firsts.add(self.place.api.inspect_container(container["Id"])["State"]["Pid"])
        return [pid for pid in pids() for state, parent in [status(pid)] if state == "Z" and parent in firsts - {0}]

    def close(self) -> None:
        """Let nothing be left of it."""
        self.process.kill()
        self.process.wait()
        self.close_output()
        self._threads[1].join()
        self.place.remove(self.process.pid)


def pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def status(pid: int) -> tuple[str, int]:
    with contextlib.suppress(OSError):
        state, parent = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[:2]
        return state, int(parent)
    return "", 0


class Expected:
    """The exit codes that the table allows for what has happened so far."""

    def __init__(self, sequence: Sequence) -> None:
        passing = sequence.formation.keys() - LASTING
        self.codes = {CODES.get(name, 0) for name in passing}
        # Before it has handlers, and once it is about to end, a signal may end it as any other program.
        self._plainly = bool(passing) or sequence.begin != "running"
        self._early = sequence.begin == "at once"

    def add(self, action: str) -> None:
        """Allow for an action."""
        if number := SIGNALS.get(action):
            self.codes |= {128 + number} if number != signal.SIGKILL else {-number}
            self.codes |= {-number} if self._plainly or number == signal.SIGUSR1 else set()
            self.codes |= {1} if self._early and number == signal.SIGINT else set()  # Python's, while it starts
        self.codes |= {PIPE} if action == "close output" else set()
        self._plainly |= action != "wait"


@pytest.fixture(scope="module")
def deaf_ears() -> Iterator[None]:
    """Let signals count that are ignored here (under `nohup`, behind `&`): programs inherit that, but no handler."""
    ignored = [SIGNALS[name] for name in STOPS if signal.getsignal(SIGNALS[name]) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="module")
def place(engine: str, deaf_ears: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The app, whose process types do what their names say, with its image in the engine."""
    home = tmp_path_factory.mktemp("home")
    app = write_app(tmp_path_factory.mktemp("apps") / APP, {}, source="https://pypi.org/simple")
    (app / "deploy.toml").write_text('stack = "host"\n')
    (app / "Procfile").write_text("".join(f"{name}: {command}\n" for name, command in COMMANDS.items()))
    (app / "daemon.py").write_text(DAEMON)
    done = deploy("build", app, "--to", "docker", "-q", home=home, env={"DOCKER_HOST": engine})
    assert done.code == 0, done.err
    api: Any = APIClient
    with contextlib.closing(api(base_url=engine, version="auto")) as client:
        there = Place(app=app, home=home, address=engine, api=client)
        yield there
        there.remove()
        client.remove_image(f"{APP}:latest", force=True)


@pytest.fixture(scope="module")
def bystander(place: Place) -> Iterator[Callable[[], bool]]:
    """Another `deploy run` of the same app, which lives the whole time; says whether its container is untouched."""
    living = Started(place, "sleeps")
    try:
        assert settles(lambda: any(one["State"] == "running" for one in living.containers)), living.err.decode()
        (container,) = living.containers
        began = place.api.inspect_container(container["Id"])["State"]["StartedAt"]

        def untouched() -> bool:
            state = place.api.inspect_container(container["Id"])["State"]
            return living.lives and state["Running"] and state["StartedAt"] == began

        yield untouched
        living.process.send_signal(signal.SIGINT)
        assert living.process.wait(SECONDS) == 130
        assert living.containers == []
        assert settles(lambda: not living.marked())
    finally:
        living.close()


def act(action: str, started: Started, which: int) -> set[int]:
    """Do something to `deploy`, to its reader, or to a container; with what exit codes the latter then may end."""
    if action in SIGNALS:
        started.process.send_signal(SIGNALS[action])
    elif action == "close output":
        started.close_output()
    elif action == "read nothing":
        started.reads = False
    elif action != "wait" and (containers := started.containers):
        return end_container(action, started.place.api, containers[which % len(containers)])
    return set()


def end_container(action: str, api: Any, container: Mapping[str, Any]) -> set[int]:
    with contextlib.suppress(APIError):  # it has ended, or is gone
        if action == "kill":
            api.kill(container["Id"])
        elif action == "stop":
            api.stop(container["Id"], timeout=1)
            return {KILLED, TERMINATED}
        else:
            api.remove_container(container["Id"], force=True)
            # A container that is removed before it starts cannot be started.
            return {KILLED} if container["State"] == "running" else {KILLED, REFUSED}
    return {KILLED}


def stop(last: str, started: Started, expected: Expected) -> None:
    """Do what must end it within `SECONDS`."""
    number, _, twice = last.partition(" ")
    expected.add(number)
    act(number, started, 0)
    if twice:
        time.sleep(1.1)
    if twice and started.lives:
        expected.add(number)
        act(number, started, 0)


def follow(sequence: Sequence, started: Started) -> Expected:
    """Do to it what the sequence says, and stop it if it still lives; the exit codes it may end with."""
    expected = Expected(sequence)
    if sequence.begin == "chosen":
        assert settles(lambda: started.err.startswith(b"engine: ") or not started.lives)
    elif sequence.begin == "running":
        assert settles(lambda: any(one["State"] == "running" for one in started.containers) or not started.lives), (
            started.err.decode()
        )
    for action, pause, which in sequence.steps:
        time.sleep(pause)
        if not started.lives:
            break
        expected.add(action)
        expected.codes |= act(action, started, which)
    if started.lives:
        assert settles(lambda: not started.lives or not started.zombies())
        stop(sequence.last, started, expected)
    return expected


def check(sequence: Sequence, place: Place, untouched: Callable[[], bool]) -> None:
    """Run one sequence, and see that the laws hold."""
    started = Started(place, *sequence.arguments, "-p", str(free_port(3)))
    try:
        expected = follow(sequence, started)
        code = started.process.wait(SECONDS)
        if code == -signal.SIGKILL:
            cleared = deploy(
                *("run", place.app, "--no-build", "ends"), home=place.home, env={"DOCKER_HOST": place.address}
            )
            assert cleared.code == 0, cleared.err
        assert code in expected.codes
        assert [(one["Names"], one["State"]) for one in started.containers] == []
        assert settles(lambda: not started.marked())
        assert untouched()
    except Exception as error:
        started.close()
        error.add_note(f"{sequence}\nended with {started.process.returncode} and said:\n{started.err.decode()}")
        error.add_note(started.out[-4000:].decode(errors="replace"))
        raise
    finally:
        started.close()


UNREAD = Sequence(
    formation={"floods": 2, "leaves-a-job": 1},
    policy="on-failure",
    stop_timeout=0,
    begin="running",
    steps=[("read nothing", 0.03, 1)],
    last="INT twice",
)
"""An engine that cannot get rid of the floods did not get round to killing them."""


def test_nothing_is_left(place: Place, bystander: Callable[[], bool], pytestconfig: pytest.Config):
    asked = str(pytestconfig.getoption("hypothesis_seed") or "random")
    number = int(asked) if asked != "random" else random.getrandbits(32)
    print(f"--hypothesis-seed={number}")  # noqa: T201

    @seed(number)
    # Nothing is made smaller: what fails is a matter of moments, and each attempt takes a second.
    @settings(phases=[Phase.explicit, Phase.generate])
    @given(sequence=sequences)
    @example(UNREAD)
    def nothing_is_left(sequence: Sequence) -> None:
        check(sequence, place, bystander)

    nothing_is_left()
