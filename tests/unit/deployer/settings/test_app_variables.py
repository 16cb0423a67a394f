"""app.json's ``env``: defaults, a secret that is made once and kept apart from the app, and what is required."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from buildpack.errors import AppError
from deployer.settings.app_variables import default_variables, keep_secret, place_of_secrets


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    return folder


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"DEPLOY_HOME": str(tmp_path / "home")}


def describe(app: Path, **env: object) -> None:
    (app / "app.json").write_text(json.dumps({"env": env}))


def heard(defaults, *, insist: bool = True, own_file: bool = True) -> list[str]:
    said: list[str] = []
    defaults.tell(say=said.append, warn=said.append, insist=insist, own_file=own_file)
    return said


def test_without_app_json_or_with_a_damaged_one_there_are_none(app, environ):
    assert default_variables(app, given=(), environ=environ).values == {}
    (app / "app.json").write_text("{")
    assert default_variables(app, given=(), environ=environ).values == {}


def test_values_are_defaults_and_what_is_given_is_not_lacking(app, environ):
    describe(app, A="1", B={"value": "2", "required": True}, C={"required": True}, D={"description": "d"})
    defaults = default_variables(app, given={"C", "D"}, environ=environ)
    assert defaults.values == {"A": "1", "B": "2"}
    assert heard(defaults) == []


def test_what_is_required_is_an_error_and_what_is_only_described_a_warning(app, environ):
    describe(
        app,
        DATABASE_URL={"required": True},
        MAIL={"description": "where mail goes"},
        DEBUG={"required": False},
        EMPTY={"value": "", "required": True},
    )
    defaults = default_variables(app, given=(), environ=environ)
    with pytest.raises(AppError) as caught:
        heard(defaults)
    assert str(caught.value) == (
        "app.json requires DATABASE_URL and EMPTY\n\n"
        "They have no value; nothing was started.\n\n"
        "hint: set them in .env, with `-e DATABASE_URL=VALUE`, or with `--env-file FILE`."
    )
    assert heard(defaults, insist=False) == [
        "app.json requires DATABASE_URL and EMPTY, which have no value here; set them in .env or with -e.",
        (
            "app.json describes MAIL, which has no value here; set it in .env or with -e, "
            'or write `"required": false` in app.json.'
        ),
    ]
    # `ci` reads no .env.
    assert heard(defaults, insist=False, own_file=False)[0] == (
        "app.json requires DATABASE_URL and EMPTY, which have no value here; set them with -e or under "
        "environments.test.env in app.json."
    )
    describe(app, MAIL={"description": "where mail goes"})
    assert heard(default_variables(app, given=(), environ=environ)) == [
        (
            "app.json describes MAIL, which has no value here; set it in .env or with -e, "
            'or write `"required": false` in app.json.'
        )
    ]


def test_a_secret_is_made_once_for_each_app_and_kept_outside_its_folder(app, environ, tmp_path):
    describe(app, SECRET_KEY={"generator": "secret", "required": True})
    first = default_variables(app, given=(), environ=environ)
    assert len(first.values["SECRET_KEY"]) == 64
    place = place_of_secrets(app, environ)
    assert heard(first) == [f"made a secret for SECRET_KEY (app.json asks for it); it is kept in {place}"]
    again = default_variables(app, given=(), environ=environ)
    assert again.values == first.values
    assert heard(again) == []
    assert first.values["SECRET_KEY"] not in repr(first)
    assert [path.name for path in app.iterdir()] == ["app.json"]
    assert place.is_relative_to(tmp_path / "home")
    assert (place / "SECRET_KEY").stat().st_mode & 0o777 == 0o600
    assert place.stat().st_mode & 0o777 == place.parent.stat().st_mode & 0o777 == 0o700
    other = tmp_path / "other"
    other.mkdir()
    describe(other, SECRET_KEY={"generator": "secret"})
    assert default_variables(other, given=(), environ=environ).values != first.values


def test_an_empty_variable_has_its_default(app, environ):
    describe(app, MODE="safe", SECRET_KEY={"generator": "secret"})
    defaults = default_variables(app, given=(), environ=environ)
    told = {"MODE": "", "SECRET_KEY": "", "OTHER": ""}
    assert defaults.below(told) == {"MODE": "safe", "SECRET_KEY": defaults.values["SECRET_KEY"], "OTHER": ""}
    assert defaults.below({"MODE": "fast"})["MODE"] == "fast"


def test_a_secret_that_is_given_is_not_made(app, environ, tmp_path):
    describe(app, SECRET_KEY={"generator": "secret"})
    assert default_variables(app, given={"SECRET_KEY"}, environ=environ).values == {}
    assert not (tmp_path / "home").exists()


def test_all_that_make_a_secret_at_once_get_the_same(tmp_path):
    barrier, got = threading.Barrier(8), []

    def make(number: int) -> None:
        barrier.wait()
        got.append(keep_secret(tmp_path / "place", "KEY", make=lambda: str(number)))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({value for value, _ in got}) == 1
    assert sum(made for _, made in got) == 1
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["KEY"]
