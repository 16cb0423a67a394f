"""ELF files, made on the spot."""

from __future__ import annotations

import struct

NEEDED, STRTAB, SONAME, RPATH, RUNPATH = 1, 5, 14, 15, 29


def make_elf(
    *,
    needed: tuple[str, ...] = (),
    soname: str = "",
    runpath: str = "",
    interpreter: str = "",
    machine: int = 62,
    extra: bytes = b"",
    debug: int = 0,
) -> bytes:
    """Return an ELF64 file with these dynamic entries, `extra` bytes in its text, and `debug` bytes nobody maps."""
    strings = b"\0"

    def text(value: str) -> int:
        nonlocal strings
        place = len(strings)
        strings += value.encode() + b"\0"
        return place

    dynamic = [(1, text(name)) for name in needed]
    if soname:
        dynamic.append((14, text(soname)))
    if runpath:
        dynamic.append((29, text(runpath)))
    head = 64 + 3 * 56
    names = b"\0.text\0.debug_info\0.shstrtab\0"
    start = head
    body = interpreter.encode() + b"\0" if interpreter else b""
    interpreter_at, interpreter_size = start, len(body)
    strings_at = start + len(body)
    body += strings
    dynamic += [(5, strings_at), (10, len(strings)), (0, 0)]
    body += bytes(-(start + len(body)) % 8)
    dynamic_at = start + len(body)
    table = b"".join(struct.pack("<qQ", *entry) for entry in dynamic)
    body += table + extra
    mapped = start + len(body)
    segments = [
        (3 if interpreter else 0, interpreter_at, interpreter_size),
        (1, 0, mapped),
        (2, dynamic_at, len(table)),
    ]
    programs = b"".join(struct.pack("<IIQQQQQQ", kind, 4, at, at, at, size, size, 8) for kind, at, size in segments)
    debug_at, names_at = mapped, mapped + debug
    sections_at = names_at + len(names)
    sections = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (1, 1, 2, strings_at, strings_at, mapped - strings_at, 0, 0, 1, 0),
        (7, 1, 0, 0, debug_at, debug, 0, 0, 1, 0),
        (19, 3, 0, 0, names_at, len(names), 0, 0, 1, 0),
    ]
    table = b"".join(struct.pack("<IIQQQQIIQQ", *section) for section in sections)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, sections_at, 0, 64, 56, 3, 64, 4, 3)
    return header + programs + body + b"d" * debug + names + table


def make_library(
    needed: tuple[str, ...] = (),
    *,
    soname: str = "",
    rpath: str = "",
    runpath: str = "",
    machine: int = 62,
    wide: bool = True,
    order: str = "<",
    padding: bytes = b"",
    strings_last: bool = False,
) -> bytes:
    """Return a shared library of any class and byte order that has only a dynamic section."""
    strings = b"\0"
    tags: list[tuple[int, int]] = []
    named = [(NEEDED, each) for each in needed] + [(SONAME, soname), (RPATH, rpath), (RUNPATH, runpath)]
    for tag, text in named:
        if text:
            tags.append((tag, len(strings)))
            strings += text.encode() + b"\0"
    word = struct.Struct(f"{order}{'2Q' if wide else '2I'}")
    header_size, program_size = (64, 56) if wide else (52, 32)
    begin = header_size + 2 * program_size
    dynamic_size = (len(tags) + 2) * word.size
    strings_at = begin + len(padding) + (dynamic_size if strings_last else 0)
    dynamic_at = begin + len(padding) + (0 if strings_last else len(strings))
    base = 0x10000
    tags = [*tags, (STRTAB, base + strings_at), (0, 0)]
    dynamic = b"".join(word.pack(*tag) for tag in tags)
    body = padding + (dynamic + strings if strings_last else strings + dynamic)
    end = begin + len(body)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    if wide:
        head = struct.pack(f"{order}HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        load = struct.pack(f"{order}II6Q", 1, 5, 0, base, base, end, end, 4096)
        segment = struct.pack(
            f"{order}II6Q", 2, 6, dynamic_at, base + dynamic_at, base + dynamic_at, len(dynamic), len(dynamic), 8
        )
    else:
        head = struct.pack(f"{order}HHIIIIIHHHHHH", 3, machine, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0)
        load = struct.pack(f"{order}8I", 1, 0, base, base, end, end, 5, 4096)
        segment = struct.pack(
            f"{order}8I", 2, dynamic_at, base + dynamic_at, base + dynamic_at, len(dynamic), len(dynamic), 6, 4
        )
    return ident + head + load + segment + body
