from __future__ import annotations

import os
import random
import struct
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.system.elf import Elf, parse_elf, read_elf, relocate, strip
from tests.support.elf import make_elf, make_library


def read(tmp_path: Path, body: bytes) -> Elf | None:
    (tmp_path / "file").write_bytes(body)
    return read_elf(tmp_path / "file")


def test_dynamic_linking_is_read(tmp_path: Path) -> None:
    body = make_elf(
        needed=("libc.so.6", "libm.so.6"), soname="libx.so.1", runpath="/a:$ORIGIN/b", interpreter="/lib64/ld.so"
    )
    assert read(tmp_path, body) == Elf(
        machine="x86_64",
        bits=64,
        interpreter="/lib64/ld.so",
        soname="libx.so.1",
        needed=("libc.so.6", "libm.so.6"),
        runpath=("/a", "$ORIGIN/b"),
    )


def test_the_running_interpreter_is_read() -> None:
    elf = read_elf(Path(os.path.realpath(sys.executable)))
    assert elf is not None
    assert elf.machine == os.uname().machine
    assert elf.interpreter.startswith("/lib")
    assert any(name.startswith("libc.") for name in elf.needed)


def parse(body: bytes) -> Elf | None:
    return parse_elf(lambda offset, size: body[offset : offset + size])


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_class_and_byte_order(wide: bool, order: str) -> None:
    names = ("libc.so.6", "libm.so.6")
    body = make_library(names, soname="libx.so.1", rpath="/r:/s", runpath="$ORIGIN/t", wide=wide, order=order)
    assert parse(body) == Elf(
        machine="x86_64",
        bits=64 if wide else 32,
        needed=names,
        soname="libx.so.1",
        rpath=("/r", "/s"),
        runpath=("$ORIGIN/t",),
    )


def test_an_unknown_machine_has_its_number() -> None:
    elf = parse(make_library(machine=4242))
    assert elf is not None
    assert elf.machine == "machine-4242"


@pytest.mark.parametrize(
    "body",
    [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(10), b"\x7fELF" + bytes(60), b"MZ" * 100],
)
def test_another_kind_of_file_is_none(tmp_path: Path, body: bytes) -> None:
    assert read(tmp_path, body) is None


@pytest.mark.parametrize("offset", [1 << 62, 1 << 63, (1 << 64) - 1])
def test_a_table_beyond_the_end_of_any_file_is_damage(tmp_path: Path, offset: int) -> None:
    body = bytearray(make_elf(needed=("libc.so.6",)))
    struct.pack_into("<Q", body, 32, offset)
    assert read(tmp_path, bytes(body)) is None


def test_tables_without_an_end_are_read_up_to_a_bound() -> None:
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    asked: list[int] = []

    def read_at(offset: int, size: int) -> bytes:
        asked.append(size)
        return header if offset == 0 else (segment if offset == 64 else b"\1" * size)

    segment = struct.pack("<II6Q", 2, 6, 4096, 0, 0, 1 << 60, 1 << 60, 8)
    header = head + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    assert parse_elf(read_at) == Elf(machine="x86_64", bits=64)
    assert max(asked) <= 1 << 16
    header = head + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 0xFFFF, 0, 0, 0)
    assert parse_elf(read_at) is None


def test_a_name_without_an_end_is_damage() -> None:
    assert parse(make_library(("a" * 5000,))) is None


def test_damage_is_none_or_links_but_never_an_error() -> None:
    body = make_library(("libc.so.6",), soname="libx.so")
    chance = random.Random(7)
    for _ in range(2000):
        broken = bytearray(body[: chance.randrange(len(body))] if chance.random() < 0.3 else body)
        for _ in range(chance.randrange(4)):
            if broken:
                broken[chance.randrange(len(broken))] = chance.randrange(256)
        result = parse(bytes(broken))
        assert result is None or isinstance(result, Elf)


@given(st.integers(0, 600), st.binary(min_size=1, max_size=8))
def test_damage_never_raises(at: int, noise: bytes) -> None:
    body = bytearray(make_elf(needed=("libc.so.6",), debug=70_000))
    body[at : at + len(noise)] = noise
    strip(bytes(body))
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        read_elf(Path(file.name))


def test_debugging_information_is_left_out_and_nothing_that_is_mapped(tmp_path: Path) -> None:
    body = make_elf(needed=("libc.so.6",), soname="libx.so.1", extra=b"text", debug=200_000)
    lean = strip(body)
    assert len(body) - len(lean) > 199_000
    assert read(tmp_path, lean) == read(tmp_path, body)
    assert b"text" in lean
    assert strip(lean) == lean


def test_little_gain_leaves_the_file_as_it_is() -> None:
    body = make_elf(needed=("libc.so.6",), debug=1000)
    assert strip(body) is body


def test_a_prefix_is_replaced_without_moving_anything() -> None:
    body = b"x\0/home/me/versions/3.11.7/lib:/home/me/versions/3.11.7\0tail"
    moved = relocate(body, "/home/me/versions/3.11.7", "/usr/local")
    assert moved == b"x\0/usr/local" + b"/" * 15 + b"lib:/usr/local" + b"/" * 8 + b"3.11.7\0tail"
    assert len(moved) == len(body)


def test_the_version_that_shares_its_bytes_with_the_prefix_stays() -> None:
    """A linker stores `3.11.7`, which is `sys.version`, as the tail of the prefix."""
    assert relocate(b"/opt/pythons/3.11.7\0", "/opt/pythons/3.11.7", "/usr/local").endswith(b"/3.11.7\0")


def test_a_prefix_shorter_than_the_new_place_still_goes() -> None:
    assert relocate(b"/opt/p/lib\0", "/opt/p", "/usr/local") == b"/usr///lib\0"


def test_another_folder_with_the_same_beginning_stays() -> None:
    assert relocate(b"/opt/pythons-other/lib\0", "/opt/pythons", "/usr/local") == b"/opt/pythons-other/lib\0"
