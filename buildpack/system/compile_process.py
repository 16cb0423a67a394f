"""Byte-compile modules in processes of the stack's own interpreter, which start clean and answer in lines of JSON."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from buildpack.dataclass import dataclass, field

BYTECODE_FORMAT = "1"
"""A part of layer keys and names of packs. Raise it when the same source and interpreter give other bytes."""


WORKER = Path(__file__).with_name("compile_worker.py")

_REPRODUCIBLE = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "LC_ALL": "C", "PATH": "/usr/bin:/bin"}
"""The seed decides the order of a set's elements. -E and -I would hide it from the interpreter."""


def unsupported(version: str, cache_tag: str) -> str:
    """Return why this interpreter's byte code cannot be reproduced; empty if it can."""
    if not cache_tag.startswith("cpython-"):
        return f"byte code of {cache_tag or 'this interpreter'} is not known to be reproducible"
    if tuple(int(part) for part in version.split(".")[:2]) >= (3, 14):
        return f"byte code of Python {version} is not known to be reproducible"
    return ""


def pyc_path(source: str, cache_tag: str) -> str:
    """Return the path of a module's byte code (PEP 3147)."""
    folder, _, name = source.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{cache_tag}.pyc"


class CompileError(Exception):
    """The interpreter does not run here, is not the expected one, or failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilingPython:
    """An interpreter that compiles: `argv` starts it, and it must have this `version` and `cache_tag`.

    `environ` is its whole environment, except the variables that keep byte code reproducible.
    """

    argv: tuple[str, ...]
    version: str
    cache_tag: str
    environ: Mapping[str, str] = field(default_factory=dict)


class CompileProcess:
    """A process that runs one job after another; each method raises CompileError if the process cannot go on."""

    def __init__(self, python: CompilingPython, *, timeout: float) -> None:
        import subprocess
        import tempfile

        self._python = python
        self._greeted = False
        self._unread = b""
        self._job: Mapping[str, Any] = {}
        self._timeout = timeout
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        try:
            self._process = subprocess.Popen(
                [*python.argv, "-S", "-s", "-B", "-W", "ignore", str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                cwd="/",
                env={**python.environ, **_REPRODUCIBLE},
                bufsize=0,
            )
        except OSError as error:
            self._log.close()
            raise CompileError(f"{python.argv[0]} does not run on this machine: {error.strerror}") from error

    def greet(self) -> None:
        """Wait until the interpreter runs, and check its version."""
        if not self._greeted:
            hello = self._answer(f"{self._python.argv[0]} does not run on this machine")
            found = (hello.get("version"), hello.get("cache_tag"))
            wanted = (self._python.version, self._python.cache_tag)
            if found != wanted:
                own, other = f"{found[1]} {found[0]}", f"{wanted[1]} {wanted[0]}"
                raise CompileError(f"the interpreter is {own}, and the stack's is {other}")
        self._greeted = True

    def run(self, job: Mapping[str, Any]) -> None:
        """Compile the modules of one job (compile_worker.py)."""
        self.greet()
        self.begin(job)
        self.finish()

    def begin(self, job: Mapping[str, Any]) -> None:
        """Send a job without waiting for its end."""
        self._job = job
        assert self._process.stdin is not None
        line = json.dumps(job).encode() + b"\n"
        try:
            view = memoryview(line)
            while view:
                view = view[self._process.stdin.write(view) :]
        except OSError as error:
            raise CompileError(self._end("the interpreter ended while it compiled")) from error

    def finish(self) -> None:
        """Wait for the end of the job."""
        self.greet()
        code = self._answer("the interpreter ended while it compiled").get("code")
        if code != 0:
            module = self._job["modules"][0][0]
            raise CompileError(f"{_render(code)} while the interpreter compiled {module}{self._last_line()}")

    def kill(self) -> None:
        """End the process, so that a `run` in another thread fails now."""
        self._process.kill()

    def close(self) -> None:
        """End the process, and a running job with it."""
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
        """Read one line of JSON; raises CompileError if none comes in time."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        while b"\n" not in self._unread:
            if not poller.poll(self._timeout * 1000):
                raise CompileError(f"the interpreter gave no answer for {self._timeout:g} seconds")
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                raise CompileError(self._end(failure))
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
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
        return f"{failure}: {_render(code)}{self._last_line()}"

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f" ({said[:200]})" if said else ""


def _render(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def join_packs(pack: Path, outs: Sequence[Path]) -> None:
    """Append the files that jobs wrote, each with its index at its end, to the first one; move that to `pack`."""
    import shutil

    made = outs[0]
    with made.open("ab") as joined:
        for out in outs[1:]:
            with out.open("rb") as piece:
                shutil.copyfileobj(piece, joined, 1 << 20)
            out.unlink()
    made.chmod(0o644)  # so that the umask does not count
    made.replace(pack)


def read_pack(pack: Path) -> list[tuple[int, int]] | None:
    """Return offset and size of each module's byte code; None if the pack is missing or damaged."""
    places: list[tuple[int, int]] = []
    try:
        with pack.open("rb") as raw:
            end = raw.seek(0, os.SEEK_END)
            while end > 0:
                end, chunk = _read_chunk(raw, end)
                places = chunk + places
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return places


def _read_chunk(raw: BinaryIO, end: int) -> tuple[int, list[tuple[int, int]]]:
    """Return the start of the chunk that ends here, and its modules' offsets and sizes; raises ValueError."""
    import zlib

    raw.seek(end - 8)
    length = int.from_bytes(raw.read(8), "little")
    raw.seek(end - 8 - length)
    index = json.loads(raw.read(length))
    begin = end - 8 - length - sum(index["sizes"])
    raw.seek(begin)
    if zlib.crc32(raw.read(sum(index["sizes"]))) != index["crc32"]:
        raise ValueError("damaged")
    places, at = [], begin
    for size in index["sizes"]:
        places.append((at, size))
        at += size
    return begin, places
