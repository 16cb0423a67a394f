"""Read the dynamic linking of ELF files (System V ABI, "Object Files", "Program Loading and Dynamic Linking").

Everything comes from the program headers, as it does for a loader; only `strip` reads section headers. The files may
be hostile, so every table has a bound (docs/decisions/0042-hostile-formats.md says why this is not pyelftools).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

from buildpack.dataclass import dataclass

MACHINES = {
    3: "i686",
    20: "ppc",
    21: "ppc64le",
    22: "s390x",
    40: "armv7l",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
"""`e_machine` to what ``uname -m`` prints on such a machine."""

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 14, 15, 29
_SHT_NOBITS = 8
_SHF_ALLOC = 2
_WORTH_STRIPPING = 64 * 1024
_MAX_SEGMENTS = 512
_MAX_DYNAMIC = 1 << 16
_MAX_NAME = 4096

ReadAt = Callable[[int, int], bytes]
"""Returns up to this many bytes (second) at this offset (first); fewer at the end of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """The dynamic linking of one ELF file. `interpreter` is the loader that a program asks for."""

    machine: str
    bits: int
    interpreter: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


@dataclass(frozen=True, slots=True)
class _Shape:
    """The structures of one class (32 or 64 bits) and byte order; `header` begins after `e_ident`."""

    bits: int
    header: struct.Struct
    program: struct.Struct
    section: struct.Struct
    dynamic: struct.Struct

    def segments(self, table: bytes) -> list[_Segment]:
        """Read the program headers."""
        rows = self.program.iter_unpack(table)
        if self.bits == 64:
            return [_Segment(kind=row[0], offset=row[2], address=row[3], size=row[5]) for row in rows]
        return [_Segment(kind=row[0], offset=row[1], address=row[2], size=row[4]) for row in rows]


def _shape(ident: bytes) -> _Shape | None:
    if len(ident) < 16 or ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return None
    bits, word, program = (32, "I", "8I") if ident[4] == 1 else (64, "Q", "2I6Q")
    layouts = (f"HHI3{word}I6H", program, f"2I4{word}2I2{word}", f"2{word}")
    header, segment, section, dynamic = (struct.Struct("<>"[ident[5] - 1] + layout) for layout in layouts)
    return _Shape(bits, header, segment, section, dynamic)


def read_elf(path: Path) -> Elf | None:
    """Read the file's dynamic linking; None if it is not an ELF file, or a damaged one."""
    with path.open("rb") as stream:
        try:
            return parse_elf(lambda offset, size: os.pread(stream.fileno(), size, offset))
        except OSError:
            return None


def parse_elf(read_at: ReadAt) -> Elf | None:
    """Read an ELF file's dynamic linking, without all of it in memory; None if this is not a sound ELF file."""
    try:
        return _parse(read_at)
    except (struct.error, ValueError, OverflowError):
        return None


def _parse(read_at: ReadAt) -> Elf | None:
    start = read_at(0, 64)
    shape = _shape(start)
    if shape is None:
        return None
    _, machine, _, _, table, _, _, _, size, count, *_ = shape.header.unpack_from(start, 16)
    if count > _MAX_SEGMENTS or (count and size != shape.program.size):
        return None
    programs = read_at(table, count * shape.program.size)
    if len(programs) != count * shape.program.size:
        return None
    segments = shape.segments(programs)
    first = {segment.kind: segment for segment in reversed(segments)}
    interpreter, dynamic = first.get(_PT_INTERP), first.get(_PT_DYNAMIC)
    tags = _tags(shape, read_at(dynamic.offset, min(dynamic.size, _MAX_DYNAMIC))) if dynamic else []
    names = _names(read_at, tags, segments)

    def texts(wanted: int) -> list[str]:
        return [names[value] for tag, value in tags if tag == wanted]

    return Elf(
        machine=MACHINES.get(machine, f"machine-{machine}"),
        bits=shape.bits,
        interpreter=_text(read_at(interpreter.offset, _MAX_NAME)) if interpreter else "",
        soname="".join(texts(_DT_SONAME)[:1]),
        needed=tuple(texts(_DT_NEEDED)),
        rpath=tuple(part for text in texts(_DT_RPATH) for part in text.split(":") if part),
        runpath=tuple(part for text in texts(_DT_RUNPATH) for part in text.split(":") if part),
    )


