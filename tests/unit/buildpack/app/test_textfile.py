"""The one reader of an app's files: links that leave the folder, devices, pipes and sizes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from buildpack.app.links import OutsideError, find_inside
from buildpack.app.textfile import LIMIT, open_inside, read_text
from buildpack.errors import AppError


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """Make an app in the folder `repository/app`, and a secret beside the repository."""
    for path in ("repository/.git/config", "repository/app/Procfile", "repository/shared.toml", "secret"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    return tmp_path / "repository/app"


@pytest.mark.parametrize("target", ["Procfile", "./inner/../Procfile", "../shared.toml", "{app}/Procfile"])
def test_a_link_in_the_folder_or_its_work_tree_is_followed(app: Path, target: str) -> None:
    (app / "inner").mkdir()
    (app / "deploy.toml").symlink_to(target.format(app=app))
    assert read_text(app, "deploy.toml") in {"repository/app/Procfile", "repository/shared.toml"}


def test_the_folder_itself_may_be_a_link(app: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(app)
    assert read_text(tmp_path / "current", "Procfile") == "repository/app/Procfile"


def test_a_hidden_file_of_the_same_name_is_followed(app: Path) -> None:
    (app.parent / ".env").write_text("A=1\n")
    (app / ".env").symlink_to("../.env")
    assert read_text(app, ".env") == "A=1\n"


@pytest.mark.parametrize(
    "target",
    [
        *("../../secret", "/etc/passwd", "/etc/shadow", "/dev/zero", "/proc/self/environ", "../../none", "hop"),
        *("../.git/config", "../.git", "../.env", "../.ssh/id", ".env", ".git/config", "inner/.netrc"),
    ],
)
def test_a_link_that_leaves_is_refused(app: Path, target: str) -> None:
    for folder in (app, app.parent):
        for path in (".env", ".ssh/id", ".netrc"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text("password = 'hunter2'")
    (app / ".git").mkdir(exist_ok=True)
    (app / ".git/config").write_text("password = 'hunter2'")
    (app / "inner").symlink_to(".")
    (app / "hop").symlink_to("../../secret")
    if target.startswith(".."):  # then the repository is the one around the app
        (app / ".git/config").unlink()
        (app / ".git").rmdir()
    (app / "deploy.toml").symlink_to(target)

    with pytest.raises(AppError) as caught:
        read_text(app, "deploy.toml")

    leads = os.path.realpath(app / "deploy.toml")
    assert str(caught.value) == (
        "deploy.toml is a link that leads out of the app's folder\n\n"
        f"It leads to {leads}. deploy reads an app's files only from its folder, or from visible folders of the "
        "same git "
        "work tree.\n\nhint: replace the link by a copy of the file."
    )
    with pytest.raises(OutsideError):
        open_inside(app, "deploy.toml")


def test_without_a_repository_the_folder_is_the_limit(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "shared.toml").write_text("")
    (tmp_path / "app/deploy.toml").symlink_to("../shared.toml")
    with pytest.raises(AppError, match="leads out of the app's folder"):
        read_text(tmp_path / "app", "deploy.toml")


@pytest.mark.parametrize(
    "name", ["../secret", "..", "../../secret", "/etc", "/", "../.git", "../.git/config", "../.venv"]
)
def test_a_path_out_of_the_work_tree_is_refused(app: Path, name: str) -> None:
    if name == "../secret":
        (app.parent / "secret").symlink_to("../secret")
    if name == "..":
        (app.parent / ".git/config").unlink()
        (app.parent / ".git").rmdir()
    with pytest.raises(OutsideError):
        find_inside(app, name)


def test_a_link_to_a_folder_gets_no_exception_for_its_name(app: Path) -> None:
    (app.parent / ".ssh").mkdir()
    (app / ".ssh").symlink_to("../.ssh")
    with pytest.raises(OutsideError):
        find_inside(app, ".ssh")


def test_pipes_sockets_and_folders_are_not_files(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(app)
    os.mkfifo("pipe")
    Path("folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name in ("pipe", "socket", "folder"):
            with pytest.raises(AppError, match=f"^{name} is not a file"):
                read_text(app, name)
            with pytest.raises(OSError, match="not a regular file"):
                open_inside(app, name)


def test_a_file_beyond_the_bound_is_not_read(app: Path) -> None:
    with (app / "large").open("wb") as out:
        out.truncate(LIMIT + 1)
    with pytest.raises(AppError, match=r"^large is too large"):
        read_text(app, "large")
