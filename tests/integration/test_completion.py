"""Completion in real shells: keys are typed at a terminal, and the command line that comes of it is looked at."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.support.command import ROOT

# Asked for completions it is `deploy`; else it tells the arguments it was started with.
PROGRAM = f"""\
#!/bin/sh
if [ -n "$_DEPLOY_COMPLETE" ] || [ "$1" = completion ]; then exec {sys.executable} -m deployer "$@"; fi
for argument; do printf '<%s>' "$argument"; done > arguments.new
mv arguments.new arguments
"""

START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
SET_UP = {
    "bash": 'eval "$(deploy completion bash)"',
    "zsh": 'autoload -U compinit && compinit -u -D && eval "$(deploy completion zsh)"',
    "fish": "deploy completion fish | source",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an app in it, another one inside, and a program beside it."""
    root = tmp_path_factory.mktemp("completion")
    program = root / "bin" / "deploy"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    here = root / "here"
    (here / "my app").mkdir(parents=True)
    (here / "sites" / "one").mkdir(parents=True)
    (here / "Procfile").write_text("web: gunicorn blasto:APP\nworker: python work.py, $HOME\nclock: python tick.py\n")
    (here / "my app" / "Procfile").write_text("mailer: python mail.py\n")
    return here


def environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": f"{folder.parent}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder.parent),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
    }


class Terminal:
    """A shell at a terminal of its own, with completion set up."""

    def __init__(self, shell: str, folder: Path) -> None:
        self.folder = folder
        self.seen = b""
        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            START[shell],
            cwd=folder,
            env=environment(folder),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  there are no threads
        )
        os.close(theirs)
        self._read(0.5)
        self.type(f"{SET_UP[shell]}; touch {shell}.ready\r", until=f"{shell}.ready")

    def type(self, text: str, *, until: str) -> None:
        """Type keys, and wait for a file to appear."""
        os.write(self.ours, text.encode())
        end = time.monotonic() + 120
        while not (self.folder / until).exists():
            assert time.monotonic() < end, self.seen.decode(errors="replace")
            self._read(0.05)

    def complete(self, typed: str) -> str:
        """Type a line, the tabulator and return; the arguments `deploy` was started with."""
        told = self.folder / "arguments"
        told.unlink(missing_ok=True)
        self.type(f"{typed}\t\r", until="arguments")
        return told.read_text()

    def _read(self, seconds: float) -> None:
        # A terminal that nobody reads blocks its shell.
        while select.select([self.ours], [], [], seconds)[0]:
            try:
                self.seen += os.read(self.ours, 65536)
            except OSError:  # the shell ended
                return

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def terminal(request: pytest.FixtureRequest, folder: Path) -> Iterator[Terminal]:
    if shutil.which(request.param) is None:
        missing(f"{request.param} is not installed; install it to run this test")
    terminal = Terminal(request.param, folder)
    yield terminal
    terminal.close()


@pytest.mark.parametrize(
    ("typed", "arguments"),
    [
        ("deploy bu", "<build>"),
        ("deploy run wor", "<run><worker>"),
        ("deploy build --sta", "<build><--stack>"),
        ("deploy build --stack python:3.13", "<build><--stack><python:3.13-slim>"),
        ("deploy build --stack=python:3.13", "<build><--stack=python:3.13-slim>"),
        ("deploy build --to oci:my", "<build><--to><oci:my app/>"),
        ("deploy run my", "<run><my app/>"),
        ("deploy run my\\ app ma", "<run><my app><mailer>"),
        ("deploy run si\to", "<run><sites/one/>"),  # no space after the slash: what comes next is the same word's
        ("deploy export com", "<export><compose>"),
        ("deploy nonsense w", "<nonsense><w>"),
    ],
)
def test_the_tabulator_completes(terminal, typed, arguments):
    assert terminal.complete(typed) == arguments


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_click_s_own_way_gives_the_same_script(folder, shell):
    env = environment(folder)
    done = subprocess.run(["deploy", "completion", shell], env=env, capture_output=True, check=True)
    again = subprocess.run(
        ["deploy"], env={**env, "_DEPLOY_COMPLETE": f"{shell}_source"}, capture_output=True, check=True
    )
    assert done.stdout == again.stdout
    assert done.stderr == b""


@pytest.mark.parametrize(
    "line", ["deploy ", "deploy run ", "deploy local ", "deploy build --s", "deploy export compose --"]
)
def test_completion_imports_little(folder, line):
    env = {**environment(folder), "COMP_LINE": line, "_DEPLOY_COMPLETE": "zsh_complete"}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "deployer"], cwd=folder, env=env, capture_output=True, check=True
    )
    imported = {line.rpartition(b"|")[2].strip().decode() for line in done.stderr.splitlines()}
    assert "click" in imported
    assert len(imported) < 160, "what the interpreter itself imports counts too"
    assert imported.isdisjoint(
        {"requests", "docker", "rich", "jinja2", "packaging", "buildpack.pipeline", "subprocess"}
    )
