"""`deploy check`, and the same check in every command that needs an app."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from buildpack.options import Options, OwnPython
from buildpack.stacks.find_python import usable_versions
from buildpack.steps.check import check_app
from tests.support.command import EXAMPLES, ROOT, deploy
from tests.support.index import serving
from tests.support.tiny import APP, add_wheels, environ, write_app

APPS = ROOT / "tests" / "apps"
FAULTS = {"Procfile": "web: gunicorn blasto:APPLICATION\n", ".python-version": "three\n"}
MESSAGE = """\
error: the Python version in .python-version:1 cannot be read

It says `three`. A version is `3.13`, or with a patch level `3.13.7`.

hint: write `3.13` there; deploy then takes the newest patch level.

error: blasto/__init__.py does not bind `APPLICATION`

Procfile:1: `web` has gunicorn serve `blasto:APPLICATION`. blasto/__init__.py binds `create_app`, `APP`.

hint: bind `APPLICATION` in blasto/__init__.py, for example `APPLICATION = create_app()`, or write \
`'blasto:create_app()'` in the Procfile.
"""
WARNING = (
    "Procfile:1: `web` does not listen on $PORT (-b 0.0.0.0:80); leave it out, and gunicorn listens on $PORT by itself."
)


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that nobody built into yet."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def faulty(blasto: Path) -> Path:
    for name, text in FAULTS.items():
        (blasto / name).write_text(text)
    return blasto


@pytest.fixture
def doubtful(blasto: Path) -> Path:
    """An app that builds, and is warned of."""
    (blasto / "Procfile").write_text("web: gunicorn -b 0.0.0.0:80 blasto:APP\n")
    return blasto


def test_nothing_is_wrong_with_the_examples(home):
    for name in ("blasto", "bookshelf"):
        done = deploy("check", f"examples/{name}", "--strict", home=home)
        assert (done.code, done.out, done.err) == (
            0,
            "",
            f"examples/{name} can be built: 0 errors, 0 warnings\n\nNext: deploy build examples/{name}\n",
        )


def test_what_is_next_repeats_the_options_that_make_it_work(home, tmp_path):
    (tmp_path / "build.env").write_text("MODE=fast\n")
    options = ("--stack", "host", "--category", "develop", "--env-file", f"{tmp_path}/build.env")
    done = deploy("check", "examples/blasto", *options, home=home)
    assert done.code == 0, done.err
    assert done.err.endswith(f"Next: deploy build examples/blasto {' '.join(options)}\n")


def test_files_of_heroku_that_do_not_count_are_named(blasto, home):
    (blasto / "Aptfile").write_text("libpq5\n")
    done = deploy("check", blasto, home=home)
    assert done.code == 0
    assert "warning: Aptfile: deploy does not read this file" in done.err
    assert "RUN apt-get" in done.err


def test_all_errors_come_first_then_warnings_then_the_verdict(faulty, home):
    (faulty / "server.key").write_text("-----BEGIN PRIVATE" + " KEY-----\n")
    done = deploy("check", cwd=faulty, home=home)
    assert (done.code, done.out) == (10, "")
    assert done.err == (
        f"{MESSAGE}\n"
        "warning: server.key: a file that holds a private key enters the image; add `server.key` to "
        ".dockerignore, and "
        "mount it where the app runs.\n\n"
        "this folder cannot be built: 2 errors, 1 warning\n\n"
        "Next: fix the errors, then deploy check\n"
    )


@pytest.mark.parametrize("command", ["build", "local", "run --engine local", "ci --no-boot"])
def test_every_command_that_needs_an_app_checks_the_same(faulty, home, command):
    name, *options = command.split()
    done = deploy(name, faulty, *options, home=home)
    assert done.code == 10
    for problem in MESSAGE.split("error: ")[1:]:
        assert problem.strip() in done.err
    assert not (home / "blobs").exists(), "nothing was fetched or built"


def test_warnings_fail_nothing_unless_strict(doubtful, home):
    done = deploy("check", doubtful, home=home)
    assert done.code == 0
    assert done.err == (
        f"warning: {WARNING}\n\n{doubtful} can be built: 0 errors, 1 warning\n\nNext: deploy build {doubtful}\n"
    )
    done = deploy("check", doubtful, "--strict", home=home)
    assert done.code == 10
    assert done.err.endswith(
        f"{doubtful} can be built, but not with --strict: 0 errors, 1 warning\n\n"
        f"Next: fix what the warnings name, then deploy check {doubtful} --strict\n"
    )
    done = deploy("build", doubtful, "--strict", home=home)
    assert (done.code, done.out) == (10, "")
    assert done.err == (
        "error: there is a warning, and --strict makes it an error\n\n"
        f"  - {WARNING}\n\nhint: fix what they name, or leave --strict out.\n"
    )
    assert list((home / "blobs").rglob("sha256/*")) == []


def test_a_variable_of_the_command_line_decides_what_is_warned_of(tmp_path, home):
    app = shutil.copytree(APPS / "django_site", tmp_path / "site")
    (app / "pages" / "settings.py").write_text("INSTALLED_APPS = ['django.contrib.staticfiles']\n")
    assert "have no STATIC_ROOT" in deploy("check", app, home=home).err
    skipped = ("--build-env", "DISABLE_COLLECTSTATIC=1")
    assert "0 warnings" in deploy("check", app, *skipped, home=home).err
    # The stack is looked for only if nothing was wrong with the app.
    builds = ("build", app, "--strict", "--stack", "oci:/nowhere")
    assert deploy(*builds, home=home).code == 10
    assert deploy(*builds, *skipped, home=home).code == 30


def test_a_build_that_is_warned_of_says_so_and_ends_well(doubtful, home):
    done = deploy("build", doubtful, "-q", home=home)
    assert done.code == 0
    assert done.err == f"warning: {WARNING}\n"


def test_the_json(faulty, home):
    (faulty / "AUX.txt").write_text("")
    done = deploy("check", "blasto", "--json", cwd=faulty.parent, home=home)
    assert (done.code, done.err) == (10, "")
    report = json.loads(done.out)
    assert list(report) == ["schema", "app", "errors", "warnings", "python", "processes"]
    assert (report["schema"], report["app"], report["python"]) == (1, "blasto", None)
    assert report["processes"] == {"web": "gunicorn blasto:APPLICATION"}
    places = [(found["path"], found["line"], found["exit_code"]) for found in report["errors"]]
    assert places == [(".python-version", 1, 10), ("Procfile", 1, 10)]
    assert report["warnings"] == [
        {
            "what": "Windows cannot check out AUX.txt",
            "why": "",
            "hint": "rename them.",
            "path": "AUX.txt",
            "line": None,
        }
    ]


def test_the_json_of_a_sound_app(home):
    report = deploy("check", "examples/blasto", "--json", home=home).report
    assert report == {
        "schema": 1,
        "app": "examples/blasto",
        "errors": [],
        "warnings": [],
        "python": next(usable_versions(environ=os.environ, own=sys.executable)),
        "processes": {"web": "gunicorn blasto:APP"},
    }


@pytest.mark.parametrize("app", sorted(path.name for path in APPS.iterdir()))
def test_an_app_of_the_tests_is_never_a_bug(app):
    own = OwnPython(version="3.11", executable=sys.executable)
    report = check_app(APPS / app, Options(), environ=os.environ, today=date(2025, 11, 20), own_python=own)
    assert report.exit_code in (0, 10)
    assert (report.app is None) is bool(report.errors)


@pytest.mark.parametrize("command", [["check"], ["ci", "--engine", "local", "--strict", "--json"]])
def test_a_folder_whose_name_no_terminal_should_see_raw(command, blasto, home):
    app = blasto.rename(blasto.parent / "d\u202ex\x1b[31m")
    (app / "Procfile").write_text("web\n")
    stack = ("--stack", "a\u202ex\x1b[31m") if command == ["check"] else ()
    done = deploy(*command, app, *stack, home=home)
    assert done.code == (2 if stack else 10)
    assert r"/d\u202ex\x1b[31m" in done.err
    assert "\x1b" not in done.err
    assert "\u202e" not in done.err


def test_names_that_no_terminal_should_see_raw(blasto, home):
    (blasto / "a\x1b[31m.key").write_text("-----BEGIN PRIVATE" + " KEY-----\n")
    done = deploy("check", blasto, home=home)
    assert done.code == 0
    assert "warning: a\\x1b[31m.key: a file that holds a private key" in done.err
    assert "\x1b" not in done.err
    (Path(os.fsdecode(os.fsencode(blasto) + b"/caf\xe9"))).write_text("")
    done = deploy("check", blasto, "--json", home=home)
    assert done.code == 10
    [error] = json.loads(done.out)["errors"]
    assert (error["what"], error["path"]) == ("the file name caf\\xe9 is not UTF-8", "caf\ufffd")
    odd = blasto.rename(os.fsdecode(os.fsencode(blasto.parent) + b"/caf\xe9"))
    assert json.loads(deploy("check", odd, "--json", home=home).out)["app"] == f"{blasto.parent}/caf\ufffd"


def test_what_the_wheels_bring_decides_what_no_name_tells(tmp_path, home):
    with serving() as index:
        app = write_app(tmp_path / "tiny", add_wheels(index, tmp_path / "wheels", "alpha", "bravo"))
        (app / "tiny" / "__init__.py").write_text(f"import alpha\nimport tempered\n{APP}")
        (app / "Procfile").write_text("web: python -m tiny\nworker: run-alpha\nclock: run-charlie\n")
        assert "0 errors, 0 warnings" in deploy("check", app, home=home).err, "nobody looked into the wheels yet"
        told = (
            "warning: Procfile:3: `clock` runs run-charlie, which neither Pipfile.lock nor the stack provides; "
            "use another program, or make a base image that has run-charlie and name it with `stack`.\n"
            "warning: tiny/__init__.py:2 imports tempered, which Pipfile.lock does not have; add the package that has "
            f"it to Pipfile, run `deploy lock {app}`, and commit Pipfile and Pipfile.lock.\n"
        )
        done = deploy("build", app, "-q", home=home, env=environ(index))
        assert (done.code, done.err) == (0, told)
        assert deploy("check", app, home=home).err.startswith(told)
        assert deploy("build", app, "--strict", "--no-cache", home=home, env=environ(index)).code == 10
        (app / "Procfile").write_text("web: python -m clara\n")
        done = deploy("build", app, "-q", home=home, env=environ(index))
        assert (done.code, done.err) == (
            10,
            (
                "error: there is no module `clara`\n\n"
                "Procfile:1: `web` has python run `clara`. Neither the app nor a package of Pipfile.lock has it.\n\n"
                "hint: name a module that exists, or add it.\n"
            ),
        )


def test_a_module_that_neither_the_app_nor_a_package_has(blasto, home):
    (blasto / "Procfile").write_text("web: gunicorn nowhere:APP\n")
    for command in ("check", "build", "local"):
        done = deploy(command, blasto, home=home)
        assert done.code == 10
        assert done.err.startswith("error: there is no module `nowhere`\n\nProcfile:1: `web` has gunicorn serve")
    (blasto / "bin").mkdir()
    (blasto / "bin" / "post_compile").write_text("#!/bin/sh\n")
    assert deploy("check", blasto, home=home).code == 0


# Checks that depend on the stack


def test_a_python_that_this_machine_lacks(blasto, home):
    (blasto / ".python-version").write_text("3.15\n")
    done = deploy("check", blasto, home=home)
    assert done.code == 30
    assert "error: there is no Python 3.15 on this machine for the host stack\n\nPATH, pyenv's versions" in done.err


def test_a_stack_with_another_python(blasto, home):
    (blasto / ".python-version").write_text("3.11\n")
    done = deploy("check", blasto, "--stack", "python:3.12-slim", home=home)
    assert done.code == 10
    assert done.err.startswith(
        "error: the app asks for Python 3.11, and the stack python:3.12-slim has 3.12\n\n"
        "Wheels and byte code are made for one minor version of Python.\n\n"
        "hint: use `--stack python:3.11-slim`, or change the version in Pipfile or .python-version and lock again.\n"
    )
    for other in ("python:3.11.4-slim", "python:3-slim", "python:latest", "ghcr.io/me/python:3.12", "debian:12"):
        assert deploy("check", blasto, "--stack", other, home=home).code == 0, other


@pytest.mark.parametrize(
    ("stack", "code", "message"),
    [
        ("oci:nowhere", 30, "error: oci:nowhere "),
        ("hosst", 2, "error: there is no stack `hosst`\n"),
        ("Python:3", 2, "error: 'Python:3' is not an image reference\n"),
    ],
)
def test_a_stack_that_is_none(blasto, home, stack, code, message):
    done = deploy("check", blasto, "--stack", stack, home=home)
    assert done.code == code
    assert done.err.startswith(message)


def test_other_categories_are_checked_too(blasto, home):
    for command in ("check", "build", "local"):
        done = deploy(command, blasto, "--category", "docs", home=home)
        assert done.code == 2
        assert done.err.startswith("error: Pipfile.lock has no category `docs`\n\nBeside the packages of `default`")
    assert deploy("check", blasto, "--category", "develop", home=home).code == 0


def test_a_stale_category_is_an_error_if_it_is_asked_for(blasto, home):
    (blasto / "Pipfile").write_text((blasto / "Pipfile").read_text() + '\n[docs]\nflask = "<1"\n')
    lock = json.loads((blasto / "Pipfile.lock").read_text())
    (blasto / "Pipfile.lock").write_text(json.dumps({**lock, "docs": {}}))
    assert deploy("check", blasto, home=home).code == 0
    done = deploy("check", blasto, "--category", "docs", home=home)
    assert done.code == 10
    assert "Pipfile asks for flask <1; Pipfile.lock pins flask 3.1.3 (Pipfile:14)." in done.err


def test_a_virtual_environment_that_git_tracks(blasto, home):
    (blasto / "env").mkdir()
    (blasto / "env" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=blasto, check=True)
    done = deploy("check", blasto, home=home)
    assert done.code == 10
    assert done.err.startswith("error: git tracks the virtual environment env\n")


def test_checking_needs_no_network(blasto):
    shutil.copytree(EXAMPLES / "blasto" / "data", blasto / "more")
    program = (
        "import sys; from deployer.cli.command import run; code = run(['check', sys.argv[1]])\n"
        "heavy = {'requests', 'socket', 'ssl', 'urllib3', 'http', 'docker', 'rich', 'buildpack.oci.store'}\n"
        "print(code, sorted(set(sys.modules) & heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(blasto)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0 []\n"
