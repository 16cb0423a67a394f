"""`deploy init`: a new app builds and serves at once; one that is there only gets what it lacks."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.command import ROOT, deploy, snapshot
from tests.support.ports import free_port
from tests.support.running import Running, get

APP = "from flask import Flask\n\napp = Flask(__name__)\n"
OFFLINE = {
    "PIPENV_PYPI_MIRROR": "http://127.0.0.1:9/simple",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_FIND_LINKS": "",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_RETRIES": "0",
}
WRITTEN = """\
  shop/__init__.py
  shop/app.py
  tests/test_shop.py
  Pipfile
  Procfile
  .python-version
  .gitignore
  deploy.toml
"""
NEXT = """\
      deploy local{app} --dev --reload   while you write code
      deploy local{app} -- pytest        run its tests
"""


@pytest.fixture
def wsgi(tmp_path: Path) -> Path:
    """An app of one module, and nothing else."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "wsgi.py").write_text(APP)
    (folder / "Procfile").write_text("web: gunicorn wsgi:app  # ours\n")
    return folder


def without_waiting(text: str) -> str:
    """Drop the lines that say that lock is still at work, of which a slow machine sees more."""
    return re.sub(r"  still locking, after \d+ s \.\.\.\n", "", text)


@pytest.mark.slow
def test_a_new_app_is_sound_builds_serves_and_passes_its_test(tmp_path, home):
    """With the real pipenv, index and gunicorn."""
    done = deploy("init", "shop", "--license", "MIT", cwd=tmp_path, home=home, env={"GIT_AUTHOR_NAME": "Ada"})
    assert (done.code, done.out) == (0, ""), done.err
    head, _, tail = without_waiting(done.err).partition(
        "  LICENSE\nLocking with pipenv, which takes some seconds ...\n"
    )
    assert head == f"deploy init creates an app in shop\n{WRITTEN}"
    assert tail.startswith("  Pipfile.lock, with ")
    assert tail.endswith("\n\nNext: deploy build shop && deploy run shop\n" + NEXT.format(app=" shop"))
    assert "Copyright (c) 2" in (tmp_path / "shop/LICENSE").read_text()

    checked = deploy("check", "shop", "--strict", cwd=tmp_path, home=home)
    assert checked.err == "shop can be built: 0 errors, 0 warnings\n\nNext: deploy build shop\n"
    built = deploy("build", "shop", "--json", cwd=tmp_path, home=home)
    assert built.report["processes"] == {"web": "gunicorn shop:APP"}
    assert built.report["warnings"] == []
    tested = deploy("local", "shop", "--", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path, home=home)
    assert "2 passed" in tested.out, tested.err
    port = free_port()
    serving = Running("local", "shop", "-p", str(port), home=home, cwd=tmp_path)
    try:
        serving.wait_for("ready:")
        assert get(port) == (200, b"Hello from shop, process web.1.\n")
        assert serving.stop(signal.SIGINT) == 130
    finally:
        serving.close()

    before = snapshot(tmp_path / "shop")
    again = deploy("init", "shop", "--license", "MIT", cwd=tmp_path, home=home)
    assert again.code == 0
    assert again.err == "Nothing is missing in shop\n\nNext: deploy check shop\n" + NEXT.format(app=" shop")
    assert snapshot(tmp_path / "shop") == before


def test_without_an_index_all_but_the_lock_is_written(tmp_path, home):
    done = deploy("init", "shop", cwd=tmp_path, home=home, env=OFFLINE)
    assert (done.code, done.out) == (20, "")
    assert without_waiting(done.err).startswith(
        f"deploy init creates an app in shop\n{WRITTEN}"
        "Locking with pipenv, which takes some seconds ...\n"
        "error: everything is written but Pipfile.lock, which pipenv could not make\n\n"
        "Pipenv could not lock shop/Pipfile.\n\n"
    )
    assert done.err.endswith("hint: run `deploy lock shop` when the index can be reached.\n")
    assert not (tmp_path / "shop" / "Pipfile.lock").exists()
    assert len(snapshot(tmp_path / "shop")) == 8


def test_a_folder_that_cannot_be_made(tmp_path, home):
    done = deploy("init", "/proc/shop", cwd=tmp_path, home=home)
    assert (done.code, done.out) == (70, "")
    assert done.err == (
        "deploy init creates an app in /proc/shop\n"
        "error: /proc/shop/shop/__init__.py cannot be written\n\n"
        "The operating system says: No such file or directory. Nothing was written.\n\n"
        "hint: name a folder that you may write to, and that has room; files that exist are kept.\n"
    )


def test_a_file_that_cannot_be_written(tmp_path, home):
    package = "a" * 250
    done = deploy("init", "shop", "--package", package, cwd=tmp_path, home=home)
    assert (done.code, done.out) == (70, "")
    assert done.err == (
        "deploy init creates an app in shop\n"
        f"  {package}/__init__.py\n  {package}/app.py\n"
        f"error: shop/tests/test_{package}.py cannot be written\n\n"
        "The operating system says: File name too long. These files were written:\n"
        f"  - {package}/__init__.py\n  - {package}/app.py\n\n"
        "hint: name a folder that you may write to, and that has room; files that exist are kept.\n"
    )


