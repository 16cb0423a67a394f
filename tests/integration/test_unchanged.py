"""`deploy build` answers from its record only while everything that decided the answer is as it was."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from buildpack.oci.prune import Limits, prune_store
from buildpack.oci.store import Store
from buildpack.stacks.find_python import usable_versions
from tests.support.command import deploy
from tests.support.engines import Engine
from tests.support.unchanged import Answer, build, copy_tool, environment, make_app, own_tool

pytestmark = pytest.mark.slow


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return make_app(tmp_path / "app")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that knows the stack: gathering it takes a second."""
    folder = tmp_path_factory.mktemp("shared")
    build(make_app(folder / "app"), "-q", home=folder / "home")
    return folder / "home"


@pytest.fixture
def home(shared: Path, tmp_path: Path) -> Path:
    left_out = shutil.ignore_patterns("records", "index.json")
    return Path(shutil.copytree(shared, tmp_path / "home", copy_function=os.link, ignore=left_out))


@pytest.fixture
def recorded(app: Path, home: Path) -> Answer:
    """The answer of a build that the record repeats."""
    first = build(app, "-q", home=home)
    again = build(app, "-q", home=home)
    assert (first.recorded, again.recorded) == (False, True)
    assert first.digest == again.digest
    return again


def test_the_record_answers_with_the_same_words(app, home):
    first = build(app, home=home)
    again = build(app, home=home)
    assert again.recorded
    assert again.out == first.out
    assert first.err.startswith("Built app:latest from ")
    assert again.err.startswith("Unchanged: app:latest from ")
    assert first.err.splitlines()[1:3] == again.err.splitlines()[1:3]
    assert again.err.splitlines()[3].endswith("2 reused, 0 written")
    assert again.err.splitlines()[-1] == f"Next: deploy run {app}"


def test_the_record_s_summary_is_the_build_s_own(app, home):
    build(app, "-v", home=home, env={"X": "1"})
    proper, again = build(app, "-v", home=home, env={"X": "2"}), build(app, "-v", home=home, env={"X": "2"})
    assert (proper.recorded, again.recorded) == (False, True)
    assert again.err.splitlines()[1:] == proper.err.splitlines()[1:]
    assert again.err.partition(" in ")[0] == proper.err.partition(" in ")[0]


def test_json_from_the_record_says_what_the_build_would(app, home):
    build(app, "--json", home=home, env={"X": "1"})
    proper, again = build(app, "--json", home=home), build(app, "--json", home=home)
    assert (proper.recorded, again.recorded) == (False, True)
    told, repeated = json.loads(proper.out), json.loads(again.out)
    assert min(repeated.pop("seconds"), told.pop("seconds")) > 0
    assert repeated == told


def test_warnings_are_repeated(app, home):
    (app / "Procfile").write_text("web: python manage.py runserver\n")
    first, again = build(app, "-q", home=home), build(app, "-q", home=home)
    assert again.recorded
    assert "warning: Procfile:1: `web` does not listen on $PORT (runserver: 127.0.0.1:8000); write " in again.err
    assert again.err == first.err


