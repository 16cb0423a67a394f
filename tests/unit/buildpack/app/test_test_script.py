"""app.json's test environment: Heroku CI's schema, with the line of whatever cannot be read."""

from __future__ import annotations

import json

import pytest

from buildpack.app.test_script import Addon, Script, parse_script, read_script
from buildpack.errors import AppError


def test_a_script_with_all_there_is(tmp_path):
    environment = {
        "scripts": {"test-setup": "flask init-db", "test": " pytest -q "},
        "env": {"DATABASE_URL": "sqlite://", "KEY": {"value": "x"}, "SECRET": {"generator": "secret"}, "ASKED": None},
        "formation": {"web": {"quantity": 1}},
    }
    (tmp_path / "app.json").write_text(json.dumps({"name": "shop", "environments": {"test": environment}}))
    script = read_script(tmp_path)
    assert script == Script(
        test="pytest -q", setup="flask init-db", environment={"DATABASE_URL": "sqlite://", "KEY": "x"}
    )
    assert "sqlite" not in repr(script)


def test_add_ons_have_a_plan_and_may_have_a_name_and_a_version():
    listed = ["heroku-redis:in-dyno", {"plan": "heroku-postgresql:in-dyno", "as": "MAIN", "options": {"version": 16}}]
    text = json.dumps({"addons": ["logs"], "environments": {"test": {"addons": listed}}})
    assert parse_script(text).addons == (
        Addon(name="heroku-redis"),
        Addon(name="heroku-postgresql", attached_as="MAIN", version="16"),
    )


@pytest.mark.parametrize("text", ["{}", '{"environments": {}}', '{"environments": {"review": {"env": {"A": "1"}}}}'])
def test_an_app_json_without_a_script(text):
    assert parse_script(text) == Script()


def test_no_app_json(tmp_path):
    assert read_script(tmp_path) == Script()


def test_an_app_json_that_is_not_json_matters_only_if_its_script_is_needed(tmp_path):
    (tmp_path / "app.json").write_text('{"environments": ')
    assert read_script(tmp_path, needed=False) == Script()
    with pytest.raises(AppError, match=r"^app\.json is not valid JSON"):
        read_script(tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('{\n"environments": 3}', 2, "`environments` is not an object"),
        ('{"environments": {\n\n"test": []}}', 3, "`test` is not an object"),
        ('{"environments": {"test": {"scripts":\n{"test": 1}}}}', 1, "the script `test` is not a string"),
        ('{"environments": {"test": {"env":\n\n{"A": 1}}}}', 3, "the variable `A` is no string"),
        ('{"environments": {"test": {\n"addons": {}}}}', 2, "`addons` is not a list"),
        ('{"environments": {"test": {"addons": [{}]}}}', 1, "an add-on has no `plan`"),
        ('{"environments": {"test": {"addons": [{"plan": "x", "as": "A B"}]}}}', 1, "`as` of x is not the name of"),
        ('{"environments": {"test": {"addons": [{"plan": "x", "options": {"version": "9-$"}}]}}}', 1, "`version` of x"),
        ('{"environments": {"test": {"env": {"A=B": "1"}}}}', 1, "the variable `A=B` is no string"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(text, line, reason):
    with pytest.raises(AppError) as caught:
        parse_script(text)
    assert (caught.value.place, reason in str(caught.value)) == (f"app.json:{line}", True)
