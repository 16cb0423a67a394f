"""Byte-compile modules: the script that the stack's own interpreter runs, from Python 3.10 on.

Jobs come as lines of JSON on standard input, answers go as such lines to standard output. A job names the file to
write, and the modules with their names in the image. With `source` they are streams inside that file: `modules` has
name, offset, length and size of each. Without it they are files of this interpreter's own library: name and path.

Each job runs in a child forked from a process that never compiled anything, so that no job can change another's bytes.
"""

from __future__ import annotations

import sys

# The folder of this script would come before the standard library, which has modules of the same names.
del sys.path[0]

import gc  # noqa: E402
import json  # noqa: E402
import marshal  # noqa: E402
import os  # noqa: E402
import select  # noqa: E402
import signal  # noqa: E402
import zlib  # noqa: E402
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash  # noqa: E402

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType
    from typing import Any

# Version 2 has no references, so its bytes do not depend on other holders of an object, as those of later versions do.
# It cannot write 3.14's constant slices, and nobody has tested version 5 for this.
MARSHAL_VERSION = 2
UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552: bit 0 hash-based, bit 1 (check the source) not set

SETS_ARE_SORTED = sys.version_info >= (3, 11)  # python/cpython#81777: before, sets are written in hash order


def dump(code: CodeType, source: bytes) -> bytes:
    """Write a code object as `marshal` does, but with sets sorted by their elements' bytes on every Python.

    Otherwise hashes decide their order, and those of None and Ellipsis follow from addresses in memory. Version 2 of
    the format has no references, so a set's bytes are the same at any place: each set is written apart, and then
    replaces a token.
    """
    if SETS_ARE_SORTED:
        return marshal.dumps(code, MARSHAL_VERSION)
    sets: list[tuple[bytes, bytes]] = []

    def written(value: Any) -> bytes:
        made = marshal.dumps(without_sets(value), MARSHAL_VERSION)
        for token, elements in sets:
            made = made.replace(token, elements)
        return made

    def without_sets(value: Any) -> Any:
        if isinstance(value, type(code)):
            return value.replace(co_consts=tuple(map(without_sets, value.co_consts)))
        if isinstance(value, tuple):
            return tuple(map(without_sets, value))
        if not isinstance(value, frozenset):
            return value
        elements = sorted(map(written, value))
        token = b"set %d of " % len(sets) + source_hash(source)
        head = b">" + len(elements).to_bytes(4, "little")
        sets.append((marshal.dumps(token, MARSHAL_VERSION), head + b"".join(elements)))
        return token

    return written(code)


def compile_module(source: bytes, filename: str) -> bytes:
    """Return the module's `.pyc`, or empty bytes if its source does not compile."""
    try:
        code = compile(source, filename, "exec", dont_inherit=True, optimize=0)
        body = dump(code, source)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return b""  # templates and Python 2: pip leaves these without byte code, too
    return MAGIC_NUMBER + UNCHECKED_HASH + source_hash(source) + body


def compiled_before(path: str, filename: str) -> CodeType | None:
    """Return the code beside a source, if the interpreter itself would use it (PEP 552), under the module's name.

    Loading it takes a seventh of the time of compiling, and gives the same bytes: sets are written in sorted order, and
    marshal's version 2 knows no references.
    """
    import _imp

    if not SETS_ARE_SORTED:
        return None
    try:
        with open(cache_from_source(path), "rb") as file:  # noqa: PTH123  pathlib is slow to import
            cached = memoryview(file.read())
        stat = os.stat(path)  # noqa: PTH116
    except (OSError, NotImplementedError):
        return None
    stamp = int(stat.st_mtime).to_bytes(8, "little")[:4] + stat.st_size.to_bytes(8, "little")[:4]
    if bytes(cached[:16]) != MAGIC_NUMBER + bytes(4) + stamp:
        return None
    code: CodeType = marshal.loads(cached[16:])  # noqa: S302 - the interpreter trusts this file as well
    _imp._fix_co_filename(code, filename)  # type: ignore[attr-defined]
    return code


def compile_installed(path: str, filename: str) -> bytes:
    """Return the `.pyc` of a module of the interpreter's library; empty bytes if its source does not compile.

    It fails if there is too little memory: a library without this module's byte code would give another image.
    """
    with open(path, "rb") as file:  # noqa: PTH123
        source = file.read()
    code = compiled_before(path, filename)
    try:
        if code is None:
            code = compile(source, filename, "exec", dont_inherit=True, optimize=0)
        return MAGIC_NUMBER + UNCHECKED_HASH + source_hash(source) + marshal.dumps(code, MARSHAL_VERSION)
    except (SyntaxError, ValueError):
        return b""


def read_source(descriptor: int, offset: int, length: int, size: int) -> bytes:
    """Return a module's bytes; `length` is that of its DEFLATE stream, or -1 if it is stored.

    At most `size` bytes, even if the stream holds more. No bytes for a damaged stream: the layer writer reports it.
    """
    if length < 0:
        return os.pread(descriptor, size, offset)
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(os.pread(descriptor, length, offset), size or 1)
    except zlib.error:
        return b""


def compiled(job: dict[str, Any]) -> Iterator[bytes]:
    """Yield the `.pyc` of each of a job's modules."""
    if "source" not in job:
        for name, path in job["modules"]:
            yield compile_installed(path, name)
        return
    source = os.open(job["source"], os.O_RDONLY)
    for name, offset, length, size in job["modules"]:
        yield compile_module(read_source(source, offset, length, size), name)


def run_job(job: dict[str, Any]) -> None:
    """Compile a job's modules into one file, back to back, then their sizes and CRC-32 as JSON, and its length."""
    gc.disable()  # a tenth of the time, and the process ends soon
    sizes = []
    crc = 0
    with open(job["out"], "xb") as out:  # noqa: PTH123  pathlib is slow to import
        for made in compiled(job):
            sizes.append(len(made))
            crc = zlib.crc32(made, crc)
            out.write(made)
        index = json.dumps({"sizes": sizes, "crc32": crc}).encode()
        out.write(index + len(index).to_bytes(8, "little"))


def fork_job(job: dict[str, Any]) -> int:
    """Run a job in a child; return its exit code, negative for a signal.

    The child does not outlive the process that asked for the job: no killed build leaves a writer in its folder.
    """
    ended, running = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(ended)
            run_job(job)
            code = 0
        except BaseException:  # noqa: BLE001  it ends here, and the parent reads the code
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(running)
    poller = select.poll()
    poller.register(ended, select.POLLIN)
    poller.register(sys.stdin.fileno(), 0)  # no event but its end
    if all(descriptor != ended for descriptor, _ in poller.poll()):
        os.kill(child, signal.SIGKILL)
    os.close(ended)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def answer(value: dict[str, Any]) -> None:
    """Write a line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Print this interpreter's version, then answer jobs until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it closes our input
    version = ".".join(map(str, sys.version_info[:3]))
    hello = {"version": version, "cache_tag": sys.implementation.cache_tag}
    answer(hello)
    for line in sys.stdin:
        answer({"code": fork_job(json.loads(line))})


if __name__ == "__main__":
    main()
