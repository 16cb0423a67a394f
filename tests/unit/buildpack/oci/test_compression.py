from __future__ import annotations

import gzip
import io
import random
import zlib

import pytest

from buildpack.oci.compression import footer, gunzip, member


def test_a_member_has_no_trace_of_time_or_machine() -> None:
    made = member(b"hello" * 100)
    assert made[:10] == bytes.fromhex("1f8b08000000000000ff")
    assert made[-8:] == footer(zlib.crc32(b"hello" * 100), 500)
    assert gzip.decompress(made) == b"hello" * 100


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20])
@pytest.mark.parametrize("noise", [False, True])
def test_gunzip_returns_the_content_in_bounded_pieces(size: int, noise: bool) -> None:
    content = random.Random(size).randbytes(size) if noise else bytes(size)
    pieces = list(gunzip(io.BytesIO(member(content))))
    assert b"".join(pieces) == content
    assert all(0 < len(piece) <= 1 << 20 for piece in pieces)


def test_gunzip_reads_members_of_any_size_one_after_another() -> None:
    contents = [random.Random(size).randbytes(size) for size in (3, 0, 200_000, 1, 700_000, 262_144)] + [bytes(3 << 20)]
    blob = b"".join(member(content) for content in contents)
    assert b"".join(gunzip(io.BytesIO(blob))) == b"".join(contents) == gzip.decompress(blob)


def test_gunzip_of_an_empty_file_yields_nothing() -> None:
    assert list(gunzip(io.BytesIO(b""))) == []


@pytest.mark.parametrize("kept", [1, 9, 10, 15, -8, -1])
def test_gunzip_reports_a_stream_that_is_cut_short(kept: int) -> None:
    blob = member(b"first") + member(b"second" * 50)
    with pytest.raises(EOFError):
        list(gunzip(io.BytesIO(member(b"first") + member(b"second" * 50)[:kept])))
    assert b"".join(gunzip(io.BytesIO(blob))) == b"first" + b"second" * 50


def test_gunzip_reports_flipped_bits_and_bytes_that_are_not_gzip() -> None:
    blob = bytearray(member(b"second" * 50))
    blob[-6] ^= 1
    with pytest.raises(zlib.error):
        list(gunzip(io.BytesIO(bytes(blob))))
    with pytest.raises(zlib.error):
        list(gunzip(io.BytesIO(member(b"x") + b"junk")))


def test_gunzip_copies_little_at_the_end_of_each_member() -> None:
    class Counted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert size <= 16 << 10  # the copy is at most this long
            return super().read(size)

    assert b"".join(gunzip(Counted(member(b"") * 5000 + member(b"end")))) == b"end"
