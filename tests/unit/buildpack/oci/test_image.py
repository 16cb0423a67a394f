"""The image's config: what `docker history` shows."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from buildpack.oci.digest import sha256
from buildpack.oci.image import Layer, Platform, assemble


def history(annotations: Mapping[str, str]) -> list[dict[str, str]]:
    layer = Layer(digest=sha256(b"blob"), diff_id=sha256(b"tar"), size=4, annotations=annotations)
    image = assemble([layer], platform=Platform(), created="2024-01-01T00:00:00Z", config={}, annotations={})
    found: list[dict[str, str]] = json.loads(image.config)["history"]
    return found


def test_history_names_the_packages_of_a_layer() -> None:
    members = [["six-1.16.0-py2.py3-none-any.whl", "0" * 64, 1], ["click-8.1.7-py3-none-any.whl", "1" * 64, 2, {}]]
    told = {"dev.deploy.kind": "dependencies", "dev.deploy.members": json.dumps(members)}
    made = "deploy build: dependencies: six 1.16.0, click 8.1.7"
    assert history(told) == [{"created": "1980-01-01T00:00:00Z", "created_by": made}]


@pytest.mark.parametrize("members", ["", "[", "5", "[5]", "[[]]", '[["\\u001b[2J-1"]]', "[" * 100_000])
def test_damaged_members_leave_the_kind(members: str) -> None:
    told = {"dev.deploy.kind": "dependencies", "dev.deploy.members": members}
    (entry,) = history(told)
    assert entry["created_by"] == "deploy build: dependencies"
