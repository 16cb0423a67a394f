"""What a shared library asks of the loader: a `readelf -d` for files inside wheels.

Reads the dynamic section only (System V ABI, "Dynamic Linking"), through a function that gives bytes at an
offset, so that nothing but the stream itself has to be in memory.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from buildpack.dataclass import dataclass
from buildpack.oci.entry import Deflated, FileSlice

MACHINES = {
    "aarch64": 183,
    "armv7l": 40,
    "i686": 3,
    "loongarch64": 258,
    "ppc64le": 21,
    "riscv64": 243,
    "s390x": 22,
    "x86_64": 62,
}
"""`platform.machine()` to ``e_machine``."""

WHOLE = 64 << 20
"""Bytes up to which a stream is inflated at once, which takes half the time of doing it in pieces."""

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 14, 15, 29
_MAX_HEADERS = 512
_MAX_DYNAMIC = 1 << 16
_MAX_NAME = 4096
_CHUNK = 1 << 20

ReadAt = Callable[[int, int], bytes]
"""Give up to this many bytes (second) at this offset (first); fewer at the end of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The dynamic section's names: ``DT_NEEDED`` in order, ``DT_SONAME``, and the search path as written."""

    machine: int
    needed: tuple[str, ...] = ()
    soname: str = ""
    runpath: str = ""


def parse_links(read_at: ReadAt) -> Links | None:
    """Read the dynamic section; None where this is no ELF file, or a damaged one.

    A static executable has no such section: its `Links` are empty.
    """
    try:
        return _parse(read_at)
    except (struct.error, ValueError, UnicodeDecodeError):
        return None


@contextmanager
def reader(content: Deflated | FileSlice) -> Iterator[ReadAt]:
    """Give random access to a file inside a wheel, with bounded memory whatever its size."""
    with content.path.open("rb") as raw:
        descriptor = raw.fileno()
        if isinstance(content, FileSlice):
            yield lambda offset, size: os.pread(
                descriptor, max(0, min(size, content.size - offset)), content.offset + offset
            )
        elif content.size <= WHOLE:
            yield _inflated(descriptor, content)
        else:
            yield _Restartable(descriptor, content).read_at


def _inflated(descriptor: int, content: Deflated) -> ReadAt:
    import deflate

    stream = os.pread(descriptor, content.compressed, content.offset)
    # A damaged stream reads as an empty file; the layer writer is who says so, since it checks the CRC.
    try:
        body = memoryview(deflate.deflate_decompress(stream, content.size))
    except deflate.DeflateError:
        body = memoryview(b"")
    return lambda offset, size: bytes(body[offset : offset + size])


class _Restartable:
    """Reads a DEFLATE stream forwards, and from the start again for an earlier offset."""

    def __init__(self, descriptor: int, content: Deflated) -> None:
        self._descriptor = descriptor
        self._content = content
        self._restart()

    def _restart(self) -> None:
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._consumed = 0
        self._start = 0
        self._window = b""

    def read_at(self, offset: int, size: int) -> bytes:
        if offset < self._start:
            self._restart()
        while self._start + len(self._window) < offset + size and self._advance(offset):
            pass
        begin = offset - self._start
        return self._window[begin : begin + size]

    def _advance(self, keep_from: int) -> bool:
        """Inflate another piece, forgetting what lies before `keep_from`; False at the end."""
        piece = self._inflater.unconsumed_tail
        if not piece:
            left = self._content.compressed - self._consumed
            piece = os.pread(self._descriptor, min(_CHUNK, left), self._content.offset + self._consumed)
            self._consumed += len(piece)
        try:
            made = self._inflater.decompress(piece, _CHUNK)
        except zlib.error:
            return False
        keep = max(0, min(keep_from - self._start, len(self._window)))
        self._start += keep
        self._window = self._window[keep:] + made
        return bool(made) or (bool(piece) and not self._inflater.eof)


def _parse(read_at: ReadAt) -> Links | None:
    head = read_at(0, 64)
    if len(head) < 52 or head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    order, wide = "<>"[head[5] - 1], head[4] == 2
    machine, *_ = struct.unpack_from(f"{order}H", head, 18)
    if wide:
        (table,) = struct.unpack_from(f"{order}Q", head, 32)
        entry_size, count = struct.unpack_from(f"{order}HH", head, 54)
        header, fields = struct.Struct(f"{order}II6Q"), (0, 2, 3, 5)
    else:
        (table,) = struct.unpack_from(f"{order}I", head, 28)
        entry_size, count = struct.unpack_from(f"{order}HH", head, 42)
        header, fields = struct.Struct(f"{order}8I"), (0, 1, 2, 4)
    if count > _MAX_HEADERS or (count and entry_size != header.size):
        return None
    segments = [
        tuple(values[field] for field in fields) for values in header.iter_unpack(read_at(table, count * header.size))
    ]
    dynamic = next((segment for segment in segments if segment[0] == _PT_DYNAMIC), None)
    if dynamic is None:
        return Links(machine=machine)
    word = struct.Struct(f"{order}{'2Q' if wide else '2I'}")
    tags = _tags(word, read_at(dynamic[1], min(dynamic[3], _MAX_DYNAMIC)))
    return _name(read_at, machine, tags, segments)


def _tags(word: struct.Struct, section: bytes) -> list[tuple[int, int]]:
    tags: list[tuple[int, int]] = []
    for tag, value in word.iter_unpack(section[: len(section) // word.size * word.size]):
        if tag == 0:
            break
        tags.append((tag, value))
    return tags


def _name(read_at: ReadAt, machine: int, tags: list[tuple[int, int]], segments: list[tuple[int, ...]]) -> Links | None:
    """Look the tags' names up in the string table, which is given by its address in memory."""
    address = dict(tags).get(_DT_STRTAB)
    if address is None:
        return Links(machine=machine)
    strings = next(
        (
            offset + address - start
            for kind, offset, start, size in segments
            if kind == _PT_LOAD and start <= address < start + size
        ),
        None,
    )
    if strings is None:
        return None

    def name(value: int) -> str:
        return read_at(strings + value, _MAX_NAME).partition(b"\0")[0].decode("utf-8")

    wanted = sorted({value for tag, value in tags if tag in (_DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH)})
    # In the table's order, so that a stream is read once.
    names = {value: name(value) for value in wanted}
    found = {tag: names[value] for tag, value in tags if value in names and tag != _DT_NEEDED}
    return Links(
        machine=machine,
        needed=tuple(names[value] for tag, value in tags if tag == _DT_NEEDED),
        soname=found.get(_DT_SONAME, ""),
        runpath=found.get(_DT_RUNPATH, found.get(_DT_RPATH, "")),
    )
