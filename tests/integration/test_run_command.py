"""`deploy run APP -- CMD`: one command with the terminal itself, or with plain streams if there is none."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.command import ROOT, Done, deploy
from tests.support.containers import APP, Host, make_app
from tests.support.running import environment

pytestmark = pytest.mark.slow


@pytest.fixture(
    scope="module",
    params=[pytest.param("docker", marks=pytest.mark.engine), pytest.param("podman", marks=pytest.mark.podman)],
)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Host]:
    """An engine, with the app's image in it."""
    address = request.getfixturevalue("engine" if request.param == "docker" else "podman")
    host = Host(address=address, product=request.param.capitalize())
    app = make_app(tmp_path_factory.mktemp("apps"))
    done = deploy("build", app, "--to", "docker", "-q", home=home, env={"DOCKER_HOST": host.address})
    assert done.code == 0, done.err
    yield host
    host.docker("rmi", "-f", f"docker.io/library/{APP}:latest", check=False)


@pytest.fixture
def command(built: Host, home: Path) -> Callable[..., Done]:
    """Run a command without a terminal."""

    def run(*words: str, options: tuple[str, ...] = (), stdin: bytes = b"") -> Done:
        done = deploy(
            *("run", f"{APP}:latest", "--engine", "docker", *options, "--", *words),
            home=home,
            env={"DOCKER_HOST": built.address},
            stdin=stdin,
            timeout=120,
        )
        assert built.containers() == []
        return done

    return run


class Terminal:
    """A `deploy run ... -- CMD` on a terminal of its own."""

    def __init__(self, *words: str, host: Host, home: Path, options: tuple[str, ...] = ()) -> None:
        self.master, slave = pty.openpty()
        self.resize(24, 80, quietly=True)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deployer", "run", f"{APP}:latest", "-q", *options, "--", *words],
            cwd=ROOT,
            env=environment(home, DOCKER_HOST=host.address),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  no thread is at work here
        )
        self.slave = slave
        self.seen = ""

    def resize(self, rows: int, columns: int, *, quietly: bool = False) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if not quietly:
            self.process.send_signal(signal.SIGWINCH)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str, seconds: float = 60) -> None:
        """Wait for a text beyond what was waited for so far."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} is not in {self.seen!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 4096).decode()
        self.seen = self.seen.partition(text)[2]

    def wait(self, seconds: float = 60) -> int:
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it does not end; last seen: {self.seen!r}"
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 4096).decode()
        return self.process.returncode

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(built: Host, home: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def begin(*words: str, options: tuple[str, ...] = ()) -> Terminal:
        opened.append(Terminal(*words, host=built, home=home, options=options))
        return opened[-1]

    yield begin
    for one in opened:
        one.close()
    left = built.containers()
    for name in left:
        built.docker("rm", "-f", name)
    assert left == []


# Without a terminal


@pytest.mark.every_engine
def test_streams_stay_apart_and_the_exit_code_is_the_commands(command):
    done = command("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.code, done.out, done.err) == (7, "out\n", "err\n")


def test_options_of_the_command_are_not_ours(command):
    assert command("python", "-c", "import sys; print(sys.argv)", "--help", "-p", "--").out == (
        "['-c', '--help', '-p', '--']\n"
    )


def test_input_is_passed_on_and_ends(command):
    assert command("python", "-", stdin=b"print(6 * 7)\n").out == "42\n"
    text = os.urandom(300_000).hex().encode()
    assert command("cat", stdin=text).out.encode() == text


def test_output_comes_as_the_bytes_that_were_written(command):
    count = 3_000_000
    done = command("python", "-c", f"import sys; sys.stdout.write('x' * {count})")
    assert (done.code, len(done.out)) == (0, count)


def test_a_command_that_reads_nothing_ends_by_itself(command):
    assert command("true", stdin=b"x" * 1_000_000).code == 0


def test_there_is_no_terminal(command):
    assert command("sh", "-c", "tty").out == "not a tty\n"


def test_the_apps_environment(command):
    done = command("sh", "-c", "echo $DYNO $A $PYTHONPATH; command -v python", options=("-e", "A=1"))
    assert done.out == "run.1 1 /app\n/opt/venv/bin/python\n"


@pytest.mark.every_engine
def test_a_missing_command(command):
    done = command("nosuch")
    assert done.code == 127
    assert done.err.startswith("error: nosuch: command not found\n")


def test_a_reader_that_leaves(built, home):
    process = subprocess.Popen(
        [sys.executable, "-m", "deployer", "run", f"{APP}:latest", "-q", "--", "yes"],
        cwd=ROOT,
        env=environment(home, DOCKER_HOST=built.address),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"y\n"
    assert process.wait(60) == 141
    assert built.containers() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_signals_are_passed_on(built, home, number, code):
    process = subprocess.Popen(
        [sys.executable, "-m", "deployer", "run", f"{APP}:latest", "-q", "--", "sh", "-c", "echo up; exec sleep 100"],
        cwd=ROOT,
        env=environment(home, DOCKER_HOST=built.address),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.wait(60) == code
    assert built.containers() == []


# With one


@pytest.mark.every_engine
def test_a_shell_has_the_terminal_its_size_and_its_keys(terminal):
    shell = terminal("sh")
    shell.expect("$ ")
    shell.type("stty size; tty\r")
    shell.expect("24 80\r\n/dev/pts/0\r\n")
    shell.expect("$ ")
    shell.resize(30, 100)
    shell.type('until [ "$(stty size)" = "30 100" ]; do sleep 0.1; done; echo now $(stty size)\r')
    shell.expect("now 30 100")
    shell.type("sleep 100\r")
    time.sleep(0.3)
    shell.type("\x03")
    shell.expect("$ ")
    shell.type("echo code $?\r")
    shell.expect("code 130")
    shell.type("exit 5\r")
    assert shell.wait() == 5
    assert termios.tcgetattr(shell.slave) == shell.before


def test_the_debugger(terminal):
    debugger = terminal("python", "-c", "x = 40; breakpoint()")
    debugger.expect("(Pdb) ")
    debugger.type("p x + 2\r")
    debugger.expect("42\r\n(Pdb) ")
    debugger.type("c\r")
    assert debugger.wait() == 0


def test_flask_shell(terminal):
    shell = terminal("flask", "shell")
    shell.expect(">>> ")
    shell.type("app.name\r")
    shell.expect("'blasto.app'")
    shell.expect(">>> ")  # before the prompt the kernel reads the line, and readline would never see its end
    shell.type("\x04")
    assert shell.wait() == 0


def test_ctrl_p_is_the_commands_own(terminal):
    reader = terminal("python", "-c", "import os, tty; tty.setraw(0); print('up', flush=True); print(os.read(0, 1))")
    reader.expect("up")
    reader.type("\x10")
    reader.expect("b'\\x10'")
    assert reader.wait() == 0


def test_a_shell_that_ignores_term_is_killed_at_the_deadline(terminal):
    shell = terminal("sh", "-i", options=("--stop-timeout", "1"))
    shell.expect("$ ")
    shell.process.send_signal(signal.SIGTERM)
    assert shell.wait() in {137, 143}
    assert termios.tcgetattr(shell.slave) == shell.before


def test_a_terminal_that_goes_away_ends_it(built, terminal):
    shell = terminal("sh", options=("--stop-timeout", "2"))
    shell.expect("$ ")
    shell.process.send_signal(signal.SIGHUP)
    assert shell.wait() == 129
