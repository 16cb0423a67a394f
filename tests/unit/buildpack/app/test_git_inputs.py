"""The files that decide what git ignores: all of them, or None if there may be others."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from buildpack.app.git_inputs import git_inputs, watch_passed_over
from buildpack.app.source import read_source


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A work tree, the app two folders below its top."""
    app = tmp_path / "tree" / "apps" / "one"
    app.mkdir(parents=True)
    git(tmp_path / "tree", "init", "-q")
    return app


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "user"), "PATH": os.environ["PATH"]}


def test_all_places_of_git_s_rules_are_named(tree, environ, tmp_path):
    top, user = tmp_path / "tree", tmp_path / "user"
    found = git_inputs(tree, environ)
    assert found is not None
    expected = {
        *(tree / ".git", tree.parent / ".git"),
        *(tree / ".gitignore", tree.parent / ".gitignore", top / ".gitignore"),
        *(top / ".git/config", top / ".git/HEAD", top / ".git/index", top / ".git/info/exclude"),
        *(user / ".gitconfig", user / ".config/git/config", user / ".config/git/ignore"),
        Path("/etc/gitconfig"),
    }
    assert {str(path) for path in expected} <= set(found)


def test_git_itself_may_come_or_change(tree, environ, tmp_path):
    found = git_inputs(tree, {**environ, "PATH": f"{tmp_path}/bin::/usr/bin"})
    assert found is not None
    assert found[-2:] == [f"{tmp_path}/bin/git", "/usr/bin/git"]


def test_outside_a_work_tree_a_repository_above_is_waited_for(tmp_path, environ):
    assert git_inputs(tmp_path, environ) == [str(folder / ".git") for folder in (tmp_path, *tmp_path.parents)]


def test_xdg_and_git_s_own_variables_say_where_settings_are(tree, environ, tmp_path):
    more = {"XDG_CONFIG_HOME": "/x", "GIT_CONFIG_GLOBAL": "/g", "GIT_CONFIG_SYSTEM": "/s"}
    found = git_inputs(tree, {**environ, **more})
    assert found is not None
    assert {"/x/git/config", "/x/git/ignore", "/g", "/s"} <= set(found)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("[core]\n\texcludesFile = ~/.gitignore_global\n", "{home}/.gitignore_global"),
        ('[core] excludesfile="/srv/git/ignore"\n', "/srv/git/ignore"),
        ("[CORE]\nEXCLUDESFILE=/a-b/c_d.e\n", "/a-b/c_d.e"),
    ],
)
def test_the_ignore_file_that_settings_name_is_among_them(tree, environ, settings, named):
    home = Path(environ["HOME"])
    home.mkdir()
    (home / ".gitconfig").write_text(settings)
    assert named.format(home=home) in (git_inputs(tree, environ) or ())


@pytest.mark.parametrize(
    "settings",
    [
        "[core]\n\texcludesFile = ~other/ignore\n",
        "[core]\n\texcludesFile = %(prefix)/ignore\n",
        "[core]\n\texcludesFile = relative\n",
        "[core]\n\texcludesFile = /a # a comment\n",
        "[core]\n\texcludesFile = /a\\\n b\n",
        "[include]\n\tpath = more\n",
        '[includeIf "gitdir:~/work/"]\n\tpath = more\n',
        "[core]\n\tworktree = /elsewhere\n",
        "[extensions]\n\tworktreeConfig = true\n",
    ],
)
def test_settings_that_only_git_understands_are_not_guessed_at(tree, environ, settings):
    home = Path(environ["HOME"])
    home.mkdir()
    (home / ".gitconfig").write_text(settings)
    assert git_inputs(tree, environ) is None


def test_a_repository_that_lies_elsewhere_is_not_guessed_at(tree, environ):
    (tree / ".git").write_text("gitdir: /elsewhere\n")
    assert git_inputs(tree, environ) is None


def test_a_folder_that_only_looks_like_a_repository_is_not_guessed_at(tree, environ):
    (tree / ".git").mkdir()
    assert git_inputs(tree, environ) is None


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")


def test_a_folder_is_watched_that_is_ignored_for_what_is_in_it(tree, environ):
    (tree / ".gitignore").write_text("*.log\nbuild/\n")
    for name in ("logs/old/a.log", "build/deep/out.txt", "venv/lib/a.log", "server.py"):
        write(tree / name)
    (tree / "venv" / ".gitignore").write_text("*\n")
    (tree / "venv" / "pyvenv.cfg").write_text("")
    source = read_source(tree, environ=environ)
    assert [file.path for file in source.files] == [".gitignore", "server.py"]
    assert sorted(source.passed_over) == ["build", "logs", "venv"]
    found = watch_passed_over(tree, source.passed_over, environ)
    watched = ("logs", "logs/.gitignore", "logs/old", "logs/old/.gitignore", "venv", "venv/.gitignore")
    assert found is not None
    assert sorted(found) == sorted(f"{tree}/{name}" for name in watched)
    assert found[f"{tree}/logs/.gitignore"] is None


def test_too_many_folders_are_not_watched(tree, environ):
    (tree / ".gitignore").write_text("*.log\n")
    for number in range(510):
        write(tree / "logs" / str(number) / "a.log")
    source = read_source(tree, environ=environ)
    assert watch_passed_over(tree, source.passed_over, environ) is None


def test_every_file_and_folder_that_was_looked_at_is_stamped(tree, environ):
    for name in ("server.py", "pages/index.html", "empty/none", "left/out.txt"):
        write(tree / name)
    (tree / "empty" / "none").unlink()
    (tree / "link").symlink_to("server.py")
    (tree / "broken").symlink_to("nowhere")
    (tree / ".dockerignore").write_text("left/*\nbroken\n")
    source = read_source(tree, environ=environ)
    assert source.stamps is not None
    paths = {path.removeprefix(f"{tree}/") for path in source.stamps if path.startswith(f"{tree}/")}
    assert paths == {
        *("", "pages/", "empty/", "left/"),
        *("server.py", "pages/index.html", "link", ".dockerignore"),
        *(".git", ".gitignore"),
    }


def test_a_repository_in_the_app_is_not_watched(tree, environ):
    write(tree / "vendor" / "module.py")
    git(tree / "vendor", "init", "-q")
    assert read_source(tree, environ=environ).stamps is None
