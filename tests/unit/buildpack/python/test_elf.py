from __future__ import annotations

import os
import random
import struct
import sys
import zlib
from pathlib import Path

import pytest

from buildpack.oci.entry import Deflated, FileSlice
from buildpack.python import elf
from buildpack.python.elf import MACHINES, Links, parse_links, reader
from buildpack.python.wheel import read_wheel
from tests.support.wheels import LAYOUT, write_wheel

NEEDED, STRTAB, SONAME, RPATH, RUNPATH = 1, 5, 14, 15, 29


def make_library(
    needed: tuple[str, ...] = (),
    *,
    soname: str = "",
    rpath: str = "",
    runpath: str = "",
    machine: int = MACHINES["x86_64"],
    wide: bool = True,
    order: str = "<",
    padding: bytes = b"",
    strings_last: bool = False,
) -> bytes:
    """Assemble a shared library that has nothing but a dynamic section."""
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


def parse(body: bytes) -> Links | None:
    return parse_links(lambda offset, size: body[offset : offset + size])


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_class_and_byte_order(wide: bool, order: str) -> None:
    body = make_library(("libc.so.6", "libm.so.6"), soname="libx.so.1", rpath="/r", wide=wide, order=order)
    assert parse(body) == Links(machine=62, needed=("libc.so.6", "libm.so.6"), soname="libx.so.1", runpath="/r")


def test_runpath_takes_the_place_of_rpath() -> None:
    links = parse(make_library(rpath="/old", runpath="$ORIGIN/../demo.libs"))
    assert links is not None
    assert links.runpath == "$ORIGIN/../demo.libs"


def test_a_real_interpreter() -> None:
    links = parse(Path(os.path.realpath(sys.executable)).read_bytes())
    assert links is not None
    assert links.machine == MACHINES[os.uname().machine]
    assert any(name.startswith(("libc.", "ld-")) for name in links.needed)


@pytest.mark.parametrize("body", [b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF" + bytes(60), b"MZ" * 100])
def test_anything_else_is_none(body: bytes) -> None:
    assert parse(body) is None


def test_damage_is_none_or_links_but_never_an_error() -> None:
    body = make_library(("libc.so.6",), soname="libx.so")
    chance = random.Random(7)
    for _ in range(2000):
        broken = bytearray(body[: chance.randrange(len(body))] if chance.random() < 0.3 else body)
        for _ in range(chance.randrange(4)):
            if broken:
                broken[chance.randrange(len(broken))] = chance.randrange(256)
        result = parse(bytes(broken))
        assert result is None or isinstance(result, Links)


@pytest.mark.parametrize("strings_last", [False, True])
@pytest.mark.parametrize("whole", [1 << 30, 0])
def test_reads_a_deflated_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: int, strings_last: bool
) -> None:
    monkeypatch.setattr(elf, "WHOLE", whole)
    padding = random.Random(3).randbytes(3 << 20) + bytes(9 << 20)
    body = make_library(("libc.so.6",), soname="libx.so", padding=padding, strings_last=strings_last)
    squeezer = zlib.compressobj(1, zlib.DEFLATED, -15)
    stream = squeezer.compress(body) + squeezer.flush()
    path = tmp_path / "file"
    path.write_bytes(b"before" + stream + b"after")
    content = Deflated(path, 6, len(stream), len(body), zlib.crc32(body))
    with reader(content) as read_at:
        assert parse_links(read_at) == Links(machine=62, needed=("libc.so.6",), soname="libx.so")
        assert read_at(len(body) - 2, 10) == body[-2:]
        assert read_at(0, 4) == b"\x7fELF"
        assert read_at(len(body), 10) == b""
        assert read_at(5 << 20, 100) == body[5 << 20 :][:100]


@pytest.mark.parametrize("whole", [1 << 30, 0])
def test_a_damaged_stream_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: int) -> None:
    monkeypatch.setattr(elf, "WHOLE", whole)
    path = tmp_path / "file"
    path.write_bytes(b"\xff" * 100)
    with reader(Deflated(path, 0, 100, 1000, 0)) as read_at:
        assert parse_links(read_at) is None


def test_reads_a_stored_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    body = make_library(("libc.so.6",))
    path.write_bytes(b"before" + body + b"after")
    with reader(FileSlice(path, len(body), 6)) as read_at:
        assert parse_links(read_at) == Links(machine=62, needed=("libc.so.6",))
        assert read_at(len(body) - 1, 10) == body[-1:]
        assert read_at(len(body) + 3, 10) == b""


def test_a_wheel_needs_what_it_does_not_bring(tmp_path: Path) -> None:
    path = write_wheel(
        tmp_path,
        {
            "demo/ext.cpython-311-x86_64-linux-gnu.so": make_library(("libblas-1a2b.so.3", "libstdc++.so.6")),
            "demo.libs/libblas-1a2b.so.3": make_library(("libgfortran.so.5", "libc.so.6"), soname="libblas.so.3"),
            "demo.libs/libgfortran.so.5": make_library(("libc.so.6",)),
            "demo/arm.so": make_library(("libarm.so",), machine=MACHINES["aarch64"]),
            "demo/notes.so.txt": b"\x7fELF",
            "demo-1.0.data/scripts/tool": make_library(("libz.so.1",)),
        },
    )
    contents = read_wheel(path, layout=LAYOUT, machine="x86_64")
    assert contents.needed == {"libstdc++.so.6", "libc.so.6", "libz.so.1"}
    assert contents.provided == {
        "ext.cpython-311-x86_64-linux-gnu.so",
        "libblas-1a2b.so.3",
        "libblas.so.3",
        "libgfortran.so.5",
        "tool",
    }
    assert read_wheel(path, layout=LAYOUT, machine="aarch64").needed == {"libarm.so"}
