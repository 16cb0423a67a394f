"""An engine that answers nonsense: the command says so, and never that it is a bug of ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from buildpack.dataclass import replace
from deployer.cli.command import run
from deployer.engines.docker.owner import owner_labels, this_owner
from tests.support.command import ROOT
from tests.support.fake_engine import ANSWERS, IDENTITY, fake_engine
from tests.support.tiny import with_stack, write_app

NONSENSE = {
    "null": b"null",
    "text": b'"x"',
    "number": b"17",
    "lists": b"[[]]",
    "nulls": b"[null]",
    "object": b"{}",
    "wrong": b'{"Id": {}, "Config": 3, "Env": 3, "Warnings": 3, "State": [], "Labels": 3, "Names": 3}',
    "listed": b'[{"Id": {}, "Labels": 3, "Names": 3}]',
    "inside": b'{"Id": "x", "Config": {"Env": 3, "Tty": []}, "RootFS": {"Layers": 3}, "RepoTags": 3, "Manifests": [3]}',
    "digits": b'{"Id": ' + b"9" * 5000 + b"}",
    "deep": b"[" * 100_000,
    "surrogate": b'{"Id": "\\ud800"}',
    "empty": b"",
    "binary": b"\xff\xfe\x00",
}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Give back the handlers that a command in this process takes."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def app(seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DEPLOY_HOME", str(with_stack(seed, tmp_path / "home")))
    return str(write_app(tmp_path / "tiny", {}))


def ask(command: Sequence[str], answers: Mapping[str, bytes], folder: Path, patch: pytest.MonkeyPatch) -> int:
    """Run a command with such an engine; return its exit code."""
    with fake_engine(folder, answers) as address:
        patch.setenv("DOCKER_HOST", address)
        return run(command)


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_of_an_engine_is_not_a_bug_of_ours(
    body: bytes, app: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (["run", "x:1"], ["run", "--engine=docker", "--no-build", app]):
        code = ask(command, {"*": body}, tmp_path, monkeypatch)
        said = capsys.readouterr().err
        assert code in {30, 40}, said
        assert "Traceback" not in said


@pytest.mark.parametrize(
    ("command", "answers"),
    [
        (["run", "APP"], ANSWERS),
        (["run", "x:1", "--", "true"], ANSWERS),
        (["build", "--to=docker", "APP"], ["*"]),
        (["ci", "APP"], ["*"]),
    ],
    ids=["run", "run-image", "build", "ci"],
)
def test_one_answer_that_is_nonsense_is_not_a_bug_of_ours(
    command: list[str],
    answers: Iterable[str],
    app: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine has no container to attach to, so no command gets any further."""
    words = [app if word == "APP" else word for word in command]
    for asked in answers:
        for name in ("wrong", "deep"):
            code = ask(words, {asked: NONSENSE[name]}, tmp_path, monkeypatch)
            said = capsys.readouterr().err
            assert code == 40, (asked, name, said)
            assert "Traceback" not in said


@pytest.mark.parametrize(("state", "reported"), [("exited", True), ("removing", False)])
def test_a_container_that_the_engine_is_removing_is_left_to_it(
    state: str,
    reported: bool,
    app: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Docker 20.10 may list one until it starts again, and answers 404 to every question about it."""
    labels = owner_labels(replace(this_owner(), started="long ago"))
    listed = [{"Id": IDENTITY, "Names": [], "State": state, "Labels": labels}]
    ask(["run", "x:1"], {"GET /containers/json": json.dumps(listed).encode()}, tmp_path, monkeypatch)
    said = capsys.readouterr().err
    assert (f"removed {IDENTITY[:12]}, which an earlier run left\n" in said) == reported, said


CLOSING = """
import os, signal, threading, time
from deployer.cli import main
from deployer.engines.docker.client import Client
from deployer.interrupts import dismiss_helper

def close(engine):
    dismiss_helper()  # as is done before containers are started
    lock = threading.Lock()
    lock.acquire()
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(60)
    finally:
        lock.acquire()

Client.close = close
main()
"""
"""The connections are closed, a signal comes while they hold a lock, and they want it again."""


def test_a_signal_while_the_connections_are_closed_ends_it(tmp_path: Path) -> None:
    with fake_engine(tmp_path, {}) as address:
        environ = {**os.environ, "DOCKER_HOST": address, "DEPLOY_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            ["env", "--default-signal", sys.executable, "-c", CLOSING, "run", "x:1"],
            cwd=ROOT, env=environ, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
    assert done.returncode == 128 + signal.SIGHUP, done.stderr
