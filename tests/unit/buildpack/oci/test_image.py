"""The history that `docker history` shows, and the packed values of annotations."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import deflate
import pytest

from buildpack.oci.digest import sha256
from buildpack.oci.image import Layer, Platform, assemble, pack, unpack


def history(annotations: Mapping[str, str]) -> list[dict[str, str]]:
    layer = Layer(digest=sha256(b"blob"), diff_id=sha256(b"tar"), size=4, annotations=annotations)
    image = assemble([layer], platform=Platform(), created="2024-01-01T00:00:00Z", config={}, annotations={})
    found: list[dict[str, str]] = json.loads(image.config)["history"]
    return found


def test_history_names_the_packages_of_a_layer() -> None:
    members = [["six-1.16.0-py2.py3-none-any.whl", "0" * 64, 1], ["click-8.1.7-py3-none-any.whl", "1" * 64, 2, {}]]
    annotations = {"dev.deploy.kind": "dependencies", "dev.deploy.members": json.dumps(members)}
    made = "deploy build: dependencies: six 1.16.0, click 8.1.7"
    assert history(annotations) == [{"created": "1980-01-01T00:00:00Z", "created_by": made}]


@pytest.mark.parametrize("members", ["", "[", "5", "[5]", "[[]]", '[["\\u001b[2J-1"]]', "[" * 100_000])
def test_damaged_members_leave_the_kind(members: str) -> None:
    annotations = {"dev.deploy.kind": "dependencies", "dev.deploy.members": members}
    (entry,) = history(annotations)
    assert entry["created_by"] == "deploy build: dependencies"


ROWS = [[f"package{number}-1.0-py3-none-any.whl", number] for number in range(40)]


def test_a_packed_value_is_shorter_and_unpacks_to_the_same() -> None:
    raw = json.dumps(ROWS).encode()
    text = pack(raw)
    assert unpack(text) == ROWS
    assert len(text) < len(raw) / 3
    assert json.dumps(text) == f'"{text}"', "a manifest escapes no character of it"


def test_plain_json_of_earlier_versions_is_read() -> None:
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
def test_a_damaged_or_too_long_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the readers need no more detail
        unpack(text)
