"""The reasons for layers that had to be written."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from buildpack.oci.digest import sha256
from buildpack.oci.image import Layer
from buildpack.plan import PlannedLayer
from buildpack.steps.rebuild_reasons import AppInputs, why_built

OTHERS = {"the process types": "a", "SOURCE_DATE_EPOCH": "0"}
FILES = {"app.py": "1", "b.py": "2"}
APP = PlannedLayer(slot="app", kind="app", key="new", members=())


def before(key: str) -> list[Layer]:
    return [Layer(digest=sha256(b""), diff_id=sha256(b""), size=0, annotations={"dev.deploy.key": key})]


def reason(files: Mapping[str, str], others: Mapping[str, str]) -> str:
    old = AppInputs(files=FILES, others=OTHERS)
    return why_built(APP, before("old"), old=old, new=AppInputs(files=files, others=others))


@pytest.mark.parametrize(
    ("files", "others", "expected"),
    [
        (FILES, {**OTHERS, "SOURCE_DATE_EPOCH": "1"}, "SOURCE_DATE_EPOCH changed"),
        (FILES, {**OTHERS, "the process types": "b"}, "the process types changed"),
        (FILES, OTHERS, "what hooks run with, or how deploy writes layers, changed"),
        # The process types follow from the Procfile.
        ({**FILES, "app.py": "9"}, {**OTHERS, "the process types": "b"}, "app.py changed"),
        ({"app.py": "1", "c": "3"}, OTHERS, "c is new, b.py is gone"),
    ],
)
def test_reasons_for_the_app_s_layer(files: Mapping[str, str], others: Mapping[str, str], expected: str) -> None:
    assert reason(files, others) == expected


def test_a_layer_of_the_previous_image_was_lost_or_refused() -> None:
    inputs = AppInputs(files=FILES, others=OTHERS)
    assert why_built(APP, before("new"), old=inputs, new=inputs) == "the store had lost it"
    assert why_built(APP, before("new"), old=inputs, new=inputs, uncached=True) == "--no-cache was given"


def test_the_first_build_is_the_reason_without_an_earlier_image() -> None:
    assert why_built(APP, [], old=None, new=AppInputs(files={}, others={}), uncached=True) == "first build"
