"""Packed values of annotations, which every push sends, and what strangers put in their place."""

from __future__ import annotations

import base64
import json

import deflate
import pytest

from buildpack.oci.image import pack, unpack

ROWS = [[f"package{number}-1.0-py3-none-any.whl", number] for number in range(40)]


def test_what_is_packed_is_shorter_and_comes_back():
    raw = json.dumps(ROWS).encode()
    text = pack(raw)
    assert unpack(text) == ROWS
    assert len(text) < len(raw) / 3
    assert json.dumps(text) == f'"{text}"', "a manifest has to escape nothing of it"


def test_plain_json_of_earlier_versions_is_read():
    assert unpack('[["a-1-py3-none-any.whl"]]') == [["a-1-py3-none-any.whl"]]


def packed(raw: bytes) -> str:
    return "z" + base64.b85encode(raw).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "z",
        "z\u20ac",
        "z~~~~~~~~~~",
        packed(b"[]"),
        packed(deflate.deflate_compress(b"[1, 2, 3]", 6)[:-2]),
        packed(deflate.deflate_compress(b"no JSON", 6)),
        packed(deflate.deflate_compress(b"[" + b" " * (2 << 20) + b"]", 6)),
    ],
)
def test_what_is_damaged_or_becomes_too_long_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  whoever reads it knows no more than that
        unpack(text)
