"""The app's files: what is taken, what is left out, what is refused."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from buildpack.app.source import SourceFile, SourceTree, read_source
from buildpack.errors import AppError, BuildpackError, Problems


def make(folder: Path, *paths: str) -> Path:
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    return folder


def read(folder: Path, **environ: str) -> SourceTree:
    return read_source(folder, environ={**os.environ, **environ})


def paths(folder: Path, **environ: str) -> list[str]:
    return [file.path for file in read(folder, **environ).files]


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, env=clean)


def failure(folder: Path, kind: type[BuildpackError] = AppError) -> str:
    with pytest.raises(kind) as caught:
        read(folder)
    return str(caught.value)


def test_files_are_sorted_with_size_and_executable_bit(tmp_path: Path) -> None:
    make(tmp_path, "z.py", "a/b.py", "a.py", "a-b.py")
    (tmp_path / "run").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "run").chmod(0o711)
    assert read(tmp_path).files == (
        SourceFile(path="a-b.py", kind="file", size=6),
        SourceFile(path="a.py", kind="file", size=4),
        SourceFile(path="a/b.py", kind="file", size=6),
        SourceFile(path="run", kind="file", size=10, executable=True),
        SourceFile(path="z.py", kind="file", size=4),
    )


def test_disk_says_where_a_file_lies(tmp_path: Path) -> None:
    tree = read(make(tmp_path, "a/b.py"))
    assert tree.read(tree.files[0].path, 100) == b"a/b.py"


def test_the_group_bit_does_not_make_a_file_executable(tmp_path: Path) -> None:
    make(tmp_path, "a").joinpath("a").chmod(0o655)
    assert not read(tmp_path).files[0].executable


def test_what_never_enters_an_image(tmp_path: Path) -> None:
    make(
        tmp_path,
        *(".hg/x", ".svn/x", "__pycache__/a.pyc", "b.pyc", "c.pyo", ".env", ".env.local", ".ENV", ".envrc", "sub/.env"),
        *(".deploy-0f.part", ".deploy-0f.part.lock"),
        *("deploy.toml", ".DS_Store", ".mypy_cache/x", ".pytest_cache/x", ".ruff_cache/x", ".venv/pyvenv.cfg"),
        *(".venv/bin/python", "deep/er/env/pyvenv.cfg", ".tox/x", ".nox/x", ".netrc", ".pypirc"),
    )
    shipped = [".dockerenv", ".env.example", ".env.sample", ".env.template", ".flaskenv", "node_modules/x.js"]
    make(tmp_path, *shipped, "sub/deploy.toml", ".gitignore", "environment.py")
    assert paths(tmp_path) == sorted([*shipped, "sub/deploy.toml", ".gitignore", "environment.py"])


def test_an_environment_directory_called_env_is_left_out_silently(tmp_path: Path) -> None:
    make(tmp_path, "app.py", ".env/pyvenv.cfg", ".env/bin/python")
    tree = read(tmp_path)
    assert ([file.path for file in tree.files], tree.warnings) == (["app.py"], ())


def test_empty_folders_are_not_shipped(tmp_path: Path) -> None:
    (make(tmp_path, "a") / "empty").mkdir()
    assert paths(tmp_path) == ["a"]


class TestGit:
    def test_what_git_ignores_is_left_out(self, tmp_path: Path) -> None:
        make(tmp_path, "app.py", "secret.key", "build/out.js", "sub/x.log", "sub/y.py", "kept.log")
        (tmp_path / ".gitignore").write_text("*.key\nbuild/\n*.log\n")
        git(tmp_path, "init", "-q")
        git(tmp_path, "add", "-f", "kept.log")
        assert paths(tmp_path) == [".gitignore", "app.py", "kept.log", "sub/y.py"]

    def test_rules_of_a_work_tree_reach_into_an_app_below_it(self, tmp_path: Path) -> None:
        make(tmp_path, "apps/blasto/app.py", "apps/blasto/x.log", "apps/blasto/build/y")
        (tmp_path / ".gitignore").write_text("*.log\nbuild\n")
        git(tmp_path, "init", "-q")
        assert paths(tmp_path / "apps/blasto") == ["app.py"]

    def test_an_app_in_an_ignored_folder_is_shipped_as_it_is(self, tmp_path: Path) -> None:
        make(tmp_path, "scratch/app/app.py", "scratch/app/sub/x.log")
        (tmp_path / ".gitignore").write_text("scratch\n")
        git(tmp_path, "init", "-q")
        assert paths(tmp_path / "scratch/app") == ["app.py", "sub/x.log"]
        assert paths(tmp_path / "scratch") == ["app/app.py", "app/sub/x.log"]

    def test_a_repository_inside_has_its_own_rules(self, tmp_path: Path) -> None:
        make(tmp_path, "app.py", "module/a.py", "module/secret")
        (tmp_path / "module/.gitignore").write_text("secret\n")
        git(tmp_path, "init", "-q")
        git(tmp_path / "module", "init", "-q")
        assert paths(tmp_path) == ["app.py", "module/.gitignore", "module/a.py"]

    def test_variables_of_a_hook_do_not_lead_elsewhere(self, tmp_path: Path) -> None:
        make(tmp_path, "app/app.py", "app/x.log", "other/y")
        (tmp_path / "app/.gitignore").write_text("*.log\n")
        git(tmp_path / "app", "init", "-q")
        git(tmp_path / "other", "init", "-q")
        other = str(tmp_path / "other")
        found = paths(tmp_path / "app", GIT_DIR=f"{other}/.git", GIT_WORK_TREE=other, GIT_INDEX_FILE="/nowhere")
        assert found == [".gitignore", "app.py"]

    def test_names_with_spaces_newlines_and_umlauts_are_understood(self, tmp_path: Path) -> None:
        make(tmp_path, "app.py", "new\nline.log", "ä ö.log", "dir ü/x")
        (tmp_path / ".gitignore").write_text("*.log\ndir*\n")
        git(tmp_path, "init", "-q")
        assert paths(tmp_path) == [".gitignore", "app.py"]

    def test_without_git_all_is_shipped_and_a_warning_says_so(self, tmp_path: Path) -> None:
        make(tmp_path, "app.py", "x.log")
        (tmp_path / ".gitignore").write_text("*.log\n")
        git(tmp_path, "init", "-q")
        tree = read(tmp_path, PATH=str(tmp_path))
        assert [file.path for file in tree.files] == [".gitignore", "app.py", "x.log"]
        assert tree.warnings == (
            "git is not installed here, so deploy ships files that git ignores, unless .dockerignore names them.",
        )

    def test_a_folder_called_dot_git_that_is_none_means_nothing(self, tmp_path: Path) -> None:
        make(tmp_path, "app.py", ".git/x")
        assert paths(tmp_path) == ["app.py"]

    def test_a_broken_repository_is_an_error(self, tmp_path: Path) -> None:
        make(tmp_path, "app.py")
        (tmp_path / ".git").write_text("gitdir: /no/such/place\n")
        assert failure(tmp_path) == (
            "git cannot list the files that it ignores\n\n"
            f"`git ls-files` in {tmp_path} says: fatal: not a git repository: /no/such/place\n\n"
            f"hint: fix what `git -C {tmp_path} status` reports."
        )

    def test_a_checkout_that_belongs_to_someone_else_is_read(self, tmp_path: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can give files away")
        make(tmp_path, "app.py", "x.log")
        (tmp_path / ".gitignore").write_text("*.log\n")
        git(tmp_path, "init", "-q")
        for path in [tmp_path, *tmp_path.rglob("*")]:
            os.chown(path, 12345, 12345)
        assert paths(tmp_path) == [".gitignore", "app.py"]


class TestVirtualEnvironments:
    def test_a_link_to_one_elsewhere_is_left_out(self, tmp_path: Path) -> None:
        make(tmp_path, "app/app.py", "elsewhere/pyvenv.cfg")
        (tmp_path / "app" / ".venv").symlink_to(tmp_path / "elsewhere")
        assert paths(tmp_path / "app") == ["app.py"]

    def test_one_that_git_tracks_is_an_error(self, tmp_path: Path) -> None:
        make(tmp_path, "app.py", "venv/pyvenv.cfg", "venv/bin/python")
        git(tmp_path, "init", "-q")
        assert paths(tmp_path) == ["app.py"]
        git(tmp_path, "add", "-f", "venv/bin/python")
        assert failure(tmp_path) == (
            "git tracks the virtual environment venv\n\n"
            "venv/pyvenv.cfg shows that it is one. It works on one machine only; the image gets its own from "
            "Pipfile.lock.\n\n"
            "hint: run `git rm -r --cached venv`, add `venv/` to .gitignore, and commit."
        )

    def test_one_that_is_tracked_and_ignored_is_an_error_too(self, tmp_path: Path) -> None:
        make(tmp_path, "app.py", "venv/pyvenv.cfg", "venv/bin/python")
        (tmp_path / ".gitignore").write_text("venv\n")
        git(tmp_path, "init", "-q")
        git(tmp_path, "add", "-f", "venv/bin/python")
        assert "git tracks the virtual environment venv" in failure(tmp_path)

    @pytest.mark.parametrize("pattern", ["!venv", "!/venv/", "!venv/bin/python", "!ve*"])
    def test_one_that_a_pattern_brings_back_is_an_error(self, tmp_path: Path, pattern: str) -> None:
        make(tmp_path, "app.py", "venv/pyvenv.cfg")
        (tmp_path / ".dockerignore").write_text(f"# all but\n*\n{pattern}\n")
        assert failure(tmp_path) == (
            ".dockerignore brings back the virtual environment venv\n\n"
            f".dockerignore:3 says `{pattern}`. A virtual environment works on one machine only; "
            "the image gets its own from Pipfile.lock.\n\n"
            "hint: remove line 3 of .dockerignore."
        )

    def test_one_inside_what_a_pattern_brings_back_is_left_out(self, tmp_path: Path) -> None:
        make(tmp_path, "src/app.py", "src/venv/pyvenv.cfg")
        (tmp_path / ".dockerignore").write_text("*\n!src\n")
        assert paths(tmp_path) == ["src/app.py"]

    def test_the_app_folder_itself_cannot_be_one(self, tmp_path: Path) -> None:
        folder = make(tmp_path / "blasto", "app.py", "pyvenv.cfg")
        assert failure(folder).startswith("blasto is a virtual environment\n\nIt holds pyvenv.cfg")


class TestIgnoreFiles:
    def test_both_files_leave_out(self, tmp_path: Path) -> None:
        make(tmp_path, "a.md", "b.txt", "c.py", "sub/a.md")
        (tmp_path / ".dockerignore").write_text("*.md\n")
        (tmp_path / ".slugignore").write_text("b.txt\n")
        assert paths(tmp_path) == [".dockerignore", ".slugignore", "c.py", "sub/a.md"]

    def test_what_one_leaves_out_the_other_cannot_bring_back(self, tmp_path: Path) -> None:
        make(tmp_path, "a.md")
        (tmp_path / ".dockerignore").write_text("*\n")
        (tmp_path / ".slugignore").write_text("!a.md\n")
        assert paths(tmp_path) == []

    def test_a_bang_brings_back_what_git_ignores_where_it_names_it(self, tmp_path: Path) -> None:
        make(tmp_path, "app.py", "dist/js/a.js", "dist/b.map", "secret", "src/x.py", "src/local.py")
        (tmp_path / ".gitignore").write_text("dist\nsecret\nlocal.py\n")
        git(tmp_path, "init", "-q")
        (tmp_path / ".dockerignore").write_text("**\n!dist\ndist/*.map\n!*.py\n!src\n!sec*\n")
        assert paths(tmp_path) == ["app.py", "dist/js/a.js", "src/x.py"]
        (tmp_path / ".dockerignore").write_text("!dist/js/*.js\n!src/local.py\n")
        assert paths(tmp_path) == [
            ".dockerignore", ".gitignore", "app.py", "dist/js/a.js", "src/local.py", "src/x.py",
        ]  # fmt: skip

    def test_a_bang_never_brings_back_secrets(self, tmp_path: Path) -> None:
        make(tmp_path, ".env", "app.py")
        (tmp_path / ".dockerignore").write_text("!.env\n")
        assert paths(tmp_path) == [".dockerignore", "app.py"]

    def test_a_pattern_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        make(tmp_path, "app.py")
        (tmp_path / ".slugignore").write_text("*.md\n\n[a-\n")
        assert failure(tmp_path) == (
            ".slugignore:3 holds a pattern that cannot be read\n\n"
            "`[a-`: a character is missing in `[...]`.\n\n"
            "hint: fix or remove the line; the patterns are those of https://docs.docker.com/build/concepts/context/."
        )


class TestLinks:
    def test_links_keep_their_targets(self, tmp_path: Path) -> None:
        make(tmp_path, "a/b.py")
        (tmp_path / "link").symlink_to("a/../a/b.py")
        (tmp_path / "folder").symlink_to("a")
        (tmp_path / "loop").symlink_to("loop")
        (tmp_path / "nowhere").symlink_to("not/there")
        assert [(file.path, file.target) for file in read(tmp_path).files if file.kind == "symlink"] == [
            ("folder", "a"),
            ("link", "a/../a/b.py"),
            ("loop", "loop"),
            ("nowhere", "not/there"),
        ]

    def test_all_that_lead_out_are_refused(self, tmp_path: Path) -> None:
        app = make(tmp_path / "app", "a/b.py")
        make(tmp_path, "outside")
        (app / "absolute").symlink_to("/etc/passwd")
        (app / "a/up").symlink_to("../../outside")
        (app / "over").symlink_to("../app/a/b.py")
        (app / "fine").symlink_to("a/../a")
        assert failure(app) == (
            "3 symbolic links lead out of the app's folder\n\n"
            "  - a/up -> ../../outside\n  - absolute -> /etc/passwd\n  - over -> ../app/a/b.py\n\n"
            "The image gets only this folder, so there the link would lead to nothing, or to another file.\n\n"
            "hint: replace the link by a copy, make it relative and inside the folder, or name it in .dockerignore."
        )

    def test_one_that_leads_out_through_another_is_refused(self, tmp_path: Path) -> None:
        make(tmp_path, "a/b/x")
        (tmp_path / "a/b/top").symlink_to("../..")
        (tmp_path / "sly").symlink_to("a/b/top/../secret")
        assert failure(tmp_path).startswith(
            "a symbolic link leads out of the app's folder\n\n  - sly -> a/b/top/../secret\n\n"
        )

    def test_one_that_is_ignored_may_lead_anywhere(self, tmp_path: Path) -> None:
        make(tmp_path, "a")
        (tmp_path / "out").symlink_to("/")
        (tmp_path / ".dockerignore").write_text("out\n")
        assert paths(tmp_path) == [".dockerignore", "a"]


class TestStrangeFiles:
    def test_pipes_and_sockets_are_left_out_with_a_warning(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make(tmp_path, "a")
        os.mkfifo(tmp_path / "pi\npe")
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("gunicorn.sock")
            tree = read(tmp_path)
        assert [file.path for file in tree.files] == ["a"]
        assert sorted(tree.warnings) == [
            "gunicorn.sock is left out: it is neither a file, a folder nor a link.",
            "pi\\npe is left out: it is neither a file, a folder nor a link.",
        ]

    def test_a_name_that_is_not_utf8_is_an_error(self, tmp_path: Path) -> None:
        folder = os.fsencode(make(tmp_path, "a"))
        with open(folder + b"/caf\xe9.txt", "wb"):  # noqa: PTH123 - no Path of bytes
            pass
        assert failure(tmp_path) == (
            "the file name caf\\xe9.txt is not UTF-8\n\n"
            "Names in an image are UTF-8, so that they mean the same on every machine.\n\n"
            "hint: rename the file, or name its folder in .dockerignore."
        )

    def test_a_link_to_what_is_not_utf8_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(os.fsdecode(b"caf\xe9"))
        assert failure(tmp_path) == (
            "link leads to caf\\xe9, which is not UTF-8\n\n"
            "Names in an image are UTF-8, so that they mean the same on every machine.\n\n"
            "hint: make the link again, or name it in .dockerignore."
        )

    @pytest.mark.parametrize("path", [".wh.old", "a/.wh..wh..opq", ".wh.folder/b"])
    def test_a_name_that_means_a_deletion_in_a_layer_is_an_error(self, tmp_path: Path, path: str) -> None:
        make(tmp_path, path)
        assert failure(tmp_path) == (
            f"{path} cannot be in an image\n\n"
            "In an image's layer a name that begins with .wh. means a deletion.\n\n"
            "hint: rename or remove it, or name it in .dockerignore."
        )
        (tmp_path / ".dockerignore").write_text("**/.wh.*\n")
        assert [file.path for file in read(tmp_path).files] == [".dockerignore"]

    def test_all_faults_are_reported_at_once(self, tmp_path: Path) -> None:
        make(tmp_path, "venv/pyvenv.cfg")
        (tmp_path / "out").symlink_to("/")
        (tmp_path / ".dockerignore").write_text("!venv\n")
        with pytest.raises(Problems) as caught:
            read(tmp_path)
        assert [problem.what for problem in caught.value.problems] == [
            ".dockerignore brings back the virtual environment venv",
            "a symbolic link leads out of the app's folder",
        ]

    def test_thousands_of_folders_in_one_another_are_walked(self, tmp_path: Path) -> None:
        folders = [tmp_path / ("d/" * depth) for depth in range(1, 1200)]
        for folder in folders:
            folder.mkdir()
        (folders[-1] / "f").write_bytes(b"")
        found = paths(tmp_path)
        (folders[-1] / "f").unlink()
        for folder in reversed(folders):  # pytest's own cleaning is recursive
            folder.rmdir()
        assert found == ["d/" * 1199 + "f"]

    def test_what_cannot_be_read_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make(tmp_path, "app.py", "secret.py", "closed/x").chmod(0o755)
        (tmp_path / "app.py").chmod(0o644)
        (tmp_path / "secret.py").chmod(0)
        (tmp_path / "closed").chmod(0)
        monkeypatch.chdir(tmp_path)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            said = failure(Path(), Problems)
        finally:
            if root:
                os.seteuid(0)
        (tmp_path / "closed").chmod(0o700)
        assert said == (
            "secret.py cannot be read\n\nThe system says: Permission denied.\n\n"
            "hint: let this user read secret.py, or name it in .dockerignore.\n\n"
            "closed cannot be read\n\nThe system says: Permission denied.\n\n"
            "hint: let this user read closed, or name it in .dockerignore."
        )
