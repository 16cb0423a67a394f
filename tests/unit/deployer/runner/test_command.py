"""From a Procfile's command to what exec takes."""

from __future__ import annotations

import os

import pytest

from deployer.runner.command import CommandError, command_argv, resolve_argv


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("gunicorn blasto:APP", ["gunicorn", "blasto:APP"]),
        ("python  -m\thttp.server --bind=0.0.0.0:80", ["python", "-m", "http.server", "--bind=0.0.0.0:80"]),
        ("bin/start@1,2+3%4", ["bin/start@1,2+3%4"]),
    ],
)
def test_simple_commands_need_no_shell(command, argv):
    assert command_argv(command, "/nowhere") == argv


@pytest.mark.parametrize(
    "command",
    [
        "gunicorn 'app:create_app()'",
        "gunicorn -b :$PORT app",
        "migrate && gunicorn app",
        "A=1 gunicorn app",
        "exec gunicorn app",
        "cd src",
        ". bin/env",
        "ls *.py",
        "ls ~",
        "echo a#b",
        "echo {a,b}",
        "echo \\x",
        "true\nfalse",
        "gunicorn \N{LATIN SMALL LETTER E WITH ACUTE}",
        "",
    ],
)
def test_everything_else_goes_to_a_shell(tmp_path, command):
    bash = tmp_path / "bash"
    bash.touch(mode=0o755)
    assert command_argv(command, str(tmp_path)) == [str(bash), "-c", command]


def test_files_are_found_as_exec_would(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "tool").mkdir()
    (tmp_path / "two" / "tool").touch(mode=0o755)
    assert resolve_argv(["tool"], f"{tmp_path}/one:{tmp_path}/two") == f"{tmp_path}/two/tool"
    assert resolve_argv(["./tool"], "", cwd=f"{tmp_path}/two") == "./tool"
    assert resolve_argv([f"{tmp_path}/two/tool"], "") == f"{tmp_path}/two/tool"


@pytest.mark.parametrize(
    ("name", "message", "code"),
    [
        ("nope", "nope: command not found", 127),
        ("", ": command not found", 127),
        ("./nope", "./nope: no such file or directory", 127),
        ("./folder", "./folder: is a directory", 126),
        ("./plain", "./plain: permission denied", 126),
    ],
)
def test_what_cannot_be_started(tmp_path, name, message, code):
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").touch(mode=0o644)
    with pytest.raises(CommandError) as caught:
        resolve_argv([name], str(tmp_path), cwd=str(tmp_path))
    assert (str(caught.value), caught.value.code) == (message, code)


def test_a_file_in_path_that_may_not_be_executed(tmp_path):
    (tmp_path / "plain").touch(mode=0o644)
    with pytest.raises(CommandError) as caught:
        resolve_argv(["plain"], os.fspath(tmp_path))
    assert (str(caught.value), caught.value.code) == (f"{tmp_path}/plain: permission denied", 126)
