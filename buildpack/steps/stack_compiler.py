"""Compile byte code with the stack's interpreter, and decide if that is possible.

The interpreter may have to be fetched and extracted first. So it starts in the background with the first wheel, and not
at all if every layer is known.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

from buildpack.errors import build as errors
from buildpack.errors.oci import store_failed
from buildpack.oci.entry import Entry
from buildpack.plan import Bytecode
from buildpack.session import Session
from buildpack.stacks.stack import Interpreter, Stack
from buildpack.system.compile_process import BYTECODE_FORMAT, CompileError, CompilingPython, unsupported
from buildpack.system.unprivileged import choose_user

if TYPE_CHECKING:
    from buildpack.python.bytecode import Compilation, Compiler


class StackCompiler:
    """Compiles with the stack's interpreter, or one of its version; a context manager, safe for several threads.

    `sibling` returns the same stack for this machine.
    """

    def __init__(self, stack: Stack, session: Session, *, sibling: Callable[[], Stack | None] = lambda: None) -> None:
        self.stack = stack
        self._session = session
        self._sibling = sibling
        self._lock = threading.Lock()
        self._compiler: Compiler | None = None
        self._found: Interpreter | str | None = None
        self._submitted: dict[str, Compilation] = {}
        self._building = threading.Lock()
        self._builder: Interpreter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        # Layers have waited for their byte code. The rest belongs to layers that turned out to be known.
        if self._compiler is not None:
            self._compiler.close(wait=False)

    def decide(self, claimed: str = "") -> Bytecode:
        """Return the byte code of the image; remembered by the stack's digest.

        The interpreter is tried, because only that shows that it runs. It is not tried if an earlier image claims byte
        code of the right version (`claimed`), because then nothing may need compiling.
        """
        python = self.stack.python
        if claimed == python.version and not unsupported(python.version, python.cache_tag):
            return Bytecode(python=python.version)
        key = f"{self.stack.digest}+{python.version}+{self._session.own_python.machine}+{BYTECODE_FORMAT}"
        # A base known only from an earlier image's annotations is probed: that verifies them before a layer is written.
        if not self.stack.claimed and self._session.store.recall("bytecode", key):
            return Bytecode(python=python.version)
        if reason := self._probe():
            # This is not remembered: a full disk, a lack of memory or a missing interpreter may be fixed tomorrow.
            return Bytecode(reason=reason)
        self._session.store.remember("bytecode", key, {"reason": ""})
        return Bytecode(python=python.version)

    def _probe(self) -> str:
        python = self.stack.python
        if reason := unsupported(python.version, python.cache_tag):
            return reason
        compiler = self._start()
        return compiler if isinstance(compiler, str) else compiler.probe()

    def _start(self) -> Compiler | str:
        from buildpack.python.bytecode import Compiler

        with self._lock:
            if self._compiler is None:
                python, found = self.stack.python, self._find()
                if isinstance(found, str):
                    return found
                self._compiler = Compiler(
                    CompilingPython(
                        argv=found.argv, version=python.version, cache_tag=python.cache_tag, environ=found.env
                    ),
                    folder=self._session.store.folder("bytecode"),
                    scratch=self._session.store.folder("tmp"),
                    jobs=os.cpu_count() or 1,
                    fresh=self._session.store.ignore_facts,
                )
            return self._compiler

    def _find(self) -> Interpreter | str:
        from buildpack.stacks.run_python import start_interpreter

        if self._found is None:
            self._found = start_interpreter(
                self.stack,
                self._session.store,
                self._session.environ,
                sibling=self._sibling,
                transport=self._session.transport,
            )
        return self._found

    def submit(self, wheel: str, sources: Sequence[Entry]) -> Compilation | str:
        """Begin to compile a wheel's modules, once; `wheel` is its SHA-256. Without an interpreter return why.

        Raises MachineError if the store cannot be written.
        """
        compiler = self._start()
        if isinstance(compiler, str):
            return compiler
        with self._lock:
            if wheel not in self._submitted:
                try:
                    self._submitted[wheel] = compiler.submit(wheel, sources)
                except OSError as error:
                    raise store_failed(self._session.store.root, error) from error
            return self._submitted[wheel]

    def entries(self, wheel: str, sources: Sequence[Entry]) -> tuple[Entry, ...]:
        """Wait for a wheel's byte code; raises MachineError if the interpreter fails."""
        compilation = self.submit(wheel, sources)
        if isinstance(compilation, str):
            raise errors.compiling_failed(compilation)
        try:
            return compilation.result()
        except CompileError as error:
            raise errors.compiling_failed(str(error)) from error

    def builder(self) -> Interpreter | None:
        """Return a Python of this machine that builds packages, else the stack's own; None if none runs."""
        from buildpack.stacks.run_python import bring_base, find_builder

        with self._building:
            if self._builder is None:
                self._builder = find_builder(self.stack, self._session.store, self._session.environ)
            if self._builder is not None:
                return self._builder
        found = self.interpreter()
        if isinstance(found, str):
            return None
        return bring_base(self.stack, found, self._session.store, choose_user()) if found.own else found

    def interpreter(self) -> Interpreter | str:
        """Return the stack's own Python, or one of exactly its version; else the reason why none runs here."""
        with self._lock:
            return self._find()
