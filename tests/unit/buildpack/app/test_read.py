"""Whole apps, from tests/apps: what is read, and the whole message where something is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import FrameType

import pytest

from buildpack.app.procfile import Process
from buildpack.app.python_version import HOST_DEFAULT, PythonRequest
from buildpack.app.read import App, examine_app, read_app
from buildpack.app.settings import Setting
from buildpack.app.textfile import parse_json
from buildpack.errors import BuildpackError, Problems

Read = Callable[..., App]
Fail = Callable[..., BuildpackError]

APPS = Path(__file__).parents[3] / "apps"
LOCK_HINT = "hint: run `deploy lock`, commit Pipfile.lock, and build again."
PROCFILE_HINT = (
    "hint: a line is `name: command`, for example `web: gunicorn blasto:APP`; the name holds letters, digits, `-` "
    "and `_`, and each name is there once."
)
ENTRIES = "Each entry needs a pinned version and its sha256 hashes, or a commit, or a local path."

VERSIONS = {
    '[project]\nversion = "2.1"\n': "2.1",
    '[project]\ndynamic = ["version"]\n': "",
    "[project]\nversion = 2\n": "",
    '[project]\nversion = "\\u001b[2J"\n': "",
    f'[project]\nversion = "{"1" * 200}"\n': "",
    "[tool.black]\n": "",
    "project = 1\n": "",
    "[": "",
}

MESSAGES = {
    "stale_lock": f"""\
Pipfile.lock does not match Pipfile

Pipfile asks for redis >=6; Pipfile.lock pins redis 5.0.1 (Pipfile:9).

{LOCK_HINT}""",
    "lock_stale_in_every_way": f"""\
Pipfile.lock does not match Pipfile

Pipfile asks for flask >=4; Pipfile.lock pins flask 3.0.3 (Pipfile:2).
Pipfile asks for gunicorn[gevent]; Pipfile.lock pins gunicorn 22.0.0 without that (Pipfile:3).
Pipfile asks for celery; Pipfile.lock does not have it (Pipfile:4).
Pipfile asks for local from ./vendor/local; Pipfile.lock pins local from ./elsewhere (Pipfile:6).
Pipfile asks for tool from https://example.org/tool.git at 0123456789012345678901234567890123456789; \
Pipfile.lock pins tool 1.0 (Pipfile:7).
Pipfile asks for redis ~=5.0; Pipfile.lock pins redis 4.6.0 (Pipfile:9).
Pipfile asks for pytest <8; Pipfile.lock pins pytest 8.0.0 (Pipfile:13).
Pipfile asks for Python 3.13; Pipfile.lock was made for 3.12 (Pipfile:16).

{LOCK_HINT}""",
    "pipfile_without_lock": """\
there is a Pipfile, but no Pipfile.lock

Pipfile lists what the app asks for; only Pipfile.lock lists exactly what to install.

hint: run `deploy lock`, commit Pipfile.lock (check that .gitignore does not name it), and build again.""",
    "requirements_without_pipfile": """\
there is requirements.txt, but no Pipfile.lock

Only Pipfile.lock lists exactly what to install: each version, with its hashes. requirements.txt does not.

hint: `pipenv install -r requirements.txt` makes a Pipfile of it; then run `deploy lock`, \
and commit Pipfile and Pipfile.lock.""",
    "locks_of_three_tools": """\
several locks say what to install

  - Pipfile.lock
  - uv.lock
  - poetry.lock

They belong to different tools, and deploy cannot know which one counts.

hint: keep Pipfile.lock and remove uv.lock and poetry.lock.""",
    "lock_with_merge_conflict": """\
Pipfile.lock is not valid JSON

Pipfile.lock:23:1: expecting property name enclosed in double quotes
    <<<<<<< HEAD
    ^

It is the mark of a merge conflict in Pipfile.lock.

hint: run `deploy lock` to make it again, and commit it.""",
    "lock_without_hash": f"""\
Pipfile.lock has an entry that cannot be used

  - Pipfile.lock:19: flask has no hashes

{ENTRIES}

{LOCK_HINT}""",
    "lock_with_bad_entries": f"""\
