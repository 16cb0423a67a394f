"""Compiles a layer's modules by the stack's own interpreter, to the same bytes every time.

Processes that start clean (`system/compile_worker.py`) compile modules in chunks, while further wheels are still being
fetched. The byte code of a wheel is kept as a pack: one file per wheel and interpreter, into which the layer's entries
point.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Self

from buildpack.dataclass import dataclass, field
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
        self._timeout = timeout
        self._chunk = chunk
        self._fresh = fresh
        self._reason = unsupported(python.version, python.cache_tag)
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="bytecode")
        self._own = threading.local()
        self._processes: list[CompileProcess] = []
        self._scratch: Path | None = None
        self._exits = ExitStack()
        self._numbers = iter(range(1 << 62))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(wait=kind is None)

    def probe(self) -> str:
        """Start the interpreter once; return why it cannot compile, empty if it can."""
        if not self._reason:
            try:
                with closing(CompileProcess(self._python, timeout=self._timeout)) as process:
                    process.greet()
            except CompileError as error:
                self._reason = str(error)
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
            self._reason = self._reason or "the build was stopped"
            for process in tuple(self._processes):
                process.kill()
        self._pool.shutdown()
        for process in self._processes:
            process.close()
        self._exits.close()

    def _key(self, identity: str, paths: tuple[str, ...]) -> str:
        # The chunks' size moves the bytes inside a pack, which another process may replace while we read it.
        parts = (BYTECODE_FORMAT, str(self._chunk), self._python.version, self._python.cache_tag, identity, *paths)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def _enqueue(self, wheel: _Wheel, sources: Sequence[Entry]) -> None:
        with self._lock:
            if self._scratch is None:
                make_folder(self._folder)
                self._scratch = self._exits.enter_context(temporary_folder(self._temporary))
            scratch = self._scratch
        modules = list(_modules(sources, scratch / f"{next(self._numbers)}.py"))
        requests: list[tuple[int, Mapping[str, Any]]] = []
        for path, chunk in _chunks(modules, self._chunk):
            out = scratch / str(next(self._numbers))
            wheel.outs.append(out)
            size = sum(module[3] for module in chunk)
            requests.append((size, {"source": str(path), "out": str(out), "modules": chunk}))
        wheel.open_chunks = len(requests)
        # The largest first, so that no processor is idle while another one ends with it.
        for _, request in sorted(requests, key=lambda each: -each[0]):
            self._pool.submit(self._compile, wheel, request)

    def _compile(self, wheel: _Wheel, request: Mapping[str, Any]) -> None:
        """Compile a chunk, and join the pack after a wheel's last one.

        A failure ends byte code altogether: an image has it for all of its wheels, or for none.
        """
        try:
            self._process().run(request)
            with self._lock:
                wheel.open_chunks -= 1
                if wheel.open_chunks:
                    return
            join_packs(wheel.pack, wheel.outs)
            made = _read_pack(wheel.pack, wheel.paths, self._python.cache_tag)
            if made is None:
                raise CompileError(f"{wheel.pack} could not be read back")
            wheel.compilation.set_result(made)
        except Exception as error:  # noqa: BLE001  `result` raises it
            self._reason = self._reason or str(error) or type(error).__name__
            with suppress(InvalidStateError):  # another chunk failed, too
                wheel.compilation.set_exception(CompileError(self._reason))

    def _process(self) -> CompileProcess:
        """Return the process of this thread; raises CompileError after any failure."""
        process: CompileProcess | None = getattr(self._own, "process", None)
        if process is None:
            process = self._own.process = CompileProcess(self._python, timeout=self._timeout)
            self._processes.append(process)  # before the next line, so that `close` never misses it
        if self._reason:
            raise CompileError(self._reason)
        return process


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