def test_in_a_folder_with_an_app_nobody_is_asked_without_a_terminal(wsgi, home):
    before = snapshot(wsgi)
    done = deploy("init", cwd=wsgi, home=home)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: there is an app already, and no terminal to ask what to add to it\n\n"
        "It lacks:\n  - Pipfile\n  - tests/test_app.py\n  - .python-version\n  - .gitignore\n  - Pipfile.lock\n\n"
        "hint: pass --yes to add all of them; no file that exists is changed.\n"
    )
    assert snapshot(wsgi) == before


def test_with_yes_it_gets_what_it_lacks(wsgi, home):
    before = snapshot(wsgi)
    done = deploy("init", "--yes", "--no-lock", cwd=wsgi, home=home)
    assert done.code == 0
    assert done.err == (
        "deploy init adds the files that the app in . lacks, and changes no existing file\n"
        "  Pipfile\n  tests/test_app.py\n  .python-version\n  .gitignore\n\n"
        "Next: deploy lock\n      deploy check\n" + NEXT.format(app="")
    )
    after = snapshot(wsgi)
    assert {path: after[path] for path in before} == before
    assert b'flask = "*"\ngunicorn = "*"\n' in after["Pipfile"]


def test_on_a_terminal_each_file_and_package_is_asked_for(wsgi, home):
    (wsgi / "requirements.txt").write_text("flask\n")
    (wsgi / "jobs.py").write_text("import yaml\nimport requests\n")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "deployer", "init", "--no-lock"],
        cwd=wsgi,
        env={**os.environ, "DEPLOY_HOME": str(home), "PYTHONPATH": str(ROOT), "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""

    def read() -> None:
        nonlocal said
        try:
            while chunk := os.read(ours, 4096):
                said += chunk
        except OSError:  # Linux says so where the other side is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    os.write(ours, b"\nn\n\nn\ny\nno\n")
    try:
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        reader.join(60)
        os.close(ours)
    text = said.decode().replace("\r\n", "\n")
    for path in ("Pipfile", "tests/test_app.py", ".python-version", ".gitignore"):
        assert f"Add {path}? [Y/n]: " in text
    assert "deploy init adds the files that the app in . lacks, and changes no existing file\n" in text
    assert "jobs.py:1 needs pyyaml. Put pyyaml into Pipfile? [Y/n]: " in text
    assert "jobs.py:2 needs requests. Put requests into Pipfile? [Y/n]: " in text
    assert (wsgi / "Pipfile").read_text().partition("[packages]\n")[2].startswith('flask = "*"\npyyaml = "*"\ngunicorn')
    assert "  Pipfile\n  .python-version\n" in text
    given = {"Procfile", "jobs.py", "requirements.txt", "wsgi.py"}
    assert snapshot(wsgi).keys() == {".python-version", "Pipfile", *given}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("flask",), "error: the package cannot be called flask\n\n`flask` is a package that the app depends on"),
        (("2048",), "error: '2048' is not a name for a Python package\n"),
        (("shop", "--package", "a-b"), "error: 'a-b' is not a name for a Python package\n"),
        (("notes",), "error: notes is not a folder\n"),
        (("notes/shop",), "error: notes is not a folder\n\nA folder is needed there to write shop/__init__.py."),
        (("nowhere",), "error: nowhere is not a folder\n\nA folder is needed there to write nowhere/__init__.py."),
    ],
)
def test_names_that_cannot_be_leave_nothing_behind(tmp_path, home, arguments, message):
    (tmp_path / "notes").write_text("")
    (tmp_path / "nowhere").symlink_to("gone")
    done = deploy("init", *arguments, cwd=tmp_path, home=home)
    assert done.code == 2
    assert done.err.startswith(message)
    assert sorted(path.name for path in tmp_path.iterdir() if path != home) == ["notes", "nowhere"]


def test_a_file_where_a_folder_is_to_be(tmp_path, home):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "tests").write_text("")
    done = deploy("init", "shop", cwd=tmp_path, home=home)
    assert (done.code, done.err) == (
        2,
        (
            "error: shop/tests is not a folder\n\n"
            "A folder is needed there to write tests/test_shop.py. Nothing was written.\n\n"
            "hint: move it away, or choose another folder, or another name with --package.\n"
        ),
    )
    assert [path.name for path in (tmp_path / "shop").iterdir()] == ["tests"]


def test_what_comes_next_can_be_pasted(tmp_path, home):
    assert (
        "Next: deploy lock './-my shop'\n" in deploy("init", "--no-lock", "--", "-my shop", cwd=tmp_path, home=home).err
    )
    assert deploy("check", "./-my shop", cwd=tmp_path, home=home).err.endswith("then deploy check './-my shop'\n")
