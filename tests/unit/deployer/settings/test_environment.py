from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildpack.errors import AppError, UsageError
from deployer.settings.environment import (
    local_environment,
    merge_environment,
    parse_assignments,
    parse_build_env,
    parse_env,
    read_env_files,
)


def read(*paths: Path, app: Path | None = None, **environ: str) -> list[dict[str, str]]:
    return read_env_files(paths, app=app, own=app is not None, environ=environ)


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
        "hint: fix it, or begin it with `#`."
    )


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path):
    path = tmp_path / ".env"
    path.write_bytes(b"\xef\xbb\xbfA=1\n")
    assert read(path) == [{"A": "1"}]


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / ".env"
    path.write_bytes(b"A=\xff\n")
    with pytest.raises(AppError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path} is not UTF-8\n\nThe byte at offset 2 is part of no character.\n\n"
        "hint: save the file as UTF-8 and try again."
    )


def test_a_missing_file(tmp_path):
    with pytest.raises(UsageError) as caught:
        read(tmp_path / "none")
    assert str(caught.value) == (f"no such file: {tmp_path}/none\n\nhint: name an existing file of NAME=value lines.")


def test_a_file_expands_what_the_files_before_it_set(tmp_path):
    (tmp_path / ".env").write_text("A=own\nB=own\n")
    (tmp_path / "one").write_text("B=one\nC=${A} ${B}\n")
    (tmp_path / "two").write_text("D=${A} ${B} ${C}\n")

    files = read(tmp_path / "one", tmp_path / "two", app=tmp_path)

    assert files[1:] == [{"B": "one", "C": "own one"}, {"D": "own one own one"}]
    assert read(tmp_path / "two", tmp_path / "one") == [{"D": "  "}, {"B": "one", "C": " one"}]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("PASSWORD=hunter2\n")
    (tmp_path / "app/conf").mkdir(parents=True)
    return tmp_path / "secret"


@pytest.mark.parametrize("through", ["app", "work/../app", "link", "link/conf/.."])
def test_a_file_in_the_app_s_folder_does_not_lead_out(through, secret, tmp_path, monkeypatch):
    app = tmp_path / "app"
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to("app")
    (app / "build.env").symlink_to(secret)
    (app / "folder").symlink_to("..")
    (app / "linked.env").symlink_to("conf/real.env")
    (app / "conf/real.env").write_text("A=1\n")
    monkeypatch.chdir(tmp_path)

    for name in ("build.env", "folder/secret"):
        with pytest.raises(AppError) as caught:
            read(Path(through, name), app=Path("app"))
        assert str(caught.value).startswith(
            f"{Path(through, name)} is a link that leads out of the app's folder\n\nIt leads to {secret}."
        )
    assert read(Path(through, "linked.env"), app=Path("app")) == [{"A": "1"}]


def test_a_file_in_the_app_s_work_tree_does_not_lead_out(secret, tmp_path):
    work = tmp_path / "app"
    (work / ".git").mkdir()
    (work / "service").mkdir()
    (work / "build.env").symlink_to(secret)
    (work / ".env.build").write_text("A=1\n")

    with pytest.raises(AppError) as caught:
        read(work / "build.env", app=work / "service")
    assert caught.value.exit_code == 10
    assert read(work / ".env.build", app=work / "service") == [{"A": "1"}]


def test_a_link_elsewhere_is_the_user_s_own(secret, tmp_path):
    (tmp_path / "mine.env").symlink_to(secret)

    assert read(tmp_path / "mine.env", app=tmp_path / "app") == [{"PASSWORD": "hunter2"}]


def test_a_pipe_in_the_app_s_folder_is_not_waited_for(secret, tmp_path):
    os.mkfifo(tmp_path / "app/build.env")

    with pytest.raises(AppError, match="is not a file"):
        read(tmp_path / "app/build.env", app=tmp_path / "app")


def test_variables_of_the_build_expand_nothing_of_this_environment(tmp_path):
    (tmp_path / "build.env").write_text("OWN=1\nLEAK=${SECRET}${OWN}\n")

    found = parse_build_env(["GIVEN"], {"SECRET": "x", "GIVEN": "2"}, folder=tmp_path, files=[f"{tmp_path}/build.env"])

    assert found == {"OWN": "1", "LEAK": "1", "GIVEN": "2"}


def test_assignments():
    assert parse_assignments(["A=1", "B=", "C=x=y", "A=2"]) == {"A": "2", "B": "", "C": "x=y"}


@pytest.mark.parametrize("text", ["A", "=1", "A=\0"])
def test_an_operand_that_sets_no_variable(text):
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


def test_variables_that_confuse_an_interpreter_are_passed_on_only_with_an_option():
    environ = {"PYTHONHOME": "/x", "__PYVENV_LAUNCHER__": "/x", "XDG_RUNTIME_DIR": "/run/user/1"}
    assert not environ.keys() & local(environ).keys()
    assert local(environ, given={"PYTHONHOME": "/y"})["PYTHONHOME"] == "/y"
    assert local(environ, files=[{"XDG_RUNTIME_DIR": "/z"}])["XDG_RUNTIME_DIR"] == "/z"


def test_the_shell_s_python_path_comes_after_the_app_s_folder():
    assert local({"PYTHONPATH": "/x:/y"})["PYTHONPATH"] == "/home/app:/x:/y"
    assert "PYTHONPATH" not in local({"PYTHONPATH": ""})
    assert local({"PYTHONPATH": "/x"}, given={"PYTHONPATH": "src"})["PYTHONPATH"] == "src"


def test_the_option_p_wins_over_every_port():
    env = {"PORT": "1"}
    assert local(env, files=[{"PORT": "2"}])["PORT"] == "1"
    assert local(env, given={"PORT": "3"})["PORT"] == "3"
    assert local(env, given={"PORT": "3"}, port=4)["PORT"] == "4"
