"""Compiles a layer's modules by the stack's own interpreter, to the same bytes every time.

Processes that start clean (`system/compile_worker.py`) compile modules in chunks, while further wheels are still being
fetched. The byte code of a wheel is kept as a pack: one file per wheel and interpreter, into which the layer's entries
point.
"""

from __future__ import annotations

import hashlib
import heapq
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from buildpack.dataclass import dataclass, field
from buildpack.oci.content import Sources
from buildpack.oci.entry import Deflated, Entry, FileSlice, Inline, file
from buildpack.oci.lease import use
from buildpack.system.compile_process import (
    BYTECODE_FORMAT,
    CompileError,
    CompileProcess,
    CompilingPython,
    join_packs,
    pyc_path,
    read_pack,
    unsupported,
)
from buildpack.system.temporary import make_folder, temporary_folder

CHUNK = 512 << 10
"""Bytes of source per job, some 140 ms of work: smaller ones fork more often, larger ones leave processors idle."""

TIMEOUT = 120.0
"""Seconds for one job."""


Compilation = Future[tuple[Entry, ...]]
"""The `.pyc` entries of one wheel; modules that do not compile (templates, Python 2) have none.

Raises CompileError if the interpreter failed.
"""


@dataclass(slots=True, kw_only=True)
class _Wheel:
    """One submitted wheel while its chunks are compiled."""

    pack: Path
    paths: tuple[str, ...]
    compilation: Compilation
    outs: list[Path] = field(default_factory=list)
    open_chunks: int = 0


@dataclass(frozen=True, slots=True, order=True)
class _Job:
    """One chunk; the largest comes first, then the earliest."""

    rank: tuple[int, int]
    request: Mapping[str, Any] = field(compare=False)
    wheel: _Wheel = field(compare=False)


