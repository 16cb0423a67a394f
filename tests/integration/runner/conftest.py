"""Start the runner as a real process, on any Python found here, and see what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import honcho
import pytest

from tests.support.pythons import one_of_each

HERE = Path(__file__).parent
HOUSE = HERE.parents[2]
GUNICORN = f"{sys.executable} -m gunicorn --worker-tmp-dir /dev/shm --graceful-timeout 20 --no-control-socket"

MAIN = "import sys\nfrom deployer.runner.launcher import main\nsys.exit(main(sys.argv[1:], app={app!r}))\n"


EVERY_PYTHON = {series: path for series, (_, path) in one_of_each().items()}


@pytest.fixture(params=EVERY_PYTHON.values(), ids=EVERY_PYTHON.keys())
def python(request: pytest.FixtureRequest) -> str:
    """Give each Python in turn."""
    return request.param


@pytest.fixture(scope="session")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out the launcher as an image carries it: honcho and the runner, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("opt") / "deploy"
    shutil.copytree(
        HOUSE / "deployer" / "runner", folder / "deployer" / "runner", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "deployer" / "__init__.py").touch()
    shutil.copytree(
        Path(honcho.__file__).parent,
        folder / "honcho",
        ignore=shutil.ignore_patterns("__pycache__", "export", "__main__.py", "command.py"),
    )
    (folder / "__main__.py").write_text(MAIN.format(app=str(HERE)))
    return folder


class Running:
    """A runner under test. Every process below it carries a mark in its environment."""

    def __init__(self, argv: list[str], mark: str, env: dict[str, str], **options) -> None:
        self.mark = mark
        self.text = b""
        self.process = subprocess.Popen(
            argv,
            env={**env, "RUNNER_TEST": mark},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options},
        )
        self.pid = self.process.pid
        if self.process.stdout is not None:
            self.reader = threading.Thread(target=self._read, daemon=True)
            self.reader.start()

    def _read(self) -> None:
        with self.process.stdout as stream, contextlib.suppress(OSError):
            while chunk := os.read(stream.fileno(), 1 << 16):
                self.text += chunk

    @property
    def lines(self) -> list[str]:
        """Return the lines so far, without time and padding: ``web.1 | text``."""
        whole = self.text.decode().splitlines()
        return [
            " ".join(line.split(" | ", 1)[0].split()[1:]) + " | " + line.split(" | ", 1)[1] if " | " in line else line
            for line in whole
        ]

    def said(self, name: str) -> list[str]:
        """Return the lines of one process."""
        return [line.partition(" | ")[2] for line in self.lines if line.startswith(f"{name} | ")]

    def wait_for(self, text: str, count: int = 1, seconds: float = 60) -> None:
        """Wait until a text was printed so many times."""
        end = time.monotonic() + seconds
        while self.text.decode(errors="replace").count(text) < count:
            assert time.monotonic() < end, (
                f"{text!r} is not there {count} times in:\n{self.text.decode(errors='replace')}"
            )
            time.sleep(0.01)

    def send(self, number: int) -> None:
        """Send the runner a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 60) -> int:
        """Wait for the runner to end; its exit code."""
        code = self.process.wait(seconds)
        if self.process.stdout is not None:
            self.reader.join(30)
        return code

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        """Send a signal and wait for the end."""
        self.send(number)
        return self.wait(seconds)

    def below(self) -> list[int]:
        """Return every process that carries the mark, the runner left out."""
        return [pid for pid in marked(self.mark) if pid != self.pid]

    def zombies(self) -> list[int]:
        """Return the runner's children that ended and were not collected."""
        return [pid for pid, (parent, state) in stats().items() if parent == self.pid and state == "Z"]

    def leaves_nothing(self, seconds: float = 60) -> None:
        """Assert that no process with the mark is left; the kernel may take a moment."""
        end = time.monotonic() + seconds
        while left := marked(self.mark):
            assert time.monotonic() < end, f"left behind: {left}"
            time.sleep(0.02)