Pipfile.lock has 10 entries that cannot be used

  - Pipfile.lock:19: flask has no hashes
  - Pipfile.lock:22: gunicorn comes from the index `private`, which is not among the sources: `pypi`
  - Pipfile.lock:29: werkzeug has no pinned version: `>=3`
  - Pipfile.lock:35: celery has no pinned version
  - Pipfile.lock:38: numpy has markers that cannot be read: python_version >> 3
  - Pipfile.lock:45: tool comes from git, and `main` is not the full hash of a commit
  - Pipfile.lock:49: old has no sha256 hash, only others
  - Pipfile.lock:55: wheel is a file from the network, without a hash: write `#sha256=...` behind its address in Pipfile
  - Pipfile.lock:58: merc comes from hg; only git is supported
  - Pipfile.lock: default: list is not an object

{ENTRIES}

{LOCK_HINT}""",
    "procfile_without_colon": f"""\
Procfile has a line that cannot be read

Procfile:3:4: a colon is missing after `web`
    web gunicorn blasto:APP
       ^

{PROCFILE_HINT}""",
    "procfile_misspelt": """\
procfile should be called Procfile

deploy reads only a file with exactly that name, and there is none.

hint: run `mv procfile Procfile`.""",
    "no_procfile_nor_app": """\
nothing says what to run

There is no Procfile, and no app object was found: `APP`, `app` or `application`, made by a call or imported, \
or a factory `create_app` or `make_app`, in a package's __init__.py or in app.py, wsgi.py or main.py.
Files searched: main.py.
Files that are not valid Python:
  - main.py:3: invalid syntax

hint: add a Procfile with a line such as `web: gunicorn blasto:APP`.""",
    "two_app_objects": """\
there are 2 app objects and no Procfile to choose one

  - blasto:APP (blasto/__init__.py:3)
  - other:app (other/__init__.py:3)

hint: choose with a Procfile, for example `web: gunicorn blasto:APP`.""",
    "gunicorn_not_locked": """\
gunicorn is not in Pipfile.lock

There is no Procfile, so blasto:APP would be served by gunicorn, which Pipfile.lock does not have.

hint: run `deploy add gunicorn` and commit Pipfile and Pipfile.lock, \
or add a Procfile that starts another server.""",
    "procfile_runs_what_is_not_locked": """\
celery is not in Pipfile.lock

Procfile:2: `worker` runs celery, which Pipfile.lock does not have.

hint: run `deploy add celery`, and commit Pipfile and Pipfile.lock.""",
    "python_version_twice": """\
.python-version holds 2 Python versions

  - .python-version:2: 3.12
  - .python-version:3: 3.13

An image has one Python.

hint: keep one; comments are lines that begin with `#`.""",
    "python_end_of_life": """\
Python 3.8 is no longer supported

.python-version:1 asks for it. It reached its end of life on 2024-10-07 and gets no security fixes; \
images need Python 3.10 or later.

hint: move to Python 3.13: write `3.13` into .python-version.""",
    "python_unknown": """\
deploy does not know Python 3.42

.python-version:1 asks for it. The newest version that deploy knows is 3.15.

hint: if 3.42 has been released, update deploy; else write `3.13` into .python-version.""",
    "unknown_setting": """\
deploy.toml has an unknown key `stak`

deploy.toml:2: the keys are `name`, `platform`, `stack`, `[build.env]`.