class Compiler:
    """Compiles wheels' modules in `jobs` processes of the stack's interpreter, which start when first needed.

    Packs are kept in `folder`; with `fresh` those of earlier runs are replaced. `scratch` is for temporary files, on
    the same file system. Several threads may call it, and several processes may share both folders.
    """

    def __init__(
        self,
        python: CompilingPython,
        *,
        folder: Path,
        scratch: Path | None = None,
        jobs: int,
        timeout: float = TIMEOUT,
        chunk: int = CHUNK,
        fresh: bool = False,
    ) -> None:
        self._python = python
        self._folder = folder
        self._temporary = scratch or folder
        self._jobs = jobs
        self._timeout = timeout
        self._chunk = chunk
        self._fresh = fresh
        self._reason = unsupported(python.version, python.cache_tag)
        self._condition = threading.Condition()
        self._queue: list[_Job] = []
        self._threads: list[threading.Thread] = []
        self._wheels: list[_Wheel] = []
        self._processes: set[CompileProcess] = set()
        self._scratch: Path | None = None
        self._exits = ExitStack()
        self._numbers = iter(range(1 << 62))
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(wait=kind is None)

    def probe(self) -> str:
        """Start the interpreter once; return why it cannot compile, empty if it can."""
        if not self._reason:
            try:
                with closing(self._process()) as process:
                    process.greet()
            except CompileError as error:
                self._fail(str(error))
        return self._reason

    def submit(self, identity: str, sources: Sequence[Entry]) -> Compilation:
        """Begin to compile these files, or take them from the pack of an earlier run.

        `identity` is the hash of the wheel that holds them. The files' paths in the image become the code's file names.
        """
        compilation: Compilation = Future()
        paths = tuple(source.path for source in sources)
        pack = self._folder / f"{self._key(identity, paths)}.pycs"
        if not sources:
            compilation.set_result(())
        elif (
            not self._fresh
            and use(pack, self._folder.parent)
            and (known := _read_pack(pack, paths, self._python.cache_tag)) is not None
        ):
            compilation.set_result(known)
        elif self._reason:
            compilation.set_exception(CompileError(self._reason))
        else:
            self._enqueue(_Wheel(pack=pack, paths=paths, compilation=compilation), sources)
        return compilation

    def close(self, *, wait: bool = True) -> None:
        """End the processes: after all submitted work or, without `wait`, at once."""
        if not wait:
            self._fail("the build was stopped")
            for process in tuple(self._processes):
                process.kill()
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()
        self._exits.close()

    def _key(self, identity: str, paths: tuple[str, ...]) -> str:
        # The chunks' size moves the bytes inside a pack, which another process may replace while we read it.
        parts = (BYTECODE_FORMAT, str(self._chunk), self._python.version, self._python.cache_tag, identity, *paths)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def _enqueue(self, wheel: _Wheel, sources: Sequence[Entry]) -> None:
        with self._condition:
            if self._scratch is None:
                make_folder(self._folder)
                self._scratch = self._exits.enter_context(temporary_folder(self._temporary))
            scratch = self._scratch
            number = next(self._numbers)
        modules = list(_modules(sources, scratch / f"{number}.py"))
        with self._condition:
            if self._reason:  # it failed meanwhile
                wheel.compilation.set_exception(CompileError(self._reason))
                return
            for path, chunk in _chunks(modules, self._chunk):
                number = next(self._numbers)
                out = scratch / str(number)
                wheel.outs.append(out)
                size = sum(module[3] for module in chunk)
                request = {"source": str(path), "out": str(out), "modules": chunk}
                heapq.heappush(self._queue, _Job((-size, number), request, wheel))
            wheel.open_chunks = len(wheel.outs)
            self._wheels.append(wheel)
            while len(self._threads) < min(self._jobs, len(self._queue)):
                thread = threading.Thread(target=self._work, name="bytecode", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._condition.notify_all()

    def _process(self) -> CompileProcess:
        return CompileProcess(self._python, timeout=self._timeout)

    def _work(self) -> None:
        """Give jobs to one process until there are none left; a thread runs this."""
        process: CompileProcess | None = None
        reason = "the thread that hands out modules broke down"
        try:
            while (job := self._next()) is not None:
                if process is None:
                    process = self._process()
                    self._processes.add(process)
                process.run(job.request)
                self._finish(job.wheel)
            reason = ""
        except (CompileError, OSError) as error:
            reason = str(error)
        finally:
            if reason:
                self._fail(reason)
            if process is not None:
                self._processes.discard(process)
                process.close()

    def _next(self) -> _Job | None:
        with self._condition:
            while not self._queue and not self._closed:
                self._condition.wait()
            return heapq.heappop(self._queue) if self._queue and not self._reason else None

    def _finish(self, wheel: _Wheel) -> None:
        with self._condition:
            wheel.open_chunks -= 1
            if wheel.open_chunks or wheel.compilation.done():
                return
        join_packs(wheel.pack, wheel.outs)
        made = _read_pack(wheel.pack, wheel.paths, self._python.cache_tag)
        with suppress(InvalidStateError):  # `_fail` was faster
            if made is None:
                wheel.compilation.set_exception(CompileError(f"{wheel.pack} could not be read back"))
            else:
                wheel.compilation.set_result(made)
        with self._condition:
            # Only now: if writing the pack fails, `_fail` must find the wheel.
            self._wheels = [other for other in self._wheels if other is not wheel]

    def _fail(self, reason: str) -> None:
        """Give up byte code altogether: an image has it for all of its wheels, or for none."""
        with self._condition:
            self._reason = self._reason or reason
            for wheel in self._wheels:
                with suppress(InvalidStateError):  # `_finish` was faster
                    wheel.compilation.set_exception(CompileError(self._reason))
            self._wheels.clear()
            self._queue.clear()
            self._condition.notify_all()


def compile_sources(python: CompilingPython, sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """Compile a few modules, given by their paths in the image; return the byte code by its path.

    Modules that do not compile are left out. Raises CompileError if the interpreter does not run here or fails.
    """
    import tempfile

    entries = [file(path, body) for path, body in sorted(sources.items())]
    with tempfile.TemporaryDirectory() as folder:
        with Compiler(python, folder=Path(folder), jobs=1) as compiler:
            made = compiler.submit("sources", entries).result()
        with Sources() as files:
            return {entry.path: b"".join(files.pieces(entry.content)) for entry in made if entry.content}


_Module = tuple[str, int, int, int]
"""File name in the image, offset, length of the DEFLATE stream (-1 if stored), size; the worker's format."""


def _modules(sources: Sequence[Entry], spool: Path) -> Iterator[tuple[Path, _Module]]:
    """Yield the file that holds each source, and the place in it; sources in memory are written to `spool` first."""
    position = 0
    for source in sources:
        name, content = f"/{source.path}", source.content
        if isinstance(content, Deflated):
            yield content.path, (name, content.offset, content.compressed, content.size)
        elif isinstance(content, FileSlice):
            yield content.path, (name, content.offset, -1, content.size)
        elif isinstance(content, Inline):
            with spool.open("ab") as out:
                out.write(content.body)
            yield spool, (name, position, -1, content.size)
            position += content.size


def _chunks(modules: Sequence[tuple[Path, _Module]], limit: int) -> Iterator[tuple[Path, list[_Module]]]:
    """Split into runs of one file and about `limit` bytes of source."""
    size = 0
    chunk: list[_Module] = []
    for index, (path, module) in enumerate(modules):
        chunk.append(module)
        size += module[3]
        following = modules[index + 1][0] if index + 1 < len(modules) else None
        if size >= limit or following != path:
            yield path, chunk
            size, chunk = 0, []


def _read_pack(pack: Path, paths: Sequence[str], cache_tag: str) -> tuple[Entry, ...] | None:
    """Return the byte code that a pack has of these sources; None if it is missing or damaged."""
    places = read_pack(pack)
    if places is None or len(places) != len(paths):
        return None
    return tuple(
        file(pyc_path(path, cache_tag), FileSlice(pack, size, start))
        for path, (start, size) in zip(paths, places, strict=True)
        if size
    )