def _tags(shape: _Shape, section: bytes) -> list[tuple[int, int]]:
    tags: list[tuple[int, int]] = []
    for tag, value in shape.dynamic.iter_unpack(section[: len(section) // shape.dynamic.size * shape.dynamic.size]):
        if tag == 0:
            break
        tags.append((tag, value))
    return tags


def _names(read_at: ReadAt, tags: list[tuple[int, int]], segments: list[_Segment]) -> dict[int, str]:
    """Look the tags' names up in the string table, which the file gives by its address in memory."""
    # In the table's order, so that a compressed stream is read once.
    wanted = sorted({value for tag, value in tags if tag in (_DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH)})
    if not wanted:
        return {}
    address = dict(tags).get(_DT_STRTAB, -1)
    for segment in segments:
        if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size:
            table = segment.offset + address - segment.address
            return {value: _text(read_at(table + value, _MAX_NAME)) for value in wanted}
    raise ValueError("no segment holds the names")


def _text(found: bytes) -> str:
    text, end, _ = found.partition(b"\0")
    if not end:
        raise ValueError("a name has no end")
    return text.decode()


def strip(body: bytes) -> bytes:
    """Leave out what no loader maps: debugging information and the symbols for linking.

    The dynamic symbols stay, and the headers of the sections that are mapped, so profilers and `readelf` still work.
    Returns the body itself if little would be gained, or if it is not a sound ELF file.
    """
    shape = _shape(body)
    if shape is None:
        return body
    try:
        return _strip(body, shape)
    except (struct.error, IndexError, OverflowError):
        return body


def _strip(body: bytes, shape: _Shape) -> bytes:
    header = list(shape.header.unpack_from(body, 16))
    program_offset, section_offset = header[4:6]
    program_size, programs, section_size, sections, names = header[8:13]
    if not sections or section_size != shape.section.size or names >= sections or program_size != shape.program.size:
        return body
    table = [list(shape.section.unpack_from(body, section_offset + index * section_size)) for index in range(sections)]
    kept = max((index for index, section in enumerate(table) if section[2] & _SHF_ALLOC), default=0) + 1
    programs_end = program_offset + program_size * programs
    segments = shape.segments(body[program_offset:programs_end])
    mapped = max([programs_end, *(segment.offset + segment.size for segment in segments)])
    if len(body) - mapped < _WORTH_STRIPPING or any(
        section[4] >= mapped for section in table[1:kept] if section[1] != _SHT_NOBITS
    ):
        return body
    name_table = table[names]
    name_bytes = body[name_table[4] : name_table[4] + name_table[5]]
    name_table[4] = mapped
    end = mapped + len(name_bytes)
    header[5] = end + -end % 8
    header[11], header[12] = kept + 1, kept
    out = bytearray(body[:mapped] + name_bytes + bytes(-end % 8))
    for section in [*table[:kept], name_table]:
        out += shape.section.pack(*section)
    shape.header.pack_into(out, 16, *header)
    return bytes(out)


def relocate(body: bytes, prefix: str, to: str) -> bytes:
    """Replace the folder `prefix` in compiled-in paths without moving a byte behind it.

    Linkers let one string be the tail of another: ``/home/me/versions/3.11.7`` may hold the only ``3.11.7``, which is
    `sys.version`. So slashes fill the gap (a path may hold any number), and if the string ends with the prefix, its
    last part stays.
    """
    parent, _, last = prefix.rpartition("/")
    for old, follower in ((prefix, b"/"), (prefix, b":"), (parent, b"/" + last.encode() + b"\0")):
        if old:
            body = body.replace(old.encode() + follower, _filled(to, len(old.encode())) + follower)
    return body


def _filled(path: str, size: int) -> bytes:
    new = next(text for text in (path.encode(), b"/usr", b"/") if len(text) <= size)
    return new + b"/" * (size - len(new))
