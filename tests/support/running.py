"""A `deploy` command that runs in the foreground: started, listened to, signalled, waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path

from tests.support.command import ROOT, without_progress

_OURS = ("VIRTUAL_ENV", "PORT", "PYTHONPATH", "WEB_CONCURRENCY", "DYNO", "PS")


def environment(home: Path, **added: str) -> dict[str, str]:
    """Return this process's environment, less what would be noticed, with the store at `home`."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS}
    return {**kept, "DEPLOY_HOME": str(home), "PYTHONPATH": str(ROOT), "WEB_CONCURRENCY": "1", **added}


class Running:
    """A `deploy` command at work. Every process below it carries a mark in its environment."""

    def __init__(
        self,
        *arguments: str | Path,
        home: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "deployer", *map(str, arguments)],
            cwd=cwd or ROOT,
            env={**environment(home), **(env or {}), "DEPLOY_TEST": self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._out, self._err = b"", b""
        self.listen()

    def listen(self) -> None:
        """Begin to read both streams."""
        self._readers = [threading.Thread(target=self._read, args=(name,), daemon=True) for name in ("out", "err")]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str) -> None:
        stream = self.process.stdout if name == "out" else self.process.stderr
        assert stream is not None
        with stream:
            while chunk := os.read(stream.fileno(), 1 << 16):
                setattr(self, f"_{name}", getattr(self, f"_{name}") + chunk)

    @property
    def out(self) -> str:
        return self._out.decode()

    @property
    def err(self) -> str:
        return without_progress(self._err.decode())

    def said(self, name: str) -> list[str]:
        """Return what one process printed, or ``system``, without time and name."""
        rows = (line.partition(" | ") for line in self.out.splitlines())
        return [text for head, _, text in rows if head.split()[1:] == [name]]

    def wait_for(self, text: str, count: int = 1, seconds: float = 60) -> None:
        """Wait until a text was printed on standard output so many times."""
        end = time.monotonic() + seconds
        while self.out.count(text) < count:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.out}\n{self.err}"
            assert time.monotonic() < end, f"{text!r} is not there {count} times in:\n{self.out}\n{self.err}"
            time.sleep(0.02)

    def wait(self, seconds: float = 60) -> int:
        """Wait for the end; the exit code."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(30)
        return code

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return self.wait(seconds)

    def left(self) -> list[int]:
        """Return the processes with the mark."""
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and f"DEPLOY_TEST={self.mark}".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def close(self) -> None:
        """Kill everything that is left of it."""
        for pid in self.left():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.wait()


def get(port: int, path: str = "/", *, method: str = "GET", seconds: float = 60) -> tuple[int, bytes]:
    """Send a request to 127.0.0.1; status and body."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=seconds) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
