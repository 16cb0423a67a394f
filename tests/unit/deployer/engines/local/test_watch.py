from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from deployer.engines.local.watch import Scope, Watcher, changed_paths, take_snapshot


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "pkg" / "templates").mkdir(parents=True)
    (tmp_path / "pkg" / "views.py").write_text("1")
    (tmp_path / "pkg" / "templates" / "index.html").write_text("1")
    (tmp_path / "generated.py").write_text("1")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "tool.py").write_text("1")
    return tmp_path


FILES = ("pkg/views.py", "pkg/templates/index.html")


def test_what_is_not_the_app_s_is_left_out_and_not_entered(app):
    scope = Scope.of(str(app), FILES)
    assert scope.left_out == {"generated.py", "node_modules"}
    assert sorted(take_snapshot(scope)) == ["pkg/templates/index.html", "pkg/views.py"]


def test_changes_are_what_was_added_removed_and_written(app):
    scope = Scope.of(str(app), FILES)
    before = take_snapshot(scope)
    (app / "pkg" / "new.py").write_text("1")
    (app / "pkg" / "views.py").unlink()
    (app / "pkg" / "templates" / "index.html").write_text("22")
    (app / "generated.py").write_text("22")
    assert changed_paths(before, take_snapshot(scope)) == [
        "pkg/new.py",
        "pkg/templates/index.html",
        "pkg/views.py",
    ]


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_changed(app):
    scope = Scope.of(str(app), FILES)
    before = take_snapshot(scope)
    other = app / "pkg" / "other"
    other.write_text("2")
    status = (app / "pkg" / "views.py").stat()
    os.utime(other, ns=(status.st_mtime_ns, status.st_mtime_ns))
    other.replace(app / "pkg" / "views.py")
    assert changed_paths(before, take_snapshot(scope)) == ["pkg/views.py"]


@pytest.mark.parametrize(
    "path", ["app.db", "app.log", "state.json", "photo.jpg", "__pycache__/a.py", ".git/a.py", "pkg/.cache/a.py"]
)
def test_what_an_app_or_a_tool_writes_is_not_watched(app, path):
    scope = Scope.of(str(app), FILES)
    before = take_snapshot(scope)
    (app / path).parent.mkdir(exist_ok=True)
    (app / path).write_text("1")
    assert take_snapshot(scope) == before


@pytest.mark.parametrize("name", ["Procfile", "Pipfile.lock", ".env", ".flaskenv", "settings.toml", "query.sql"])
def test_settings_are_watched(app, name):
    scope = Scope.of(str(app), FILES)
    (app / name).write_text("1")
    assert name in take_snapshot(scope)


def test_a_folder_that_is_gone_holds_nothing(tmp_path):
    assert take_snapshot(Scope(folder=str(tmp_path / "gone"))) == {}


def test_the_watcher_tells_once_and_when_all_is_at_rest(app):
    told: list[list[str]] = []
    heard = threading.Event()

    def tell(changed) -> None:
        told.append(list(changed))
        heard.set()

    watcher = Watcher(Scope.of(str(app), FILES), tell, interval=0.05)
    watcher.start()
    for name in ("a", "b", "c"):
        (app / "pkg" / f"{name}.py").write_text("1")
    assert heard.wait(10)
    threading.Event().wait(0.3)
    watcher.stop()
    assert sorted(path for changed in told for path in changed) == ["pkg/a.py", "pkg/b.py", "pkg/c.py"]
    (app / "pkg" / "d.py").write_text("1")
    assert len(told) <= 2


def test_a_watcher_that_was_never_started_stops(app):
    Watcher(Scope(folder=str(app)), print).stop()
