"""What the host stack must know of ELF files: what they need, where they look for it, and their bulk.

Follows the System V ABI, "Object Files" and "Program Loading and Dynamic Linking". Section headers
are read for `strip` only; everything else comes from the program headers, as it does for a loader.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

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
"""`e_machine` -> what ``uname -m`` says on such a machine."""

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 14, 15, 29
_SHF_ALLOC = 2
_WORTH_STRIPPING = 64 * 1024
_LARGEST_TABLE = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """The dynamic linking of one ELF file. `interpreter` is the loader a program asks for."""

    machine: str
    bits: int
    interpreter: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Shape:
    """The formats of one class and byte order: header after `e_ident`, program and section header, dynamic entry."""

    bits: int
    order: str

    @property
    def header(self) -> struct.Struct:
        """e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize ... e_shstrndx."""
        word = "Q" if self.bits == 64 else "I"
        return struct.Struct(f"{self.order}HHI{word}{word}{word}IHHHHHH")

    @property
    def section(self) -> struct.Struct:
        """sh_name, sh_type, sh_flags, sh_addr, sh_offset, sh_size, sh_link, sh_info, sh_addralign, sh_entsize."""
        word = "Q" if self.bits == 64 else "I"
        return struct.Struct(f"{self.order}II{word}{word}{word}{word}II{word}{word}")

    @property
    def dynamic(self) -> struct.Struct:
        return struct.Struct(f"{self.order}{'qQ' if self.bits == 64 else 'iI'}")

    def segment(self, raw: bytes) -> tuple[int, int, int, int]:
        """Return type, file offset, virtual address and file size of one program header."""
        if self.bits == 64:
            kind, _flags, offset, address, _physical, size = struct.unpack_from(f"{self.order}IIQQQQ", raw)
        else:
            kind, offset, address, _physical, size = struct.unpack_from(f"{self.order}IIIII", raw)
        return kind, offset, address, size


def _shape(ident: bytes) -> _Shape | None:
    if len(ident) < 16 or ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return None
    return _Shape(64 if ident[4] == 2 else 32, "<" if ident[5] == 1 else ">")


def read_elf(path: Path) -> Elf | None:
    """Read the file's dynamic linking, or return None where it is no (sound) ELF file."""
    with path.open("rb") as stream:
        try:
            return _read(stream)
        except (struct.error, ValueError, IndexError, OverflowError, OSError):
            return None


def _read(stream: BinaryIO) -> Elf | None:
    start = stream.read(64)
    shape = _shape(start)
    if shape is None:
        return None
    header = shape.header.unpack_from(start, 16)
    machine, program_offset, entry_size, entries = header[1], header[4], header[8], header[9]
    table = _at(stream, program_offset, entry_size * entries)
    segments = [shape.segment(table[index * entry_size :]) for index in range(entries)]
    interpreter = ""
    dynamic: list[tuple[int, int]] = []
    for kind, offset, _address, size in segments:
        if kind == _PT_INTERP:
            interpreter = _at(stream, offset, size).rstrip(b"\0").decode()
        elif kind == _PT_DYNAMIC:
            dynamic = list(_entries(shape, _at(stream, offset, size)))
    strings = _strings(stream, segments, dict(dynamic))

    def texts(tag: int) -> list[str]:
        return [strings[value : strings.index(b"\0", value)].decode() for found, value in dynamic if found == tag]

    return Elf(
        machine=MACHINES.get(machine, f"machine-{machine}"),
        bits=shape.bits,
        interpreter=interpreter,
        soname="".join(texts(_DT_SONAME)[:1]),
        needed=tuple(texts(_DT_NEEDED)),
        rpath=tuple(part for text in texts(_DT_RPATH) for part in text.split(":") if part),
        runpath=tuple(part for text in texts(_DT_RUNPATH) for part in text.split(":") if part),
    )


def _at(stream: BinaryIO, offset: int, size: int) -> bytes:
    if size > _LARGEST_TABLE:
        raise ValueError("no dynamic section is that large")
    stream.seek(offset)
    return stream.read(size)


def _entries(shape: _Shape, table: bytes) -> Iterator[tuple[int, int]]:
    whole = len(table) - len(table) % shape.dynamic.size
    for tag, value in shape.dynamic.iter_unpack(table[:whole]):
        if tag == 0:
            return
        yield tag, value


def _strings(stream: BinaryIO, segments: list[tuple[int, int, int, int]], dynamic: dict[int, int]) -> bytes:
    address, size = dynamic.get(_DT_STRTAB), dynamic.get(_DT_STRSZ, 0)
    if address is None:
        return b""
    for kind, offset, start, length in segments:
        if kind == _PT_LOAD and start <= address < start + length:
            return _at(stream, offset + address - start, size)
    return b""


def strip(body: bytes) -> bytes:
    """Leave out what no loader maps: debugging information and the symbols for linking.

    The dynamic symbols stay, and the headers of the sections that are mapped, so profilers and
    `readelf` still work. Returns the body itself where little would be gained, or where it is no sound ELF file.
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
    program_offset, section_offset, program_size, programs, section_size, sections, names = (
        *header[4:6],
        *header[8:13],
    )
    if not sections or section_size != shape.section.size or names >= sections:
        return body
    table = [list(shape.section.unpack_from(body, section_offset + index * section_size)) for index in range(sections)]
    kept = max((index for index, section in enumerate(table) if section[2] & _SHF_ALLOC), default=0) + 1
    ends = [program_offset + program_size * programs]
    for index in range(programs):
        _kind, offset, _address, size = shape.segment(body[program_offset + index * program_size :][:program_size])
        ends.append(offset + size)
    mapped = max(ends)
    if len(body) - mapped < _WORTH_STRIPPING or any(
        section[4] >= mapped for section in table[1:kept] if section[1] != 8
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

    Linkers let one string be the tail of another: in ``/home/me/versions/3.11.7`` stands the only
    ``3.11.7``, which is `sys.version`. So slashes fill the gap (a path may hold any number), and where the
    string ends with the prefix, its last part stays.
    """
    parent, _, last = prefix.rpartition("/")
    for old, follower in ((prefix, b"/"), (prefix, b":"), (parent, b"/" + last.encode() + b"\0")):
        if old:
            body = body.replace(old.encode() + follower, _filled(to, len(old.encode())) + follower)
    return body


def _filled(path: str, size: int) -> bytes:
    new = next(text for text in (path.encode(), b"/usr", b"/") if len(text) <= size)
    return new + b"/" * (size - len(new))