def keep_times(path: Path, text: str) -> None:
    """Write a file of the same size, and set its times back, as tools do that want to go unnoticed."""
    before = path.stat()
    assert len(text) == before.st_size
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_keeping_times(path: Path, text: str) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_text(text)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "edited": lambda app: (app / "server.py").write_text("GREETING = 'good evening'\n"),
    "edited, its size and time kept": lambda app: keep_times(app / "server.py", "GREETING = 'howdy'\n"),
    "replaced, its size and time kept": lambda app: replace_keeping_times(app / "server.py", "GREETING = 'howdy'\n"),
    "edited in a folder": lambda app: (app / "pages" / "index.html").write_text("<h1>hi</h1>\n"),
    "made executable": lambda app: (app / "server.py").chmod(0o755),
    "new": lambda app: (app / "more.py").write_text(""),
    "new in a folder": lambda app: (app / "pages" / "more.html").write_text(""),
    "deleted": lambda app: (app / "pages" / "index.html").unlink(),
    "renamed": lambda app: (app / "server.py").rename(app / "service.py"),
    "exchanged for a link": lambda app: (
        (app / "server.py").rename(app / "pages" / "server.py"),
        (app / "server.py").symlink_to("pages/server.py"),
    ),
    "the lock": lambda app: (app / "Pipfile.lock").write_text((app / "Pipfile.lock").read_text() + "\n"),
    "the Procfile": lambda app: (app / "Procfile").write_text("web: python server.py\n"),
    "a Python version": lambda app: (app / ".python-version").write_text(
        f"{'.'.join(map(str, sys.version_info[:3]))}\n"
    ),
    "an ignore file": lambda app: (app / ".dockerignore").write_text("pages\n"),
    "an app.json": lambda app: (app / "app.json").write_text('{"formation": {"web": {"quantity": 2}}}'),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_file_is_built(app, home, recorded, change):
    change(app)
    done = build(app, "-q", home=home)
    assert not done.recorded
    assert done.digest != recorded.digest
    assert build(app, "-q", home=home) == Answer(digest=done.digest, recorded=True, err=done.err, out=done.out)


def test_a_changed_setting_that_leaves_the_image_is_built(app, home, recorded):
    with (app / "deploy.toml").open("a") as settings:
        settings.write("# a comment\n")
    done = build(app, "-q", home=home)
    assert (done.digest, done.recorded) == (recorded.digest, False)


def test_a_changed_name_is_built_and_is_the_title(app, home, recorded):
    (app / "deploy.toml").write_text('stack = "host"\nname = "other"\n')
    done = build(app, "-q", home=home)
    assert not done.recorded
    assert done.digest != recorded.digest
    assert "docker.io/library/other:latest" in Store(home).images()


def test_a_file_that_comes_back_is_built(app, home, recorded):
    text = (app / "server.py").read_text()
    (app / "server.py").unlink()
    (app / "server.py").write_text(text)
    done = build(app, "-q", home=home)
    assert (done.digest, done.recorded) == (recorded.digest, False)


def test_a_file_in_an_empty_folder_is_built(app, home):
    (app / "empty").mkdir()
    before = build(app, "-q", home=home)
    assert build(app, "-q", home=home).recorded
    (app / "empty" / "more.py").write_text("")
    after = build(app, "-q", home=home)
    assert not after.recorded
    assert after.digest != before.digest


def test_a_file_in_a_folder_of_which_all_is_ignored_is_built(app, home):
    (app / ".dockerignore").write_text("logs/*.log\n")
    (app / "logs").mkdir()
    (app / "logs" / "today.log").write_text("")
    before = build(app, "-q", home=home)
    assert build(app, "-q", home=home).recorded
    (app / "logs" / "README").write_text("")
    after = build(app, "-q", home=home)
    assert not after.recorded
    assert after.digest != before.digest


def test_links_are_followed_to_what_they_lead_to(app, home):
    (app / ".dockerignore").write_text("real.py\n")
    (app / "real.py").write_text("APP = object()\n")
    (app / "app.py").symlink_to("real.py")
    (app / "wsgi").symlink_to("pages")
    before = build(app, "-q", home=home)
    assert build(app, "-q", home=home).recorded
    (app / "real.py").write_text("")  # not shipped, and yet it decides which object is the app
    after = build(app, "-q", home=home)
    assert not after.recorded
    assert after.digest != before.digest


def test_a_link_that_is_turned_is_followed(app, home, tmp_path):
    other = make_app(tmp_path / "other" / "app")
    (other / "server.py").write_text("GREETING = 'howdy'\n")
    link = tmp_path / "current"
    link.symlink_to(app)
    before = build(link, "-q", home=home)
    assert build(link, "-q", home=home).recorded
    link.unlink()
    link.symlink_to(other)
    after = build(link, "-q", home=home)
    assert not after.recorded
    assert after.digest != before.digest


