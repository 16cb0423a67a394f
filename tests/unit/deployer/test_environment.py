from __future__ import annotations

from pathlib import Path

import pytest

from buildpack.errors import AppError, UsageError
from deployer.environment import local_environment, merge_environment, parse_assignments, parse_env, read_env_file


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("A=foo bar", "A", "foo bar"),
        ("export A=1", "A", "1"),
        ("A=", "A", ""),
        ("A=it's", "A", "it's"),
        ("A='it is'", "A", "it is"),
        ("A = spaced  # comment", "A", "spaced"),
        ("A=a#b", "A", "a#b"),
        ('A="two\\nlines"', "A", "two\nlines"),
        ('A="two\nlines"', "A", "two\nlines"),
        ("A=${HOME_OF}/x", "A", "/home/x"),
        ("A=${NOBODY:-else}", "A", "else"),
        ("A=1\r\n", "A", "1"),
    ],
)
def test_what_python_dotenv_reads(line, name, value):
    assert parse_env(line, Path(".env"), environ={"HOME_OF": "/home"}) == {name: value}


def test_a_name_alone_sets_nothing():
    assert parse_env("A\n# B=1\n\nC=2\n", Path(".env"), environ={}) == {"C": "2"}


def test_expansion_looks_at_the_environment_first_and_then_at_the_file():
    text = "A=file\nB=${A}\nC=own\nD=${C}\n"
    assert parse_env(text, Path(".env"), environ={"A": "process"}) == {
        "A": "file",
        "B": "process",
        "C": "own",
        "D": "own",
    }


def test_every_line_that_cannot_be_read_is_named_and_none_is_shown():
    with pytest.raises(AppError) as caught:
        parse_env("A=1\n\n\nB='open\nC=2\nsome words\n", Path("app/.env"), environ={})
    assert str(caught.value) == (
        "app/.env has 2 lines that cannot be read\n\n"
        "app/.env:4, app/.env:6: a line is NAME=value; a quote that opens must close, and nothing may follow it.\n\n"
        "hint: mend it, or begin it with `#`."
    )


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    path = tmp_path / ".env"
    path.write_bytes(b"\xef\xbb\xbfA=1\n")
    assert read_env_file(path, environ={}) == {"A": "1"}


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / ".env"
    path.write_bytes(b"A=\xff\n")
    with pytest.raises(AppError) as caught:
        read_env_file(path, environ={})
    assert str(caught.value) == (
        f"{path} is not UTF-8\n\nThe byte at offset 2 is part of no character.\n\n"
        "hint: save the file as UTF-8 and try again."
    )


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_env_file(tmp_path / "none", environ={})
    assert str(caught.value) == (f"no such file: {tmp_path}/none\n\nhint: name an existing file of NAME=value lines.")


def test_assignments():
    assert parse_assignments(["A=1", "B=", "C=x=y", "A=2"]) == {"A": "2", "B": "", "C": "x=y"}


@pytest.mark.parametrize("text", ["A", "=1", "A=\0"])
def test_what_sets_no_variable(text):
    with pytest.raises(UsageError):
        parse_assignments([text])


def test_the_command_line_wins_over_the_environment_over_files_over_defaults():
    merged = merge_environment(
        given={"A": "given"},
        environ={"A": "process", "B": "process"},
        files=[{"A": "one", "B": "one", "C": "one", "D": "one"}, {"D": "two"}],
        defaults={"A": "default", "E": "default"},
    )
    assert merged == {"A": "given", "B": "process", "C": "one", "D": "two", "E": "default"}


def local(environ, *, given=None, files=(), port=None) -> dict[str, str]:
    return local_environment(
        given=given or {},
        environ=environ,
        files=files,
        port=port,
        default_port=5006,
        folder=Path("/home/app"),
        venv=Path("/store/env"),
    )


def test_the_virtual_environment_comes_first():
    env = local({"PATH": "/usr/bin", "VIRTUAL_ENV": "/another"})
    assert env == {
        "PATH": "/store/env/bin:/usr/bin",
        "VIRTUAL_ENV": "/store/env",
        "PORT": "5006",
        "PYTHONUNBUFFERED": "1",
    }
    assert local({})["PATH"] == "/store/env/bin:/usr/local/bin:/usr/bin:/bin"


def test_what_leads_an_interpreter_astray_is_not_handed_on_unless_said():
    environ = {"PYTHONHOME": "/x", "__PYVENV_LAUNCHER__": "/x", "XDG_RUNTIME_DIR": "/run/user/1"}
    assert not environ.keys() & local(environ).keys()
    assert local(environ, given={"PYTHONHOME": "/y"})["PYTHONHOME"] == "/y"
    assert local(environ, files=[{"XDG_RUNTIME_DIR": "/z"}])["XDG_RUNTIME_DIR"] == "/z"


def test_the_shell_s_python_path_stands_behind_the_app_s_folder():
    assert local({"PYTHONPATH": "/x:/y"})["PYTHONPATH"] == "/home/app:/x:/y"
    assert "PYTHONPATH" not in local({"PYTHONPATH": ""})
    assert local({"PYTHONPATH": "/x"}, given={"PYTHONPATH": "src"})["PYTHONPATH"] == "src"


def test_the_option_p_wins_over_every_port():
    env = {"PORT": "1"}
    assert local(env, files=[{"PORT": "2"}])["PORT"] == "1"
    assert local(env, given={"PORT": "3"})["PORT"] == "3"
    assert local(env, given={"PORT": "3"}, port=4)["PORT"] == "4"
