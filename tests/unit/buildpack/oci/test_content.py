from __future__ import annotations

import random
import zlib
from pathlib import Path

import pytest

from buildpack.errors import MachineError
from buildpack.oci import content
from buildpack.oci.content import ContentDamagedError, Sources, reader
from buildpack.oci.entry import Content, Deflated, FileSlice, Inline
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
def test_a_damaged_stream_reads_as_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: int) -> None:
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


def deflated(folder: Path, body: bytes) -> Deflated:
    squeezer = zlib.compressobj(1, zlib.DEFLATED, -15)
    stream = squeezer.compress(body) + squeezer.flush()
    path = folder / f"{len(list(folder.iterdir()))}"
    path.write_bytes(b"before" + stream + b"after")
    return Deflated(path, 6, len(stream), len(body), zlib.crc32(body))


def read(stored: Content) -> bytes:
    with Sources() as sources:
        return b"".join(sources.pieces(stored))


@pytest.fixture(params=[0, 8 << 20], ids=["in pieces", "at once"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "LARGEST_PIECE", request.param)


@pytest.mark.usefixtures("_both_ways")
class TestSources:
    @pytest.mark.parametrize("body", [b"", b"x", bytes(3 << 20), random.Random(3).randbytes(1 << 20)])
    def test_every_kind_of_content_is_read(self, tmp_path: Path, body: bytes) -> None:
        (tmp_path / "file").write_bytes(b"12" + body + b"3")
        assert read(Inline(body)) == body
        assert read(FileSlice(tmp_path / "file", len(body), 2)) == body
        assert read(FileSlice(tmp_path / "file", len(body), 2, zlib.crc32(body))) == body
        assert read(deflated(tmp_path, body)) == body

    def test_the_stream_itself_is_passed_on(self, tmp_path: Path) -> None:
        stored = deflated(tmp_path, bytes(3 << 20))
        passed: list[bytes] = []
        with Sources() as sources:
            assert b"".join(sources.pieces(stored, compressed=passed.append)) == bytes(3 << 20)
        assert b"".join(passed) == stored.path.read_bytes()[6:-5]

    def test_damage_is_reported(self, tmp_path: Path) -> None:
        body = bytes(2 << 20)
        sound = deflated(tmp_path, body)
        cases: list[FileSlice | Deflated] = [
            Deflated(sound.path, 6, sound.compressed, len(body), 1),
            Deflated(sound.path, 6, sound.compressed, len(body) - 1, sound.crc32),
            Deflated(sound.path, 6, sound.compressed, len(body) + 1, sound.crc32),
            Deflated(sound.path, 5, sound.compressed, len(body), sound.crc32),
            Deflated(sound.path, 6, 10, len(body), sound.crc32),
            FileSlice(sound.path, 6, 0, 1),
        ]
        for damaged in cases:
            with pytest.raises(ContentDamagedError, match=f"^the (stream|part) at byte {damaged.offset} fails"):
                read(damaged)
        end = sound.path.stat().st_size
        with pytest.raises(ContentDamagedError, match=f"^it ends before byte {end + 1}$"):
            read(FileSlice(sound.path, end + 1))

    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(MachineError):
            read(FileSlice(tmp_path / "none", 1))

    def test_more_files_than_may_be_open_are_read(self, tmp_path: Path) -> None:
        slices = []
        for number in range(100):
            (tmp_path / f"{number}").write_bytes(b"%d" % number)
            slices.append(FileSlice(tmp_path / f"{number}", len(str(number))))
        with Sources() as sources:
            for _ in range(2):
                found = [b"".join(sources.pieces(each)) for each in slices]
                assert found == [b"%d" % number for number in range(100)]


def test_content_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    with (
        Sources() as sources,
        pytest.raises(ContentDamagedError, match=r"^it has 3,000 bytes"),
    ):
        sources.whole(deflated(tmp_path, bytes(3000)), limit=2000)
