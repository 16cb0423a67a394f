from __future__ import annotations

import random
import zlib
from pathlib import Path

import pytest

from buildpack.oci import content
from buildpack.oci.content import reader
from buildpack.oci.entry import Deflated, FileSlice
from buildpack.system.elf import Elf, parse_elf
from tests.support.elf import make_library


@pytest.mark.parametrize("strings_last", [False, True])
@pytest.mark.parametrize("whole", [1 << 30, 0])
def test_reads_a_deflated_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: int, strings_last: bool
) -> None:
    monkeypatch.setattr(content, "WHOLE", whole)
    padding = random.Random(3).randbytes(3 << 20) + bytes(9 << 20)
    body = make_library(("libc.so.6",), soname="libx.so", padding=padding, strings_last=strings_last)
    squeezer = zlib.compressobj(1, zlib.DEFLATED, -15)
    stream = squeezer.compress(body) + squeezer.flush()
    path = tmp_path / "file"
    path.write_bytes(b"before" + stream + b"after")
    stored = Deflated(path, 6, len(stream), len(body), zlib.crc32(body))
    with reader(stored) as read_at:
        assert parse_elf(read_at) == Elf(machine="x86_64", bits=64, needed=("libc.so.6",), soname="libx.so")
        assert read_at(len(body) - 2, 10) == body[-2:]
        assert read_at(0, 4) == b"\x7fELF"
        assert read_at(len(body), 10) == b""
        assert read_at(5 << 20, 100) == body[5 << 20 :][:100]


@pytest.mark.parametrize("whole", [1 << 30, 0])
def test_a_damaged_stream_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: int) -> None:
    monkeypatch.setattr(content, "WHOLE", whole)
    path = tmp_path / "file"
    path.write_bytes(b"\xff" * 100)
    with reader(Deflated(path, 0, 100, 1000, 0)) as read_at:
        assert parse_elf(read_at) is None


def test_reads_a_stored_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    body = make_library(("libc.so.6",))
    path.write_bytes(b"before" + body + b"after")
    with reader(FileSlice(path, len(body), 6)) as read_at:
        assert parse_elf(read_at) == Elf(machine="x86_64", bits=64, needed=("libc.so.6",))
        assert read_at(len(body) - 1, 10) == body[-1:]
        assert read_at(len(body) + 3, 10) == b""
