from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.stacks.elf import Elf, read_elf, relocate, strip
from tests.unit.buildpack.stacks.conftest import make_elf


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


@pytest.mark.parametrize("body", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(10)])
def test_what_is_no_elf_file_is_none(tmp_path: Path, body: bytes) -> None:
    assert read(tmp_path, body) is None


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
