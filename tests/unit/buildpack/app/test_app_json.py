"""app.json, part by part, with the line of each fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from buildpack.app.app_json import Addon, AppJson, Script, parse_app_json, read_app_json, read_script
from buildpack.errors import AppError


def test_an_app_without_app_json(tmp_path: Path) -> None:
    app_json = read_app_json(tmp_path)
    assert app_json == AppJson()
    assert (app_json.formation(), app_json.variables(), app_json.script()) == ({}, {}, Script())
    assert list(app_json.health_hosts()) == []


def test_quantities_are_read_and_the_rest_is_not() -> None:
    text = '{"formation": {"web": {"quantity": 2, "size": "x"}, "clock": {}, "w": {"quantity": 0}}, "env": {"A": 1}}'
    assert parse_app_json(text).formation() == {"web": 2, "clock": 1, "w": 0}
    assert parse_app_json("{}").formation() == {}


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_an_invalid_formation_is_reported_with_its_line(text: str, message: str) -> None:
    with pytest.raises(AppError) as caught:
        parse_app_json(text).formation()
    assert str(caught.value) == (
        f"the formation in app.json cannot be read\n\n{message}.\n\n"
        'hint: it looks like `"formation": {"web": {"quantity": 1}}`.'
    )


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
    assert parse_app_json(text).script().addons == (
        Addon(name="heroku-redis"),
        Addon(name="heroku-postgresql", attached_as="MAIN", version="16"),
    )


@pytest.mark.parametrize("text", ["{}", '{"environments": {}}', '{"environments": {"review": {"env": {"A": "1"}}}}'])
def test_an_app_json_without_a_script(text):
    assert parse_app_json(text).script() == Script()


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
        ('{"environments": {"test": {"scripts":\n{"test": 1}}}}', 2, "the script `test` is not a string"),
        ('{"environments": {"test": {"env":\n\n{"A": 1}}}}', 3, "the variable `A` is not a string"),
        ('{"environments": {"test": {\n"addons": {}}}}', 2, "`addons` is not a list"),
        ('{"environments": {"test": {"addons": [{}]}}}', 1, "an add-on has no `plan`"),
        ('{"environments": {"test": {"addons": [{"plan": "x", "as": "A B"}]}}}', 1, "`as` of x is not the name of"),
        ('{"environments": {"test": {"addons": [{"plan": "x", "options": {"version": "9-$"}}]}}}', 1, "`version` of x"),
        ('{"environments": {"test": {"env": {"A=B": "1"}}}}', 1, "the variable `A=B` is not a string"),
    ],
)
def test_an_invalid_test_environment_is_reported_with_its_line(text, line, reason):
    with pytest.raises(AppError) as caught:
        parse_app_json(text).script()
    assert (caught.value.place, reason in str(caught.value)) == (f"app.json:{line}", True)


@pytest.mark.parametrize(
    ("env", "line", "reason"),
    [
        ('"DEBUG"', 2, "`env` is not an object"),
        ('{\n  "DEBUG": 1\n }', 3, "its value is not a string"),
        ('{\n\n"DEBUG": {"value": 0}}', 4, "its value is not a string"),
        ('{"A-B": "1"}', 2, "that is not the name of a variable"),
        ('{"DEBUG": "\\u0001", "X": "a\\u0001", "9": ""}', 2, "that is not the name of a variable"),
    ],
)
def test_an_invalid_variable_is_reported_with_its_own_line(env, line, reason):
    with pytest.raises(AppError) as caught:
        parse_app_json(f'{{"name": "DEBUG",\n "env": {env}\n}}\n').variables()
    assert (caught.value.place, reason in str(caught.value)) == (f"app.json:{line}", True)
