"""One process of the stack's interpreter that compiles: started clean, spoken to in lines of JSON."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("compile_worker.py")

_REPRODUCIBLE = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "LC_ALL": "C", "PATH": "/usr/bin:/bin"}
"""The order of a set's elements follows from the seed. -E and -I would hide it from the interpreter."""


class CompileError(Exception):
    """The interpreter does not run here, is another one, or broke down."""


class CompileProcess:
    """Runs jobs one after the other; raises CompileError from then on where it cannot."""

    def __init__(
        self, argv: Sequence[str], *, version: str, cache_tag: str, environ: Mapping[str, str], timeout: float
    ) -> None:
        import subprocess
        import tempfile

        self._timeout = timeout
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        try:
            self._process = subprocess.Popen(
                [*argv, "-S", "-s", "-B", "-W", "ignore", str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                cwd="/",
                env={**environ, **_REPRODUCIBLE},
                bufsize=0,
            )
        except OSError as error:
            self._log.close()
            raise CompileError(f"{argv[0]} does not run on this machine: {error.strerror}") from error
        try:
            hello = self._answer(f"{argv[0]} does not run on this machine")
            if (hello.get("version"), hello.get("cache_tag")) != (version, cache_tag):
                found = f"{hello.get('cache_tag')} {hello.get('version')}"
                raise CompileError(f"the interpreter is {found}, and the stack's is {cache_tag} {version}")
        except CompileError:
            self.close()
            raise

    def run(self, job: Mapping[str, Any]) -> None:
        """Compile the modules of one job."""
        assert self._process.stdin is not None
        line = json.dumps(job).encode() + b"\n"
        try:
            view = memoryview(line)
            while view:
                view = view[self._process.stdin.write(view) :]
        except OSError as error:
            raise CompileError(self._end("the interpreter ended while it compiled")) from error
        code = self._answer("the interpreter ended while it compiled").get("code")
        if code != 0:
            raise CompileError(
                f"{_told(code)} while the interpreter compiled {job['modules'][0][0]}{self._last_line()}"
            )

    def kill(self) -> None:
        """Make a `run` in another thread fail now."""
        self._process.kill()

    def close(self) -> None:
        """End the process; a job that runs is cut."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
        self._log.close()

    def _answer(self, failure: str) -> dict[str, Any]:
        """Read one line of JSON, in time."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        line = b""
        while not line.endswith(b"\n"):
            if not poller.poll(self._timeout * 1000):
                raise CompileError(f"the interpreter gave no answer for {self._timeout:g} seconds")
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                raise CompileError(self._end(failure))
            line += piece
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise CompileError(f"{failure}: it says {line[:80]!r}")
        return answer

    def _end(self, failure: str) -> str:
        import subprocess

        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            code = 0
        return f"{failure}: {_told(code)}{self._last_line()}"

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f" ({said[:200]})" if said else ""


def _told(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
