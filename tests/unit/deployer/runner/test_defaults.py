"""Defaults of variables that an image's processes get."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deployer.runner.defaults import app_environment, behind_router, own_flask_app, runtime_folder, temporary_folder

NOTHING = "/nonexistent"


def test_defaults():
    env = app_environment({"PATH": "/bin"}, "blasto:APP", root=NOTHING)
    assert env == {
        "PATH": "/bin",
        "PORT": "8000",
        "PYTHONPATH": "/app",
        "FLASK_APP": "blasto:APP",
        "HOME": "/app",
        "USER": env["USER"],
        "WEB_CONCURRENCY": "2",
    }
    assert env["USER"]


def test_what_is_set_stays():
    given = {
        "PORT": "9000",
        "PYTHONPATH": "/app/src",
        "FLASK_APP": "other",
        "HOME": "/root",
        "USER": "ann",
        "WEB_CONCURRENCY": "7",
    }
    assert app_environment(given, "blasto:APP", root=NOTHING) == given


def test_without_an_app_object_there_is_no_flask_app():
    assert "FLASK_APP" not in app_environment({}, None, root=NOTHING)


def test_empty_means_unset():
    empty = dict.fromkeys(("PORT", "PYTHONPATH", "FLASK_APP", "HOME", "USER", "WEB_CONCURRENCY"), "")
    assert app_environment(empty, "blasto:APP", root=NOTHING) == app_environment({}, "blasto:APP", root=NOTHING)


@pytest.mark.parametrize(
    "line", ["FLASK_APP=other", "export FLASK_APP = 'other'", "FLASK_DEBUG=1\r\nFLASK_APP=other\r\n"]
)
def test_flasks_own_file_is_not_overridden(line, tmp_path):
    (tmp_path / ".flaskenv").write_text(line)
    assert "FLASK_APP" not in app_environment({}, "blasto:APP", app=str(tmp_path), root=NOTHING)


@pytest.mark.parametrize("line", ["# FLASK_APP=other", "FLASK_APP=", "FLASK_APPS=other"])
def test_flasks_own_file_without_it_counts_for_nothing(line, tmp_path):
    (tmp_path / ".flaskenv").write_text(line)
    assert app_environment({}, "blasto:APP", app=str(tmp_path), root=NOTHING)["FLASK_APP"] == "blasto:APP"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cd src && flask run", None),
        ("cd src/; flask run", None),
        ("cd src ; flask run", None),
        ("cd src/deep && flask run", None),
        ("cd ./src/../src && flask run", None),
        ("flask run", "blasto:APP"),
        ("cd other && flask run", "blasto:APP"),
        ("cd empty && flask run", "blasto:APP"),
        ("cd .. && flask run", "blasto:APP"),
        ("cd src || flask run", "blasto:APP"),
        ("cd", "blasto:APP"),
    ],
)
def test_flasks_own_file_in_the_folder_of_a_command_is_not_overridden(command, expected, tmp_path):
    for path, line in {"src/.flaskenv": "FLASK_APP=other", "empty/.flaskenv": "", ".flaskenv": "FLASK_DEBUG=0"}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(line)
    env = app_environment({}, "blasto:APP", app=str(tmp_path), root=NOTHING)
    assert own_flask_app(env, command, app_object="blasto:APP", app=str(tmp_path)).get("FLASK_APP") == expected
    given = {**env, "FLASK_APP": "given"}
    assert own_flask_app(given, command, app_object="blasto:APP", app=str(tmp_path)) == given


def test_a_log_that_gunicorns_file_sets_stays(tmp_path):
    assert behind_router({}, str(tmp_path)) == {
        "FORWARDED_ALLOW_IPS": "*",
        "GUNICORN_CMD_ARGS": "--access-logfile -",
    }
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "gunicorn.py").write_text("accesslog = None\n")
    assert behind_router({"FORWARDED_ALLOW_IPS": "::1"}, str(tmp_path)) == {}


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        ("accesslog = '-'\n", True),
        ("accesslog: str | None = None\n", True),
        ("import os\nif os.environ.get('DEBUG'):\n    pass\nelse:\n    accesslog = '-'\n", True),
        ("try:\n    pass\nfinally:\n    errorlog, accesslog = '-', '-'\n", True),
        ("# accesslog = '-'\n", False),
        ('"""accesslog = 1"""\nprint("accesslog")\n', False),
        ("accesslogs = '-'\ndef on_exit(server):\n    accesslog = '-'\n", False),
        ("accesslog: str\n", False),
        ("accesslog = (\n", False),
    ],
)
def test_only_an_assignment_sets_the_log(text, sets, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(text)
    assert ("GUNICORN_CMD_ARGS" in behind_router({}, str(tmp_path))) != sets


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("gunicorn -c deploy/settings.py app:app", True),
        ("exec gunicorn --config='deploy/settings.py' app:app", True),
        ("gunicorn -cdeploy/settings.py app:app", True),
        ("gunicorn -c file:deploy/settings.py app:app", True),
        ("gunicorn --config python:deploy.settings app:app", True),
        ("gunicorn -c other.py app:app", False),
        ("uvicorn -c deploy/settings.py", False),
    ],
)
def test_a_command_names_gunicorns_file(command, named, tmp_path):
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "settings.py").write_text("accesslog = None\n")
    assert ("GUNICORN_CMD_ARGS" in behind_router({}, str(tmp_path), commands=["true", command])) != named


def test_the_root_folder_is_not_a_home():
    assert app_environment({"HOME": "/"}, None, root=NOTHING)["HOME"] == "/app"


def test_a_runtime_folder_for_each(tmp_path):
    [one] = runtime_folder({}, [str(tmp_path)]).values()
    [two] = runtime_folder({}, [str(tmp_path)]).values()
    assert one != two
    assert stat.S_IMODE(Path(one).stat().st_mode) == 0o700


def test_without_a_place_for_it_there_is_none(tmp_path):
    assert runtime_folder({}, [str(tmp_path / "missing")]) == {}


def test_a_runtime_folder_that_is_set_stays(tmp_path):
    assert runtime_folder({"XDG_RUNTIME_DIR": "/run/user/1"}, [str(tmp_path)]) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_folder_where_the_usual_place_cannot_be_written(tmp_path):
    [made] = runtime_folder({}, [str(tmp_path / "missing"), str(tmp_path)]).values()
    assert Path(made).parent == tmp_path


def test_a_temporary_folder_where_the_usual_place_cannot_be_written(tmp_path):
    missing, there = str(tmp_path / "missing"), str(tmp_path)
    assert temporary_folder({}, [missing, there]) == {"TMPDIR": there}
    assert temporary_folder({}, [there, missing]) == {}
    assert temporary_folder({}, [missing, missing]) == {}
    assert temporary_folder({"TMPDIR": "/mine"}, [missing, there]) == {}