def git(folder: Path, *arguments: str) -> None:
    configured = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    subprocess.run(["git", *configured, "-C", str(folder), *arguments], check=True, capture_output=True)


@pytest.fixture
def tracked(app: Path) -> Path:
    """The app in a work tree that begins one folder above it."""
    top = app.parent / "tree"
    top.mkdir()
    inside = app.rename(top / "app")
    (top / ".gitignore").write_text("*.log\nbuild/\n")
    (inside / "pages" / "today.log").write_text("")
    (inside / "logs" / "old").mkdir(parents=True)
    (inside / "logs" / "old" / "a.log").write_text("")
    (inside / "build").mkdir()
    (inside / "build" / "out.txt").write_text("")
    git(top, "init", "-q")
    git(top, "add", ".")
    git(top, "commit", "-qm", "all")
    return inside


def user_s_git(tracked: Path) -> dict[str, str]:
    """A home of the test's own, so that git has no settings but those the test makes."""
    folder = tracked.parent.parent / "user"
    folder.mkdir(exist_ok=True)
    return {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config")}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


GIT_CHANGES: dict[str, Callable[[Path], object]] = {
    "the .gitignore above": lambda app: write(app.parent / ".gitignore", "build/\n"),
    "a .gitignore here": lambda app: write(app / ".gitignore", "pages\n"),
    "a .gitignore below": lambda app: write(app / "pages" / ".gitignore", "!*.log\n"),
    "info/exclude": lambda app: write(app.parent / ".git" / "info" / "exclude", "extra\n"),
    "the index": lambda app: git(app, "add", "-f", "build/out.txt"),
    "the user's ignore file": lambda app: write(app.parents[1] / "user" / ".config" / "git" / "ignore", "extra\n"),
    "the user's settings": lambda app: write(
        app.parents[1] / "user" / ".gitconfig", f"[core]\n\texcludesFile = {app.parents[1]}/mine\n"
    ),
    "a file among ignored ones only": lambda app: write(app / "logs" / "old" / "README", ""),
    "a repository in between": lambda app: git(app, "init", "-q"),
}


@pytest.mark.parametrize("change", GIT_CHANGES.values(), ids=GIT_CHANGES)
def test_what_git_ignores_is_asked_again(tracked, home, change):
    env = user_s_git(tracked)
    write(tracked / "extra", "")
    write(tracked.parents[1] / "mine", "extra\n")
    before = build(tracked, "-q", home=home, env=env)
    assert build(tracked, "-q", home=home, env=env) == Answer(
        digest=before.digest, recorded=True, err=before.err, out=before.out
    )
    change(tracked)
    after = build(tracked, "-q", home=home, env=env)
    assert not after.recorded
    assert after.digest != before.digest


def test_the_ignore_file_that_the_settings_name_is_watched(tracked, home):
    env = user_s_git(tracked)
    write(tracked / "extra", "")
    write(tracked.parents[1] / "user" / ".gitconfig", "[core]\n\texcludesfile = ~/mine\n")
    before = build(tracked, "-q", home=home, env=env)
    assert build(tracked, "-q", home=home, env=env).recorded
    write(tracked.parents[1] / "user" / "mine", "extra\n")
    after = build(tracked, "-q", home=home, env=env)
    assert not after.recorded
    assert after.digest != before.digest


UNWATCHED: dict[str, Callable[[Path], object]] = {
    "settings that include others": lambda app: write(
        app.parents[1] / "user" / ".gitconfig", "[include]\n\tpath = more\n"
    ),
    "a work tree of its own": lambda app: (
        git(app, "worktree", "add", "-q", str(app.parents[1] / "second")),
        app.rename(app.parent / "gone"),
        (app.parents[1] / "second" / "app").rename(app.parents[1] / "second" / "moved"),
        shutil.move(app.parents[1] / "second", app.parent.parent / "third"),
        (app.parents[1] / "third" / "moved").rename(app.parents[1] / "third" / "app"),
        app.symlink_to(app.parents[1] / "third" / "app"),
    ),
    "a repository below": lambda app: git(app / "pages", "init", "-q"),
}


@pytest.mark.parametrize("change", UNWATCHED.values(), ids=UNWATCHED)
def test_what_cannot_be_watched_is_not_recorded(tracked, home, change):
    env = user_s_git(tracked)
    change(tracked)
    first, second = build(tracked, "-q", home=home, env=env), build(tracked, "-q", home=home, env=env)
    assert (first.recorded, second.recorded) == (False, False)
    assert first.digest == second.digest


def test_an_app_that_becomes_a_work_tree_is_read_again(app, home, recorded):
    write(app / ".gitignore", "")
    before = build(app, "-q", home=home)
    assert build(app, "-q", home=home).recorded
    git(app.parent, "init", "-q")
    after = build(app, "-q", home=home)
    assert (after.digest, after.recorded) == (before.digest, False)


def test_an_edited_constraints_file_voids_the_record(app, home, tmp_path):
    """Constraints decide what a wheel that is built here holds."""
    write(tmp_path / "pip.txt", "-c more.txt\nsetuptools<81\n")
    write(tmp_path / "more.txt", "wheel<1\n")
    write(tmp_path / "build.txt", "six<2\n")
    given = {"PIP_CONSTRAINT": f"{tmp_path}/pip.txt", "PIP_BUILD_CONSTRAINT": f"{tmp_path}/build.txt"}

    def recorded() -> list[bool]:
        return [build(app, "-q", home=home, env=given).recorded for _ in range(2)]

    assert recorded() == [False, True]
    for name, text in [("pip.txt", "-c more.txt\n"), ("more.txt", "wheel<2\n"), ("build.txt", "six<3\n")]:
        write(tmp_path / name, text)
        assert recorded() == [False, True], name
    (tmp_path / "more.txt").unlink()
    assert recorded() == [False, False]


def test_constraints_from_an_address_are_not_recorded(app, home):
    given = {"PIP_CONSTRAINT": "https://example.com/constraints.txt"}
    assert [build(app, "-q", home=home, env=given).recorded for _ in range(2)] == [False, False]


def test_a_package_from_a_folder_is_built_each_time(app, home):
    lock = json.loads((app / "Pipfile.lock").read_text())
    lock["develop"]["mine"] = {"path": "./mine"}
    (app / "Pipfile.lock").write_text(json.dumps(lock))
    assert not build(app, "-q", home=home).recorded
    assert build(app, "-q", home=home).recorded  # an image does not hold it
    lock["default"]["mine"] = {"path": "./mine"}
    (app / "Pipfile.lock").write_text(json.dumps(lock))
    write(app / "mine" / "pyproject.toml", PROJECT)
    write(app / "mine" / "backend.py", BACKEND)
    assert not build(app, "-q", home=home).recorded
    assert not build(app, "-q", home=home).recorded


PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "mine"
version = "1"
"""

BACKEND = """\
import zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/mine-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("mine-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: mine\\nVersion: 1\\n")
        tag = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr("mine-1.dist-info/WHEEL", tag)
        wheel.writestr("mine-1.dist-info/RECORD", "mine-1.dist-info/METADATA,,\\nmine-1.dist-info/WHEEL,,\\n")
    return "mine-1-py3-none-any.whl"
"""


def blobs(home: Path) -> list[Path]:
    image = Store(home).image("docker.io/library/app:latest")
    assert image is not None
    return [Store(home).path(each) for each in (image.digest, image.config_digest, image.layers[-1].digest)]


@pytest.mark.parametrize("which", [0, 1, 2], ids=["manifest", "config", "layer"])
def test_a_blob_that_is_cut_short_is_made_again(app, home, recorded, which):
    path = blobs(home)[which]
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])
    done = build(app, "-q", home=home)
    assert (done.digest, done.recorded) == (recorded.digest, False)
    assert path.read_bytes() == content


def test_a_name_that_went_to_another_image_is_taken_back(app, home, recorded, tmp_path):
    other = make_app(tmp_path / "other")
    (other / "server.py").write_text("")
    elsewhere = build(other, "-q", "-t", "app:latest", home=home)
    assert elsewhere.digest != recorded.digest
    done = build(app, "-q", home=home)
    assert (done.digest, done.recorded) == (recorded.digest, False)
    assert str(Store(home).images()["docker.io/library/app:latest"]) == recorded.digest


def test_pruning_leaves_records_of_what_is_left(app, home, recorded):
    prune_store(Store(home), Limits(keep=0), shelves=("bytecode",), now=time.time())
    assert build(app, "-q", home=home) == recorded
    prune_store(Store(home), Limits(keep=0, images=True), shelves=(), now=time.time())
    assert Store(home).images() == {}
    assert not build(app, "-q", home=home).recorded


def test_another_environment_is_another_question(app, home, recorded):
    assert build(app, "-q", home=home, env={"COLUMNS": "20", "SHLVL": "7", "_": "/bin/env"}).recorded
    assert not build(app, "-q", home=home, env={"SOURCE_DATE_EPOCH": "1700000000"}).recorded
    assert not build(app, "-q", home=home, env={"DEPLOY_NAME": "other"}).recorded


def test_other_arguments_are_another_question(app, home, recorded):
    assert not build(app, "-q", "-t", "other:1", home=home).recorded
    assert not build(app, "-q", "--label", "a=b", home=home).recorded
    assert not build(app, "--json", home=home).recorded


@pytest.mark.parametrize("option", ["--no-cache", "--pull"])
def test_options_that_ask_for_work_get_it(app, home, recorded, option):
    assert [build(app, "-q", option, home=home).recorded for _ in range(2)] == [False, False]


def test_sending_is_not_recorded(app, home, recorded, tmp_path):
    to = f"oci:{tmp_path}/layout"
    assert [build(app, "-q", "--to", to, home=home).recorded for _ in range(2)] == [False, False]


def test_an_engine_is_asked_each_time_and_disturbed_only_by_changes(app, home, tmp_path):
    engine = Engine(tmp_path / "engine.sock")
    try:
        env = {"DOCKER_HOST": engine.host}
        first = build(app, "-q", "--to", "docker", home=home, env=env)
        assert "POST /images/load" in engine.seen
        engine.seen.clear()
        again = build(app, "-q", "--to", "docker", home=home, env=env)
        assert (again.digest, again.recorded) == (first.digest, True)
        assert engine.seen == ["GET /images/docker.io/library/app:latest/json"]
        for forget in (engine.images.clear, engine.tags.clear):
            forget()
            again = build(app, "-q", "--to", "docker", home=home, env=env)
            assert (again.digest, again.recorded) == (first.digest, False)
            assert engine.tags["docker.io/library/app:latest"] in engine.images
            assert build(app, "-q", "--to", "docker", home=home, env=env).recorded
        (app / "server.py").write_text("")
        changed = build(app, "-q", "--to", "docker", home=home, env=env)
        assert (changed.digest != first.digest, changed.recorded) == (True, False)
        assert len(engine.images) == 2
    finally:
        engine.stop()


def test_the_record_and_a_build_report_the_same_about_an_engine(app, home, tmp_path):
    engine = Engine(tmp_path / "engine.sock")
    try:
        env = {"DOCKER_HOST": engine.host}
        first = build(app, "--to", "docker", home=home, env=env)
        answered = build(app, "--to", "docker", home=home, env=env)
        shutil.rmtree(home / "records")
        again = build(app, "--to", "docker", home=home, env=env)
        assert (answered.recorded, again.recorded) == (True, False)
        assert answered.out == again.out == first.out
        seconds = re.compile(r"\d+\.\d\d s")
        assert seconds.sub("s", answered.err) == seconds.sub("s", again.err)
        assert "  sent     to the engine: 0 layers, 0 B (the engine has it already)\n" in answered.err
    finally:
        engine.stop()
    gone = deploy("build", app, "--to", "docker", home=home, env=env)
    assert (gone.code, gone.out) == (40, "")


def test_another_folder_is_another_question(app, home):
    build("app", "-q", home=home, cwd=app.parent)
    assert build("app", "-q", home=home, cwd=app.parent).recorded
    there = app.parent / "elsewhere"
    other = make_app(there / "app")
    (other / "server.py").write_text("")
    assert not build("app", "-q", home=home, cwd=there).recorded


def test_another_python_is_another_question(app, home, recorded, tmp_path):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", tmp_path) if sys.prefix != sys.base_prefix else None
    packages = os.pathsep.join([str(own_tool()), *(path for path in sys.path if path.endswith("site-packages"))])
    done = build(app, "-q", home=home, python=str(python), env={"PYTHONPATH": packages})
    assert not done.recorded


def test_an_edited_tool_builds(app, home, tmp_path):
    tool = copy_tool(tmp_path / "tool")
    before = build(app, "-q", home=home, tool=tool)
    assert build(app, "-q", home=home, tool=tool).recorded
    keep_times(tool / "buildpack" / "plan.py", (tool / "buildpack" / "plan.py").read_text())
    done = build(app, "-q", home=home, tool=tool)
    assert (done.digest, done.recorded) == (before.digest, False)
    assert build(app, "-q", home=home, tool=tool).recorded
    (tool / "deployer" / "runner" / "more.py").write_text("")
    done = build(app, "-q", home=home, tool=tool)
    assert not done.recorded
    assert done.digest != before.digest


def test_a_package_that_comes_before_the_tool_s_own_is_found(app, home, tmp_path):
    env = {"PYTHONPATH": f"{tmp_path}/first{os.pathsep}{own_tool()}"}
    before = build(app, "-q", home=home, env=env)
    assert build(app, "-q", home=home, env=env).recorded
    import honcho

    (tmp_path / "first").mkdir()
    shutil.copytree(Path(honcho.__file__).parent, tmp_path / "first" / "honcho")
    done = build(app, "-q", home=home, env=env)
    assert (done.digest, done.recorded) == (before.digest, False)


def test_a_git_that_is_installed_is_asked(tracked, home, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    env = {**user_s_git(tracked), "PATH": str(folder)}
    before = build(tracked, "-q", home=home, env=env)
    assert "warning: git is not installed here" in before.err
    assert build(tracked, "-q", home=home, env=env).recorded
    (folder / "git").symlink_to(shutil.which("git") or "")
    after = build(tracked, "-q", home=home, env=env)
    assert not after.recorded
    assert after.digest != before.digest


def test_an_interpreter_that_comes_before_the_stack_s_is_found(app, home, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    (app / ".python-version").unlink()
    env = {"PATH": str(folder), "HOME": str(tmp_path), "PYENV_ROOT": ""}
    before = build(app, "-q", home=home, env=env)
    assert build(app, "-q", home=home, env=env).recorded
    chosen = next(usable_versions(environ={**os.environ, **env}, own=sys.executable))
    for name in (f"python{chosen}", "python3.15"):  # the one that was chosen, and one that is newer
        (folder / name).symlink_to(shutil.which("true") or "/bin/true")  # an ELF file, so it has to be tried
        done = build(app, "-q", home=home, env=env)
        assert (done.digest, done.recorded) == (before.digest, False)
        assert build(app, "-q", home=home, env=env).recorded


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-1], lambda raw: b"", lambda raw: raw.replace(b'"plain"', b'"json"')]
)
def test_a_damaged_record_is_none(app, home, damage):
    before = build(app, home=home)
    (path,) = (home / "records").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    done = build(app, home=home)
    assert (done.digest, done.recorded) == (before.digest, False)
    assert build(app, home=home).recorded


def test_what_was_just_changed_is_not_recorded(app, home):
    build(app, "-q", home=home)
    (app / "server.py").write_text("GREETING = 'now'\n")
    os.utime(app / "server.py", (time.time() + 3600, time.time() + 3600))
    assert not build(app, "-q", home=home).recorded
    assert not build(app, "-q", home=home).recorded


def test_two_builds_at_once_leave_one_whole_record(app, home):
    def one(_number: int) -> Answer:
        return build(app, "-q", home=home)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(one, range(8)))
    assert len({answer.digest for answer in answers}) == 1
    assert build(app, "-q", home=home).recorded
    assert len(list((home / "records").iterdir())) == 1


def test_a_reader_that_went_away_gives_no_traceback(app, home, recorded):
    read, write_end = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "deployer", "build", str(app), "-q"]
    environ = environment(home, own_tool())
    done = subprocess.run(command, cwd=own_tool(), env=environ, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.fixture
def layout(app, home, tmp_path) -> Path:
    """A layout on disk that can be a stack: an image has all that a stack needs, but for what says that it is none."""
    folder = tmp_path / "layout"
    build(app, "-q", "-t", "base:1", "--to", f"oci:{folder}", home=home)

    def read(descriptor: dict[str, Any]) -> dict[str, Any]:
        return dict(json.loads((folder / "blobs" / descriptor["digest"].replace(":", "/")).read_text()))

    def write(descriptor: dict[str, Any], document: object) -> dict[str, Any]:
        content = json.dumps(document).encode()
        digest = hashlib.sha256(content).hexdigest()
        (folder / "blobs" / "sha256" / digest).write_bytes(content)
        return {**descriptor, "digest": f"sha256:{digest}", "size": len(content)}

    index = json.loads((folder / "index.json").read_text())
    (listed,) = index["manifests"]
    manifest = read(listed)
    config = read(manifest["config"])
    config["config"]["Labels"] = {}
    manifest["config"] = write(manifest["config"], config)
    (folder / "index.json").write_text(json.dumps({**index, "manifests": [write(listed, manifest)]}))
    return folder


def test_a_stack_on_disk_is_watched(app, home, layout):
    (app / "deploy.toml").write_text(f'stack = "oci:{layout}"\n')
    before = build(app, "-q", home=home)
    assert build(app, "-q", home=home).recorded
    keep_times(layout / "index.json", (layout / "index.json").read_text())
    done = build(app, "-q", home=home)
    assert (done.digest, done.recorded) == (before.digest, False)
    assert build(app, "-q", home=home).recorded
    blob = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes())
    assert not build(app, "-q", home=home).recorded


@pytest.mark.registry
def test_a_stack_s_tag_is_trusted_for_a_day(app, home, layout, registry):
    name = f"{registry}/base:1"
    copied = ("skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{name}")
    subprocess.run(copied, check=True)
    (app / "deploy.toml").write_text(f'stack = "{name}"\n')
    begin = time.time()
    first = build(app, "-q", home=home)
    second = build(app, "-q", home=home)  # what the tag means was written down by the first, so it was not settled
    third = build(app, "-q", home=home)
    assert (first.recorded, second.recorded, third.recorded) == (False, False, True)
    assert third.err == second.err
    (path,) = (home / "records").iterdir()
    record = json.loads(path.read_bytes().partition(b"\n")[2])
    assert begin + 86400 - 1 <= record["expires"] <= time.time() + 86400
    build(app, "-q", "--pull", home=home)
    assert not build(app, "-q", home=home).recorded