def stats() -> dict[int, tuple[int, str]]:
    """Return every process's parent and state."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                found[int(folder.name)] = (int(parent), state)
    return found


def marked(mark: str) -> list[int]:
    """Return the processes with a mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if f"RUNNER_TEST={mark}\0".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
    return found


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment that is nearly empty."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "LANG": "C.UTF-8",
        "REQUEST_RECORD": str(tmp_path / "requests"),
    }


@pytest.fixture
def start(carried: Path, environment: dict[str, str]) -> Iterator[Callable[..., Running]]:
    """Start runners, and kill what is left of them after the test."""
    started: list[Running] = []

    def begin(argv: list[str], **options) -> Running:
        env = {**environment, **options.pop("env", {})}
        started.append(Running(argv, uuid.uuid4().hex, env, **options))
        return started[-1]

    yield begin
    for running in started:
        for pid in [running.pid, *marked(running.mark)]:
            with contextlib.suppress(OSError):
                if running.process.poll() is None or pid != running.pid:
                    os.kill(pid, signal.SIGKILL)
        running.process.wait()
        if running.process.stdout is not None:
            running.reader.join(60)


@pytest.fixture
def supervise(carried: Path, start: Callable[..., Running]) -> Callable[..., Running]:
    """Start a formation under the supervisor."""

    def begin(
        processes: dict[str, str],
        *,
        python: str = sys.executable,
        formation=None,
        port: int = 5006,
        cwd=None,
        options=None,
        **popen,
    ) -> Running:
        asked = {"processes": processes, "formation": formation, "port": port, "cwd": cwd, "options": options or {}}
        return start([python, "-I", str(HERE / "supervise.py"), str(carried), json.dumps(asked)], **popen)

    return begin


@pytest.fixture
def port() -> int:
    """Return a port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Request(threading.Thread):
    """A GET in a thread of its own: `status` and `body`, or the `error`."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self.port, self.path = port, path
        self.status, self.body, self.error = 0, b"", ""
        self.start()

    def run(self) -> None:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", self.path)
            response = connection.getresponse()
            self.status, self.body = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self.error = repr(error)
        finally:
            connection.close()


@pytest.fixture
def get() -> type[Request]:
    """Send a request from a thread."""
    return Request


@pytest.fixture
def in_flight(port: int, environment: dict[str, str]) -> Callable[[str], Request]:
    """Send a request and wait until the app has begun with it."""

    def begin(path: str) -> Request:
        record = Path(environment["REQUEST_RECORD"])
        before = record.read_text().count("began slow\n")
        request = Request(port, f"{path}?slow")
        end = time.monotonic() + 60
        while record.read_text().count("began slow\n") == before:
            assert time.monotonic() < end, request.error
            time.sleep(0.01)
        return request

    return begin


@pytest.fixture
def answers(port: int) -> Callable[[], None]:
    """Wait until the web process answers."""

    def wait() -> None:
        end = time.monotonic() + 60
        while True:
            request = Request(port, "/0?ready")
            request.join()
            if request.status == 200:
                return
            assert time.monotonic() < end, request.error
            time.sleep(0.05)

    return wait


@pytest.fixture
def web(port: int) -> str:
    """Return the command of a web process with 2 workers of 4 threads."""
    return f"{GUNICORN} -w 2 --threads 4 --chdir {HERE} slow_app:app"


@pytest.fixture
def launch(carried: Path, start: Callable[..., Running]) -> Callable[..., Running]:
    """Start the launcher as an image's entry point does, beside the processes that a test names."""

    def begin(
        processes: dict[str, str], *arguments: str, python: str = sys.executable, default="web", prefix=(), **popen
    ) -> Running:
        launch = {
            "schema": 1,
            "processes": processes,
            "default": default,
            "app_object": "slow_app:app",
            "formation": {"web": 1},
        }
        (carried / "launch.json").write_text(json.dumps(launch))
        return start([*prefix, python, "-I", str(carried), *arguments], **popen)

    return begin


@pytest.fixture
def as_pid_1() -> list[str]:
    """Return what makes a command PID 1 of a namespace of its own, as in a container."""
    prefix = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        prefix[1:1] = ["--user", "--map-root-user"]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this kernel gives no PID namespace; run as root to try the init")
    return prefix
