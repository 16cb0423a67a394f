"""Read launch.json carefully, since anyone may have made the image."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from deployer.engines.docker.images import take_launch
from deployer.formation import Launch, parse_launch

OURS: dict[str, Any] = {
    "schema": 1,
    "processes": {"web": "gunicorn shop:APP", "worker": "python w.py"},
    "formation": {"worker": 2},
}


def archive(content: bytes, *, kind: bytes = tarfile.REGTYPE, size: int | None = None) -> bytes:
    info = tarfile.TarInfo("launch.json")
    info.type, info.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
    info.size = len(content) if size is None else size
    return info.tobuf() + content + bytes(-len(content) % 512) + bytes(1024)


def test_process_types_come_in_order_with_their_quantities():
    found = take_launch(iter([archive(json.dumps(OURS).encode())]))
    assert found == Launch(processes=OURS["processes"], formation={"worker": 2})
    assert parse_launch(b'{"processes": {}, "formation": null}') == Launch(processes={}, formation={})


@pytest.mark.parametrize(
    "changed",
    [
        {"processes": ["web"]},
        {"processes": {"web": 1}},
        {"processes": {"we\x1b[31mb": "x"}},
        {"processes": {"../web": "x"}},
        {"processes": {"": "x"}},
        {"processes": {"w" * 64: "x"}},
        {"default": 1},
        {"app_object": ["shop:APP"]},
        {"formation": ["web"]},
        {"formation": {"web": "2"}},
        {"formation": {"web": -1}},
        {"formation": {"web": True}},
        {"formation": {"web": 1e9}},
        {"formation": {"web": 1_000_000_000}},
    ],
)
def test_what_our_launcher_would_not_start_is_none(changed: dict[str, Any]) -> None:
    assert parse_launch(json.dumps(OURS | changed).encode()) is None


@pytest.mark.parametrize("text", [b"", b"[1]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"processes": NaN}'])
def test_text_that_is_not_an_object_gives_none(text: bytes) -> None:
    assert parse_launch(text) is None


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE])
def test_a_member_that_is_not_a_file_gives_none(kind: bytes) -> None:
    assert take_launch(iter([archive(b"", kind=kind)])) is None


def test_bytes_that_are_not_an_archive_give_none():
    assert take_launch(iter([b"nothing of the kind" * 100])) is None
    assert take_launch(io.BytesIO()) is None


def test_of_what_is_too_large_nothing_is_read():
    def pieces() -> Iterator[bytes]:
        yield archive(b"", size=1 << 30)[:512]
        raise AssertionError("it was read")

    assert take_launch(pieces()) is None