hint: did you mean `stack`?""",
}


@pytest.mark.parametrize("app", MESSAGES)
def test_a_fault_is_reported_in_full(fail: Fail, app: str) -> None:
    error = fail(app)
    assert str(error) == MESSAGES[app]
    assert error.exit_code == 10


def test_all_faults_are_reported_at_once(fail: Fail) -> None:
    error = fail("everything_wrong")
    assert isinstance(error, Problems)
    assert [problem.what for problem in error.problems] == [
        "deploy.toml has an unknown key `naem`",
        "Pipfile.lock and poetry.lock say what to install",
        "Pipfile.lock has an entry that cannot be used",
        "the Python version in .python-version:1 cannot be read",
        "Procfile has a line that cannot be read",
    ]
    assert error.exit_code == 10


def test_every_app_is_used_in_a_test() -> None:
    wanted_message = "".join(path.read_text() for path in APPS.parent.glob("*/**/test_*.py"))
    assert [app.name for app in APPS.iterdir() if app.name not in wanted_message] == []


def test_a_conventional_app(read: Read) -> None:
    app = read("conventional")
    assert app.processes == (Process(name="web", command="gunicorn blasto:APP", line=1),)
    assert app.default == "web"
    assert app.settings.name == Setting(value="conventional", origin="the folder's name")
    assert app.app_object is not None
    assert app.app_object.target == "blasto:APP"
    assert app.python == PythonRequest(version="3.12", origin="Pipfile.lock (python_version)")
    assert [package.name for package in app.lock.packages] == ["flask", "gunicorn", "werkzeug"]
    assert [file.path for file in app.source.files] == ["Pipfile", "Pipfile.lock", "Procfile", "blasto/__init__.py"]
    assert (app.formation, app.warnings) == ({}, ())


def test_an_app_without_a_procfile_is_served_by_gunicorn(read: Read) -> None:
    app = read("no_procfile")
    command = "gunicorn blasto:APP --worker-tmp-dir /dev/shm --graceful-timeout 20 --access-logfile -"
    assert (app.processes, app.default) == ((Process(name="web", command=command),), "web")


@pytest.mark.parametrize(
    ("path", "content", "command"),
    [
        (
            "blasto.py",
            "",
            None,
        ),
        (
            "app.py",
            "def create_app(): pass",
            "gunicorn 'app:create_app()' --worker-tmp-dir /dev/shm --graceful-timeout 20 --access-logfile -",
        ),
        (
            "src/blasto/__init__.py",
            "APP = f()",
            "gunicorn blasto:APP --pythonpath src --worker-tmp-dir /dev/shm --graceful-timeout 20 --access-logfile -",
        ),
    ],
)
def test_the_command_follows_the_object(
    read: Read, tmp_path: Path, path: str, content: str, command: str | None
) -> None:
    app = copy("no_procfile", tmp_path)
    shutil.rmtree(app / "blasto")
    (app / path).parent.mkdir(parents=True, exist_ok=True)
    (app / path).write_text(content)
    if command is None:
        with pytest.raises(BuildpackError, match="nothing says what to run"):
            read(app)
    else:
        assert read(app).processes == (Process(name="web", command=command),)


def test_an_asgi_app_asks_for_uvicorn(fail: Fail, tmp_path: Path) -> None:
    app = copy("no_procfile", tmp_path)
    (app / "blasto/__init__.py").write_text("from fastapi import FastAPI\nAPP = FastAPI()\n")
    assert str(fail(app)).startswith(
        "uvicorn is not in Pipfile.lock\n\nThere is no Procfile, so blasto:APP would be served"
    )
    lock = app / "Pipfile.lock"
    lock.write_text(lock.read_text().replace('"werkzeug"', '"uvicorn"'))
    found = read_app(app, environ=os.environ, today=date(2025, 11, 20))
    assert found.processes == (Process(name="web", command="uvicorn blasto:APP --host 0.0.0.0 --port $PORT"),)


@pytest.mark.parametrize(
    ("app", "warnings"),
    [
        (
            "lock_of_another_pipenv",
            ("Pipfile changed since Pipfile.lock was made, but all it asks for is there; `deploy lock` refreshes it.",),
        ),
        (
            "procfile_read_otherwise_elsewhere",
            (
                "Procfile:1: the line is indented; honcho and dokku skip such a line.",
                "Procfile:2: Cloud Native Buildpacks rename `Work_er` to `work-er`.",
                (
                    "Procfile:3: there is a space before the colon; honcho and dokku skip such a line, "
                    "and Cloud Native Buildpacks refuse it."
                ),
            ),
        ),
        (
            "runtime_txt",
            (
                (
                    "runtime.txt asks for Python 3.11.9 and .python-version:1 for 3.12: runtime.txt counts; remove "
                    "runtime.txt, and write the version that you mean into .python-version."
                ),
                (
                    "runtime.txt asks for Python 3.11.9, and Pipfile.lock was made for 3.12: what a lock holds depends "
                    'on the version; write `python_version = "3.11"` into Pipfile\'s [requires] and run `deploy lock`.'
                ),
            ),
        ),
        ("app_json", ("app.json: the formation names `worker`, which the Procfile does not have.",)),
    ],
)
def test_what_is_worth_a_warning(read: Read, app: str, warnings: tuple[str, ...]) -> None:
    assert read(app).warnings == warnings


@pytest.mark.parametrize(
    ("content", "what", "why", "place"),
    [
        (
            b'{\n  "name": "shop",\n}\n',
            "app.json is not valid JSON",
            "app.json:3:1: expecting property name enclosed in double quotes",
            "",
        ),
        (b"[]", "app.json does not hold an object", "app.json:1: it does not begin with `{`", ""),
        (
            "{}".encode("utf-16"),
            "app.json is not UTF-8",
            "Line 1 holds the byte 0xff. It looks like UTF-16, which PowerShell writes for `>`",
            "app.json:1: ",
        ),
    ],
)
def test_an_app_json_that_is_not_json(
    read: Read, tmp_path: Path, content: bytes, what: str, why: str, place: str
) -> None:
    app = copy("conventional", tmp_path)
    (app / "app.json").write_bytes(content)
    assert read(app).warnings == (
        f"{place}{what}, so its formation and variables do not count ({why}); fix it, or remove it.",
    )
    assert (read(app).formation, read(app).build_env) == ({}, {})


@pytest.mark.parametrize(
    ("name", "meant"),
    [("Procfle", "Procfile"), (".pyhton-version", ".python-version")],
)
def test_a_file_whose_name_is_one_slip_away(read: Read, tmp_path: Path, name: str, meant: str) -> None:
    app = copy("no_procfile", tmp_path)
    (app / ".python-version").write_text("3.12\n")
    (app / meant).rename(app / name) if (app / meant).exists() else (app / name).write_text("web: gunicorn blasto:APP")
    report = examine_app(app, environ=os.environ, today=date(2025, 11, 20), own_python="3.11")
    assert (
        f"{name}: deploy does not read {name}, and there is no {meant}; if it is meant to be one, run `mv {name} "
        f"{meant}`."
    ) in map(str, report.notices)


@pytest.mark.parametrize(
    ("app", "name", "meant"),
    [
        ("conventional", "Pipfile.lokc", "Pipfile.lock"),
        ("no_procfile_nor_app", "Prcofile", "Procfile"),
        ("two_app_objects", "Procfle", "Procfile"),
    ],
)
def test_a_file_that_is_missing_because_of_a_slip_is_the_error(tmp_path: Path, app: str, name: str, meant: str) -> None:
    folder = copy(app, tmp_path)
    (folder / meant).rename(folder / name) if (folder / meant).exists() else (folder / name).write_text("web: true")
    report = examine_app(folder, environ=os.environ, today=date(2025, 11, 20), own_python="3.11")
    assert [(problem.what, problem.hint) for problem in report.problems] == [
        (f"{name} should be called {meant}", f"run `mv {name} {meant}`.")
    ]
    assert not any(name in str(notice) for notice in report.notices)


def test_names_that_are_not_slips(read: Read, tmp_path: Path) -> None:
    app = copy("conventional", tmp_path)
    for name in ("requirement.txt", "Procfile2", "Pipfile.lock.orig", "Pipfile.lock~"):
        (app / name).write_text("")
    assert read(app).warnings == ()


def test_requirements_one_slip_away(tmp_path: Path) -> None:
    (tmp_path / "requirments.txt").write_text("flask\n")
    report = examine_app(tmp_path, environ=os.environ, today=date(2025, 11, 20), own_python="3.11")
    assert [str(notice) for notice in report.notices] == [
        (
            "requirments.txt: deploy does not read requirments.txt, and there is no requirements.txt; if it is "
            "meant to be "
            "one, run `mv requirments.txt requirements.txt`."
        )
    ]


def without_python(tmp_path: Path) -> Path:
    app = copy("conventional", tmp_path)
    for name in ("Pipfile", "Pipfile.lock"):
        text = (app / name).read_text()
        (app / name).write_text(re.sub(r'\[requires\]\s*python_version = "[^"]*"|"python_version": "[^"]*"', "", text))
    return app


def test_no_python_version_anywhere(read: Read, tmp_path: Path) -> None:
    app = without_python(tmp_path)
    wanted_message = "no file names a Python version, so the image gets {}; write `{}` into .python-version to keep it."
    newest = "3.13, the newest on this machine that the app allows; another machine may choose another"
    assert [text for text in read(app).warnings if "Python" in text] == [wanted_message.format("3.13", "3.13")]
    [text] = (text for text in read(app, stack="host").warnings if "Python" in text)
    assert text == wanted_message.format("3.11", "3.11")
    versions = ("3.99", "3.13", "3.12", "3.11")
    [text] = (text for text in read(app, stack="host", installed=lambda: versions).warnings if "Python" in text)
    assert text == wanted_message.format(newest, "3.13")
    (app / "deploy.toml").write_text('stack = "host"\n')
    assert [text for text in read(app).warnings if "Python" in text] == []
    lock = json.loads((app / "Pipfile.lock").read_text())
    lock["default"]["flask"]["markers"] = "python_version >= '3.12'"
    (app / "Pipfile.lock").write_text(json.dumps(lock))
    assert [text for text in read(app).warnings if "Python" in text] == [wanted_message.format("3.12", "3.12")]


def test_the_newest_python_of_this_machine_that_lock_and_pyproject_allow(read: Read, tmp_path: Path) -> None:
    app = without_python(tmp_path)

    def chosen() -> tuple[str, str]:
        python = read(app, stack="host", installed=lambda: ("3.13", "3.12", "3.11", "3.10")).python
        assert python is not None
        return python.version, python.origin

    assert chosen() == ("3.13", HOST_DEFAULT)
    (app / "pyproject.toml").write_text('[project]\nname = "x"\nrequires-python = ">=3.10,<3.13"\n')
    assert chosen() == ("3.12", HOST_DEFAULT)
    assert [text for text in read(app).warnings if "gets 3.12;" in text] != []
    (app / "pyproject.toml").write_text('[project]\nname = "x"\nrequires-python = "== 3.11.4"\n')
    assert chosen() == ("3.11", HOST_DEFAULT)
    (app / "pyproject.toml").write_text("[project\n")
    assert chosen() == ("3.13", HOST_DEFAULT)
    lock = json.loads((app / "Pipfile.lock").read_text())
    lock["default"]["flask"]["markers"] = "python_version >= '3.8' and python_version < '3.12'"
    (app / "Pipfile.lock").write_text(json.dumps(lock))
    assert chosen() == ("3.11", HOST_DEFAULT)
    (app / ".python-version").write_text("3.10\n")
    assert chosen() == ("3.10", ".python-version:1")


@pytest.mark.parametrize("requires", [">=3.12,<3.13", ">=3.12.4", "==3.12.*", "~=3.12.1", "!=3.12.0", "nonsense"])
def test_requires_python_that_allows_the_version(read: Read, tmp_path: Path, requires: str) -> None:
    app = copy("conventional", tmp_path)
    (app / ".python-version").write_text("3.12\n")
    (app / "pyproject.toml").write_text(f'[project]\nname = "x"\nrequires-python = "{requires}"\n')
    assert [text for text in read(app).warnings if "requires-python" in text] == []


def test_requires_python_that_does_not_allow_the_version(read: Read, tmp_path: Path) -> None:
    app = copy("conventional", tmp_path)
    (app / ".python-version").write_text("3.12\n")
    (app / "pyproject.toml").write_text('[project]\nname = "x"\nrequires-python = ">=3.13"\n')
    assert [text for text in read(app).warnings if "requires-python" in text] == [
        (
            "pyproject.toml: requires-python is `>=3.13`, and .python-version:1 asks for Python 3.12, which counts: a "
            "deployed app has one Python version, and pyproject.toml does not allow this one; change one of them so "
            "that they agree."
        )
    ]


def test_a_difference_in_dev_packages_alone(read: Read, fail: Fail, tmp_path: Path) -> None:
    app = copy("conventional", tmp_path)
    (app / "Pipfile").write_text((app / "Pipfile").read_text() + '\n[dev-packages]\npytest = ">=99"\n')
    [text] = read(app).warnings
    assert text.startswith("Pipfile.lock does not match the dev-packages of Pipfile: Pipfile asks for pytest >=99; ")
    assert text.endswith("; run `deploy lock`, and commit Pipfile.lock.")
    assert fail(app, categories=["develop"]).what == "Pipfile.lock does not match Pipfile"


def test_a_private_index_is_read_without_its_variables(read: Read) -> None:
    app = read("private_index")
    assert [(source.name, source.url) for source in app.lock.sources] == [
        ("pypi", "https://pypi.org/simple"),
        ("private", "https://${INDEX_USER}:${INDEX_PASSWORD}@index.example.org/simple"),
    ]
    assert app.lock.packages[0].index == "private"


def test_files_with_a_credential_are_left_out(read: Read, tmp_path: Path) -> None:
    app = Path(shutil.copytree(APPS / "private_index", tmp_path / "app"))
    assert "Pipfile.lock" in {file.path for file in read(app).source.files}
    lock = (app / "Pipfile.lock").read_text()
    (app / "Pipfile.lock").write_text(lock.replace("${INDEX_USER}:${INDEX_PASSWORD}", "robot:hunter2"))
    (app / "requirements.txt").write_text("--extra-index-url https://robot:hunter2@example.org/simple\n")
    found = read(app)
    assert {file.path for file in found.source.files}.isdisjoint({"Pipfile.lock", "requirements.txt"})
    assert found.warnings[-2:] == (
        "Pipfile.lock holds a credential, so it is left out of the image.",
        "requirements.txt holds a credential, so it is left out of the image.",
    )


def test_a_formation_is_read(read: Read) -> None:
    parsed: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is parse_json.__code__:
            parsed.append(frame.f_locals["name"])

    sys.setprofile(note)
    try:
        app = read("app_json")
    finally:
        sys.setprofile(None)
    assert app.formation == {"web": 2, "worker": 0}
    assert parsed.count("app.json") == 1


def test_every_line_that_is_wrong_is_shown(fail: Fail) -> None:
    said = str(fail("procfile_with_every_mistake"))
    assert said.startswith("Procfile has 9 lines that cannot be read\n\nProcfile:1:4: a colon is missing after `web`\n")
    assert said.count("^") == 9


class TestPython:
    """Defaults if the app says nothing."""

    @pytest.fixture
    def silent(self, tmp_path: Path) -> Path:
        app = copy("conventional", tmp_path)
        for name, key in (("Pipfile", "python_version ="), ("Pipfile.lock", '"python_version":')):
            (app / name).write_text((app / name).read_text().replace(key, key.replace("python_version", "comment")))
        return app

    def test_the_default(self, read: Read, silent: Path) -> None:
        assert read(silent).python == PythonRequest(version="3.13", origin="the default")

    def test_on_host_this_machines(self, read: Read, silent: Path) -> None:
        assert read(silent, stack="host").python == PythonRequest(version="3.11", origin=HOST_DEFAULT)

    def test_on_another_stack_the_stacks(self, read: Read, silent: Path) -> None:
        assert read(silent, stack="python:3.12-slim").python is None


class TestFolders:
    def test_none(self, fail: Fail, tmp_path: Path) -> None:
        error = fail(tmp_path / "no\nwhere")
        assert str(error) == (
            f"there is no folder {tmp_path}/no\\nwhere\n\n"
            "deploy builds the app in the folder that you name, else in the current one.\n\nhint: check the path."
        )
        assert error.exit_code == 2

    def test_a_file(self, fail: Fail, tmp_path: Path) -> None:
        (tmp_path / "Procfile").write_text("")
        error = fail(tmp_path / "Procfile")
        assert str(error) == (
            f"{tmp_path}/Procfile is not a folder\n\n"
            "deploy needs the folder that holds the app's Pipfile.lock.\n\n"
            "hint: name the folder instead of a file in it."
        )
        assert error.exit_code == 2

    def test_an_empty_one(self, fail: Fail, tmp_path: Path) -> None:
        assert str(fail(tmp_path)) == (
            f"there is nothing to build in {tmp_path}\n\n"
            "The folder is empty, or .dockerignore, .slugignore or git leaves out all its files.\n\n"
            "hint: name the folder that holds the app's Pipfile.lock."
        )

    def test_one_of_which_everything_is_left_out(self, fail: Fail, tmp_path: Path) -> None:
        app = copy("conventional", tmp_path)
        (app / ".dockerignore").write_text("**\n")
        assert str(fail(app)).startswith(f"there is nothing to build in {app}\n")

    def test_one_without_an_app(self, fail: Fail, tmp_path: Path) -> None:
        (tmp_path / "notes").write_text("")
        assert str(fail(tmp_path)).startswith(
            "there is no Pipfile.lock\n\n"
            "An app is a folder with a Pipfile.lock, which lists exactly what to install.\n\n"
            "hint: check that this is the app's folder, or run `deploy init` to begin."
        )

    def test_a_name_with_a_nul(self, fail: Fail) -> None:
        assert str(fail("a\0b")).startswith(f"there is no folder {APPS}/a\\x00b\n\n")

    def test_a_link_to_an_app(self, read: Read, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(APPS / "conventional")
        assert [file.path for file in read(tmp_path / "link").source.files][-1] == "blasto/__init__.py"

    def test_the_current_one(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(copy("conventional", tmp_path))
        here = read_app(Path(), environ=os.environ, today=date(2025, 11, 20))
        assert here.settings.name.value == "conventional"


def test_a_lock_without_a_pipfile_is_enough(read: Read, tmp_path: Path) -> None:
    app = copy("conventional", tmp_path)
    (app / "Pipfile").unlink()
    assert read(app).warnings == ("there is no Pipfile, so deploy cannot tell if Pipfile.lock is current.",)


def test_files_of_other_tools_beside_the_lock_are_allowed(read: Read, tmp_path: Path) -> None:
    app = copy("conventional", tmp_path)
    (app / "requirements.txt").write_text("flask\n")
    (app / "pyproject.toml").write_text("[tool.ruff]\n")
    assert read(app).warnings == ()


def test_a_reading_depends_on_neither_folder_nor_surroundings(read: Read, tmp_path: Path) -> None:
    def strip(app: App) -> App:
        return dataclasses.replace(app, folder=Path(), source=dataclasses.replace(app.source, folder=Path()))

    here = copy("conventional", tmp_path)
    for path in here.rglob("*"):
        os.utime(path, (1, 1))
    os.umask(0)
    assert strip(read(here)) == strip(read("conventional"))


def test_a_reading_imports_nothing_heavy() -> None:
    program = (
        "import os, sys; from datetime import date; from pathlib import Path; from buildpack.app.read import read_app\n"
        "read_app(Path(sys.argv[1]), environ=dict(os.environ), today=date(2025, 11, 20))\n"
        "heavy = {'packaging', 'requests', 'subprocess', 'shutil', 'tempfile', 'ssl', 'zipfile', 'difflib'}\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & heavy))"
    )
    root = Path(__file__).parents[4]
    said = subprocess.run(
        [sys.executable, "-c", program, str(APPS / "conventional")],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "[]\n"


def copy(app: str, folder: Path) -> Path:
    """Copy an app of tests/apps out of this repository, keeping its name."""
    return Path(shutil.copytree(APPS / app, folder / app))


def test_a_django_site_whose_build_has_variables(read: Read) -> None:
    app = read("django_site")
    assert app.app_object is not None
    assert app.app_object.target == "pages.wsgi:application"
    assert app.build_env == {"GREETING": "from deploy.toml", "MOTTO": "from app.json"}
    assert app.warnings == ()


def test_what_is_wrong_with_the_files_hides_nothing_else(tmp_path: Path) -> None:
    app = Path(shutil.copytree(APPS / "conventional", tmp_path / "blasto"))
    (app / "outside").symlink_to("../elsewhere")
    (app / "server.key").write_text("-----BEGIN PRIVATE" + " KEY-----\nMIIE\n")
    (app / "Procfile").write_text("web: gunicorn blasto:nothing\n")
    found = examine_app(app, environ=dict(os.environ), today=date(2025, 11, 20))
    assert [problem.what for problem in found.problems] == [
        "a symbolic link leads out of the app's folder",
        "blasto/__init__.py does not bind `nothing`",
    ]
    assert [notice.place for notice in found.notices] == ["server.key"]


@pytest.mark.parametrize(("toml", "version"), VERSIONS.items())
def test_the_version_is_what_pyproject_states(toml: str, version: str, tmp_path: Path) -> None:
    app = tmp_path / "app"
    shutil.copytree(APPS / "conventional", app)
    (app / "pyproject.toml").write_text(toml)
    assert read_app(app, environ={}, today=date(2026, 1, 1)).version == version
    (app / ".dockerignore").write_text("pyproject.toml\n")
    assert read_app(app, environ={}, today=date(2026, 1, 1)).version == ""
