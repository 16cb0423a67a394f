"""The calls that a record answers, and for how long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from buildpack.app.file_stamps import stamp
from deployer.building.record import FOLDER, Asked, ask, day_of, fold, recall, seal
from tests.support.command import ROOT

NOW = time.mktime((2026, 6, 15, 12, 0, 0, 0, 0, -1))
"""Noon of some day, here."""
HOUR = 3600


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "server.py").write_text("")
    return folder


@pytest.fixture
def asked(app: Path, tmp_path: Path) -> Asked:
    """A question that the record answers with ``{"digest": 1}``."""
    path = tmp_path / "record"
    paths = [str(app), str(app / "server.py"), str(app / "absent")]
    record = {
        "answer": {"digest": 1},
        "made": NOW,
        "day": day_of(NOW),
        "expires": NOW + 6 * HOUR,
        "folder": str(app),
        "real": os.path.realpath(app),
        "witnesses": [[paths, fold(map(stamp, paths))]],
    }
    path.write_bytes(seal(record))
    return Asked(str(path), NOW + 1)


def at(asked: Asked, now: float) -> object:
    return recall(Asked(asked.path, now))


def test_a_record_answers(asked):
    assert recall(asked) == {"digest": 1}


def test_a_record_without_an_answer_says_that_nothing_changed(asked, app):
    record = json.loads(Path(asked.path).read_bytes().partition(b"\n")[2])
    Path(asked.path).write_bytes(seal({**record, "answer": None}))
    assert (recall(asked), asked.unchanged) == (None, True)
    (app / "server.py").write_text("# changed")
    later = Asked(asked.path, asked.begin)
    assert (recall(later), later.unchanged) == (None, False)


def test_a_record_answers_on_its_day_only(asked, app):
    """Else a warning that a Python reached its end of life would never come."""
    paths = [str(app)]
    record = {
        "answer": {"digest": 1},
        "made": NOW,
        "day": day_of(NOW),
        "expires": None,
        "folder": str(app),
        "real": os.path.realpath(app),
        "witnesses": [[paths, fold(map(stamp, paths))]],
    }
    Path(asked.path).write_bytes(seal(record))
    assert at(asked, NOW + 11 * HOUR) == {"digest": 1}
    assert at(asked, NOW + 13 * HOUR) is None
    assert at(asked, NOW + 24 * HOUR) is None


def test_a_record_ends_when_the_stack_s_tag_has_to_be_looked_up(asked):
    assert at(asked, NOW + 6 * HOUR - 1) == {"digest": 1}
    assert at(asked, NOW + 6 * HOUR) is None


def test_a_record_from_the_future_does_not_answer(asked):
    assert at(asked, NOW - 1) is None


def test_a_new_file_makes_a_record_void(asked, app):
    (app / "absent").write_text("")
    assert recall(asked) is None


def test_a_moved_folder_makes_a_record_void(asked, app, tmp_path):
    app.rename(tmp_path / "moved")
    app.symlink_to(tmp_path / "moved")
    assert recall(asked) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 100, b"x" * 64 + b"\n{}"])
def test_a_file_that_is_not_a_record_does_not_answer(asked, content):
    Path(asked.path).write_bytes(content)
    assert recall(asked) is None


@pytest.mark.parametrize(
    "record", [{}, {"answer": {}}, {"answer": {}, "day": "today"}, {"day": day_of(NOW), "made": "x"}]
)
def test_a_sealed_record_of_another_form_does_not_answer(asked, record):
    Path(asked.path).write_bytes(seal(record))
    assert recall(asked) is None


def test_a_flipped_bit_makes_a_record_void(asked):
    content = Path(asked.path).read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        Path(asked.path).write_bytes(damaged)
        assert recall(asked) is None, position


def test_an_absent_record_or_a_folder_does_not_answer(tmp_path):
    assert recall(Asked(str(tmp_path / "absent"), NOW)) is None
    assert recall(Asked(str(tmp_path), NOW)) is None


def path_of(arguments: list[str], **environ: str) -> str:
    asked = ask(arguments, environ, now=NOW)
    assert asked is not None
    return asked.path


def test_arguments_and_environment_decide_which_record_is_asked(tmp_path, monkeypatch):
    home = str(tmp_path)
    known = path_of(["build", "."], DEPLOY_HOME=home)
    assert known.startswith(f"{home}/{FOLDER}/")
    same = [
        path_of(["build", "."], DEPLOY_HOME=home),
        path_of(["build", "."], DEPLOY_HOME=home, COLUMNS="20", LINES="7", _="/usr/bin/deploy", SHLVL="3", OLDPWD="/"),
    ]
    other = [
        path_of(["build"], DEPLOY_HOME=home),
        path_of(["build", ". "], DEPLOY_HOME=home),
        path_of(["build", ".", ""], DEPLOY_HOME=home),
        path_of(["build", "."], DEPLOY_HOME=home, TZ="UTC"),
        path_of(["build", "."], DEPLOY_HOME=home, A="b"),
        path_of(["build", "."], DEPLOY_HOME=home, A="b c"),
        path_of(["build", "."], DEPLOY_HOME=home, A="\udcff"),
    ]
    monkeypatch.chdir(tmp_path)
    other.append(path_of(["build", "."], DEPLOY_HOME=home))
    monkeypatch.setattr(sys, "path", [*sys.path, home])
    other.append(path_of(["build", "."], DEPLOY_HOME=home))
    assert set(same) == {known}
    assert len({known, *other}) == 1 + len(other)


def test_the_name_of_a_record_has_no_value_of_a_variable(tmp_path):
    assert "hunter2" not in path_of(["build"], DEPLOY_HOME=str(tmp_path), TOKEN="hunter2")


def test_a_store_that_does_not_last_has_no_records(tmp_path):
    assert ask(["build"], {"TMPDIR": str(tmp_path)}, now=NOW) is None
    assert ask(["build"], {"DEPLOY_HOME": "/dev/null/store"}, now=NOW) is None


def test_asking_imports_few_modules():
    script = """
import sys
before = set(sys.modules)
import deployer.cli, deployer.building.record, deployer.cli.summary
print(*sorted(name.partition(".")[0] for name in set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    slow = {"click", "dataclasses", "typing", "pathlib", "hashlib", "inspect", "contextlib", "threading", "subprocess"}
    assert slow.isdisjoint(done.stdout.split())
    assert {"buildpack", "deployer", "json"} <= set(done.stdout.split())
