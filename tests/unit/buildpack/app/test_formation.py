"""app.json's formation."""

from __future__ import annotations

import pytest

from buildpack.app.formation import select_formation
from buildpack.app.jsonfile import parse_app_json
from buildpack.errors import AppError


def test_quantities_are_read_and_the_rest_is_not() -> None:
    text = '{"formation": {"web": {"quantity": 2, "size": "x"}, "clock": {}, "w": {"quantity": 0}}, "env": {"A": 1}}'
    assert select_formation(parse_app_json(text)) == {"web": 2, "clock": 1, "w": 0}
    assert select_formation(parse_app_json("{}")) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{\n"formation": 1}', "app.json:2: `formation` is not an object"),
        ('{"web": 1,\n"formation": {\n"web": 2}}', "app.json:3: `web` is not an object"),
        (
            '{"formation": {"web": {"quantity": "2"}}}',
            "app.json:1: the quantity of `web` is not a number from 0 to 1000",
        ),
        (
            '{"formation": {"web": {"quantity": true}}}',
            "app.json:1: the quantity of `web` is not a number from 0 to 1000",
        ),
        (
            '{"formation": {"web": {"quantity": -1}}}',
            "app.json:1: the quantity of `web` is not a number from 0 to 1000",
        ),
    ],
)
def test_what_is_no_formation(text: str, told: str) -> None:
    with pytest.raises(AppError) as caught:
        select_formation(parse_app_json(text))
    assert str(caught.value) == (
        f"the formation in app.json cannot be read\n\n{told}.\n\n"
        'hint: it looks like `"formation": {"web": {"quantity": 1}}`.'
    )
