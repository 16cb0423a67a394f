"""The same Procfiles under `honcho start` and `deploy local`: the same result, except for what docs/runner.md lists."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.command import EXAMPLES, ROOT
from tests.support.ports import free_port
from tests.support.running import Running, environment
from tests.support.waiting import settles

STAYS = "exec 2>/dev/null; trap 'exit 0' TERM; while :; do sleep 0.05; done"
"""A process that ends with 0 once it gets TERM; some shells print that the `sleep` got TERM too."""
PREFIX = re.compile(rb"((?:\x1b\[[0-9;]*m)*)\d\d:\d\d:\d\d (\S+)( *\| (?:\x1b\[0m)?)")


@pytest.fixture(scope="module", autouse=True)
def warm(home: Path) -> None:
    """Have blasto's environment made: the line about that is another test's."""
    assert Running("local", EXAMPLES / "blasto", "--", "true", home=home).wait() == 0


class Runner:
    """Honcho or `deploy local`, at work on an app's folder."""

    def __init__(self, argv: Sequence[str], folder: Path, env: dict[str, str], *, terminal: bool) -> None:
        ours, theirs = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE
        )
        os.close(theirs)
        self.mark = f"DEPLOY_TEST={env['DEPLOY_TEST']}\0".encode()
        self.folder, self.text, self.errors = folder, b"", b""
        self._threads = [
            threading.Thread(target=self._read, args=(ours,)),
            threading.Thread(target=self._read_errors),
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, fd: int) -> None:
        with os.fdopen(fd, "rb", buffering=0) as stream:
            try:
                while chunk := stream.read(1 << 16):
                    self.text += chunk
            except OSError:  # the terminal's other end is closed
                pass

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            while line := stream.readline():
                self.errors += line

    def wait_for(self, text: str, count: int) -> None:
        found = settles(lambda: self.text.count(text.encode()) >= count, seconds=60)
        assert found, (self.process.args, self.process.poll(), self.text, self.errors)

    def wait(self) -> int:
        """Wait for the end of the runner; return its exit code. The processes that it left may go on to print."""
        return self.process.wait(60)

    def lines(self) -> dict[str, list[bytes]]:
        """Return each process's lines with their prefix, without the time and the numbers of processes."""
        found: dict[str, list[bytes]] = {}
        for line in self.text.split(b"\n"):
            if match := PREFIX.match(line):
                plain = match[1] + b"TIME " + match[2] + match[3] + line[match.end() :]
                found.setdefault(match[2].decode(), []).append(re.sub(rb"\b(pid[ =])\d+", rb"\1N", plain).rstrip(b"\r"))
        return found

    def said(self, name: str) -> list[str]:
        """Return the lines of a process, without their prefix."""
        return [line.partition(b" | ")[2].decode("utf-8", "surrogateescape") for line in self.lines().get(name, [])]

    def left(self) -> list[int]:
        """Return the processes that it started and that are still there."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    marked = self.mark in (folder / "environ").read_bytes()
                except OSError:
                    continue
                if marked:
                    found.append(int(folder.name))
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for thread in self._threads:
            thread.join(60)


Both = tuple[Runner, Runner]


@pytest.fixture
def run(tmp_path: Path, home: Path) -> Iterator[Callable[..., Both]]:
    """Start both runners on the same Procfile, each in a folder of its own."""
    started: list[Runner] = []

    def begin(
        procfile: str,
        *,
        dotenv: str = "",
        formation: dict[str, int] | None = None,
        port: int = 0,
        terminal: bool = False,
    ) -> Both:
        counts = formation or {}
        commands = {
            "honcho": [*("-m", "honcho", "start"), *(["-p", str(port)] if port else [])]
            + (["-c", ",".join(f"{name}={count}" for name, count in counts.items())] if counts else []),
            "ours": [*("-m", "deployer", "local"), *(["-p", str(port)] if port else [])]
            + [f"{name}={count}" for name, count in counts.items()],
        }
        for name, arguments in commands.items():
            folder = tmp_path / name
            folder.mkdir()
            for file in ("Pipfile", "Pipfile.lock", "deploy.toml"):
                shutil.copy(EXAMPLES / "blasto" / file, folder / file)
            (folder / "Procfile").write_text(procfile)
            (folder / ".env").write_text(dotenv)
            env = environment(home, DEPLOY_TEST=uuid.uuid4().hex, PYTHONPATH=str(ROOT))
            started.append(Runner([sys.executable, *arguments], folder, env, terminal=terminal))
        return started[0], started[1]

    yield begin
    for runner in started:
        runner.close()


def compare(both: Both) -> None:
    """Assert that both printed the same, but for the line in which ours says why it stops the others."""
    honcho, ours = (runner.lines() for runner in both)
    reasons = [line for line in ours["system"] if line.endswith(b"so the others are stopped")]
    ours["system"] = [line for line in ours["system"] if line not in reasons]
    assert len(reasons) <= 1
    assert {name: sorted(lines) for name, lines in ours.items()} == {
        name: sorted(lines) for name, lines in honcho.items()
    }


# The same


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_names_ports_and_concurrency(run, number):
    show = f"echo my port is $PORT; {STAYS}"
    procfile = f"web: {show}\nworker: {show}\nclock: {show}\n"
    both = run(procfile, formation={"web": 2, "worker": 1, "clock": 3}, port=free_port(300))
    for runner in both:
        runner.wait_for("my port is", 6)
        runner.process.send_signal(number)
    assert [runner.wait() for runner in both] == [128 + number] * 2
    compare(both)
    assert sorted(both[1].lines()) == ["clock.1", "clock.2", "clock.3", "system", "web.1", "web.2", "worker.1"]


def test_one_of_each_without_a_formation(run):
    both = run(f"worker: echo up; {STAYS}\nclock: echo up; {STAYS}\n")
    for runner in both:
        runner.wait_for("up\n", 2)
        runner.process.send_signal(signal.SIGTERM)
    assert [runner.wait() for runner in both] == [143, 143]
    compare(both)


def test_a_dot_env_file(run):
    port = free_port(101)
    dotenv = f"# a comment\nA=1\nB='two words'\nC=\"three words\"\n\nPORT={port}\n"
    both = run(f"web: true\nworker: echo $A $B $C $PORT; {STAYS}\n", dotenv=dotenv, formation={"web": 0, "worker": 1})
    for runner in both:
        runner.wait_for(f"1 two words three words {port + 100}", 1)
        runner.process.send_signal(signal.SIGTERM)
    assert [runner.wait() for runner in both] == [143, 143]
    compare(both)


@pytest.mark.parametrize("code", [0, 7])
def test_the_first_exit_stops_the_rest_and_names_the_exit_code(run, code):
    wait = "while [ ! -e go ]; do sleep 0.05; done"
    both = run(f"worker: {wait}; exit {code}\nclock: echo up; {STAYS}\n")
    for runner in both:
        runner.wait_for("up\n", 1)
        (runner.folder / "go").touch()
    assert [runner.wait() for runner in both] == [code, code]
    compare(both)


def test_prefixes_and_colours_on_a_terminal(run):
    names = ["web", "worker", "clock", "long-name", *(f"p{number}" for number in range(10))]
    both = run("".join(f"{name}: echo up; {STAYS}\n" for name in names), terminal=True)
    for runner in both:
        runner.wait_for("up\r\n", len(names))
        runner.process.send_signal(signal.SIGTERM)
    assert [runner.wait() for runner in both] == [143, 143]
    compare(both)
    assert both[1].lines()["worker.1"] == [b"\x1b[0m\x1b[33mTIME worker.1    | \x1b[0mup"]


# Differences


@dataclass(frozen=True, kw_only=True)
class Case:
    """A difference: what is run, and what is seen of it under each of the two.

    Once all of `until` is printed, `stop` is sent, if any, and `see` looks. If the order of two events counts, `see`
    makes the second one itself: no case depends on how long something takes.
    """

    procfile: str
    see: Callable[[Runner], object]
    honcho: object
    ours: object
    dotenv: str = ""
    until: str = ""
    stop: int = 0
    port: int = 0


def code(runner: Runner) -> int:
    return runner.wait()


def lines(runner: Runner) -> list[str]:
    runner.wait()
    return runner.said("job.1")


def is_honcho(runner: Runner) -> bool:
    return "honcho" in str(runner.process.args)


def shown(runner: Runner) -> bool:
    """Look whether the prompt is there: ours may take a moment, Honcho never shows it."""
    return b"Password: " in runner.text or (
        not is_honcho(runner) and settles(lambda: b"Password: " in runner.text, seconds=60)
    )


def names(runner: Runner) -> list[str]:
    """Stop it once all that it starts is up; return the names of its processes."""
    runner.wait_for("up\n", 2 if is_honcho(runner) else 1)
    runner.process.send_signal(signal.SIGTERM)
    runner.wait()
    return sorted(set(runner.lines()) - {"system"})


def late_failure(runner: Runner) -> int:
    """Let `a` end well and `b` fail afterwards, before ours sees either; return the exit code."""
    runner.wait_for("up\n", 2)
    if is_honcho(runner):
        (runner.folder / "end-a").touch()
        runner.wait_for("a.1 stopped", 1)
        (runner.folder / "end-b").touch()
        return runner.wait()
    runner.process.send_signal(signal.SIGSTOP)
    for name in ("a", "b"):
        (runner.folder / f"end-{name}").touch()
        stat = Path("/proc", (runner.folder / f"{name}.pid").read_text().strip(), "stat")
        assert settles(lambda stat=stat: stat.read_text().rpartition(")")[2].split()[0] == "Z", seconds=60)
    runner.process.send_signal(signal.SIGCONT)
    return runner.wait()


def slow_end(runner: Runner) -> list[str]:
    """Let `a` end, so that the other is stopped; for ours let that take more seconds than Honcho gives it."""
    runner.wait_for("up\n", 1)
    (runner.folder / "end-a").touch()
    if not is_honcho(runner):
        time.sleep(6)  # Honcho kills after 5 seconds, ours after 25
        (runner.folder / "end").touch()
    return lines(runner)


def left(runner: Runner) -> tuple[int, bool]:
    ended = runner.wait()
    return ended, bool(runner.left())


CASES = {
    "a process that a signal killed": Case(procfile="job: kill -9 $$\n", see=code, honcho=247, ours=137),
    "one that fails after one that ended well": Case(
        procfile="".join(
            f"{name}: trap '' TERM; echo $$ > {name}.pid; echo up; "
            f"while [ ! -e end-{name} ]; do sleep 0.05; done; exit {number}\n"
            for name, number in (("a", 0), ("b", 5))
        ),
        see=late_failure,
        honcho=0,
        ours=5,
    ),
    "HUP": Case(
        procfile="job: echo up; exec sleep 1000\n",
        until="up\n",
        stop=signal.SIGHUP,
        see=left,
        honcho=(-1, True),
        ours=(129, False),
    ),
    "a job that a process leaves behind": Case(
        procfile="job: sleep 1000 >/dev/null 2>&1 & echo up\n", see=left, honcho=(0, True), ours=(0, False)
    ),
    "six seconds to end": Case(
        procfile="a: while [ ! -e end-a ]; do sleep 0.05; done\n"
        "job: exec 2>/dev/null; trap 'while [ ! -e end ]; do sleep 0.05; done; echo finished; exit 0' TERM; "
        "echo up; while :; do sleep 0.05; done\n",
        see=slow_end,
        honcho=["up"],
        ours=["up", "finished"],
    ),
    "a carriage return within a line": Case(
        procfile="job: printf '1\\r2\\n'\n", see=lines, honcho=["1", "2"], ours=["1\r2"]
    ),
    "bytes that are not UTF-8": Case(
        procfile="job: printf 'caf\\351\\n'\n", see=lines, honcho=["caf\N{REPLACEMENT CHARACTER}"], ours=["caf\udce9"]
    ),
    "a prompt": Case(
        procfile="job: printf 'Password: '; touch asked; exec sleep 1000\n"
        "clock: while [ ! -e asked ]; do sleep 0.05; done; echo tick; exec sleep 1000\n",
        until="tick\n",
        see=shown,
        honcho=False,
        ours=True,
    ),
    "spaces in .env": Case(
        procfile="job: echo $A\n", dotenv="A=foo bar\n", see=lines, honcho=["foobar"], ours=["foo bar"]
    ),
    "export in .env": Case(procfile="job: echo a$A\n", dotenv="export A=1\n", see=lines, honcho=["a"], ours=["a1"]),
    "an empty value in .env": Case(
        procfile="job: echo ${A-unset}.\n", dotenv="A=\n", see=lines, honcho=["unset."], ours=["."]
    ),
    "an apostrophe in .env": Case(procfile="job: echo $A\n", dotenv="A=it's\n", see=lines, honcho=[], ours=["it's"]),
    "release": Case(
        procfile="release: echo up; exec sleep 1000\njob: echo up; exec sleep 1000\n",
        see=names,
        honcho=["job.1", "release.1"],
        ours=["job.1"],
    ),
    "ports if web is not the first": Case(
        procfile="job: echo $PORT\nweb: exec sleep 1000\n",
        port=8100,
        see=lines,
        honcho=["8100"],
        ours=["8200"],
    ),
    "the name of a process in its environment": Case(
        procfile="job: echo $HONCHO_PROCESS_NAME/$PS/$DYNO\n", see=lines, honcho=["job.1//"], ours=["/job.1/job.1"]
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_differences(run, name):
    case = CASES[name]
    both = run(case.procfile, dotenv=case.dotenv, port=case.port)
    for runner in both:
        if case.until:
            runner.wait_for(case.until, 1)
        if case.stop:
            runner.process.send_signal(case.stop)
    assert [case.see(runner) for runner in both] == [case.honcho, case.ours]


def test_the_documentation_lists_every_difference():
    rows = re.findall(r"^\| ([^|]+?) +\|", (ROOT / "docs" / "runner.md").read_text(), flags=re.MULTILINE)
    assert [row.replace("`", "") for row in rows if row != "what"] == list(CASES)
