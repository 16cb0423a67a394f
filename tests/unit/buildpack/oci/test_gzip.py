from __future__ import annotations

import gzip as reference
import io
import random
import zlib

import pytest

from buildpack.oci import gzip


def test_a_member_tells_neither_time_nor_machine() -> None:
    made = gzip.member(b"hello" * 100)
    assert made[:10] == bytes.fromhex("1f8b08000000000000ff")
    assert made[-8:] == gzip.footer(zlib.crc32(b"hello" * 100), 500)
    assert reference.decompress(made) == b"hello" * 100


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20])
@pytest.mark.parametrize("noise", [False, True])
def test_gunzip_gives_back_what_went_in_piece_by_piece(size: int, noise: bool) -> None:
    content = random.Random(size).randbytes(size) if noise else bytes(size)
    pieces = list(gzip.gunzip(io.BytesIO(gzip.member(content))))
    assert b"".join(pieces) == content
    assert all(0 < len(piece) <= 1 << 20 for piece in pieces)


def test_gunzip_reads_members_of_any_size_one_after_another() -> None:
    contents = [random.Random(size).randbytes(size) for size in (3, 0, 200_000, 1, 700_000, 262_144)] + [bytes(3 << 20)]
    blob = b"".join(gzip.member(content) for content in contents)
    assert b"".join(gzip.gunzip(io.BytesIO(blob))) == b"".join(contents) == reference.decompress(blob)


def test_gunzip_of_nothing_is_nothing() -> None:
    assert list(gzip.gunzip(io.BytesIO(b""))) == []


@pytest.mark.parametrize("kept", [1, 9, 10, 15, -8, -1])
def test_gunzip_notices_an_end_that_comes_early(kept: int) -> None:
    blob = gzip.member(b"first") + gzip.member(b"second" * 50)
    with pytest.raises(EOFError):
        list(gzip.gunzip(io.BytesIO(gzip.member(b"first") + gzip.member(b"second" * 50)[:kept])))
    assert b"".join(gzip.gunzip(io.BytesIO(blob))) == b"first" + b"second" * 50


def test_gunzip_notices_flipped_bytes_and_what_is_no_gzip() -> None:
    blob = bytearray(gzip.member(b"second" * 50))
    blob[-6] ^= 1
    with pytest.raises(zlib.error):
        list(gzip.gunzip(io.BytesIO(bytes(blob))))
    with pytest.raises(zlib.error):
        list(gzip.gunzip(io.BytesIO(gzip.member(b"x") + b"junk")))
