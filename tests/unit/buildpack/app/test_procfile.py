"""The Procfile's grammar: every mistake with its caret, every difference from other readers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from buildpack.app.procfile import Process, parse_procfile, read_procfile, select_default
from buildpack.errors import AppError

HINT = (
    "hint: a line is `name: command`, for example `web: gunicorn blasto:APP`; the name holds letters, digits, `-` "
    "and `_`, and each name is there once."
)


def failure(text: str) -> str:
    with pytest.raises(AppError) as caught:
        parse_procfile(text)
    return str(caught.value)


def test_processes_in_the_order_of_the_file() -> None:
    text = (
        "\ufeff# what runs\r\n\r\nweb: gunicorn blasto:APP  # not a comment \r\n   # one\nworker-2:\tcelery: -A 'x y'\n"
    )
    procfile = parse_procfile(text)
    assert procfile.processes == (
        Process(name="web", command="gunicorn blasto:APP  # not a comment", line=3),
        Process(name="worker-2", command="celery: -A 'x y'", line=5),
    )
    assert procfile.warnings == ()


def test_other_line_ends_belong_to_the_command() -> None:
    (process,) = parse_procfile("web: a\x0bb\x0cc\u2028d\x85e\rf").processes
    assert process.command == "a\x0bb\x0cc\u2028d\x85e\rf"


@pytest.mark.parametrize(
    ("names", "default"),
    [
        (["web", "worker"], "web"),
        (["worker", "web"], "web"),
        (["worker"], "worker"),
        (["release", "worker"], "worker"),
        (["clock", "worker"], None),
        (["release"], None),
    ],
)
def test_the_default_is_web_or_the_only_one_besides_release(names: list[str], default: str | None) -> None:
    assert select_default([Process(name=name, command="x") for name in names]) == default


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("web gunicorn", "Procfile:1:4: a colon is missing after `web`\n    web gunicorn\n       ^"),
        ("web", "Procfile:1:4: a colon is missing after `web`\n    web\n       ^"),
        ("  web gunicorn a:b", "Procfile:1:6: a colon is missing after `web`\n      web gunicorn a:b\n         ^"),
        (": gunicorn", "Procfile:1:1: there is no name before the colon\n    : gunicorn\n    ^"),
        ("web:   ", "Procfile:1:5: there is no command after the colon\n    web:\n        ^"),
        ("my worker: x", "Procfile:1:3: a space cannot be in a name\n    my worker: x\n      ^"),
        ("a\tb: x", "Procfile:1:2: a tab cannot be in a name\n    a b: x\n     ^"),
        ("w.b: x", "Procfile:1:2: `.` cannot be in a name\n    w.b: x\n     ^"),
        ("we\u200bb: x", "Procfile:1:3: U+200B cannot be in a name\n    we\ufffdb: x\n      ^"),
        ("-web: x", "Procfile:1:1: a name begins with a letter or digit\n    -web: x\n    ^"),
        ("web_: x", "Procfile:1:4: a name ends with a letter or digit\n    web_: x\n       ^"),
        ("web: a\0b", "Procfile:1:7: a command cannot hold a NUL byte\n    web: a\ufffdb\n          ^"),
        ("b: x\nb: y", "Procfile:2:1: `b` is there already, on line 1\n    b: y\n    ^"),
        ("a" * 64 + ": x", f"Procfile:1:64: a name has at most 63 characters\n    {'a' * 64}: x\n{' ' * 67}^"),
    ],
)
def test_a_mistake_is_shown_with_a_caret(line: str, message: str) -> None:
    assert failure(line) == f"Procfile has a line that cannot be read\n\n{message}\n\n{HINT}"


def test_every_mistake_counts_and_ten_are_shown() -> None:
    said = failure("web: x\n" + "\n".join(f"line{number}" for number in range(2, 14)))
    assert said.startswith(
        "Procfile has 12 lines that cannot be read\n\nProcfile:2:6: a colon is missing after `line2`\n"
    )
    assert said.endswith(f"    line11\n          ^\n\nand 2 more lines\n\n{HINT}")


def test_a_long_line_is_cut_around_the_caret() -> None:
    said = failure("x" * 30 + " " * 5000 + "y" * 5000)
    assert said == (
        "Procfile has a line that cannot be read\n\n"
        f"Procfile:1:31: a colon is missing after `{'x' * 30}`\n    {'x' * 30}\n{' ' * 34}^\n\n{HINT}"
    )
    assert max(len(line) for line in failure("web: x\nweb: " + "y" * 100_000).splitlines()) < 150


def test_a_procfile_without_processes() -> None:
    assert failure("# nothing\n\n") == (
        "Procfile names no process type\n\n"
        "It is empty, or holds only comments, so the image would have nothing to run.\n\n"
        "hint: add a line such as `web: gunicorn blasto:APP`, or remove Procfile, so that deploy looks for an "
        "app object."
    )


def test_another_name_is_what_messages_call_it() -> None:
    with pytest.raises(AppError) as caught:
        parse_procfile("web", name="Procfile.dev")
    assert str(caught.value).startswith("Procfile.dev has a line that cannot be read\n\nProcfile.dev:1:4:")


def test_warnings_tell_who_reads_a_line_otherwise() -> None:
    assert parse_procfile(" web: a\nWork_er: b\nclock :c\n").warnings == (
        "Procfile:1: the line is indented; honcho and dokku skip such a line.",
        "Procfile:2: Cloud Native Buildpacks rename `Work_er` to `work-er`.",
        (
            "Procfile:3: there is a space before the colon; honcho and dokku skip such a line, "
            "and Cloud Native Buildpacks refuse it."
        ),
    )


def test_a_web_that_is_not_web() -> None:
    assert parse_procfile("Web: a\n").warnings == (
        "Procfile:1: only `web` gets requests, here as on Heroku, and this is `Web`; write `web`.",
    )
    assert parse_procfile("web: a\n").warnings == ()


def test_what_honcho_makes_of_each_line_is_what_the_warnings_say() -> None:
    from honcho.environ import parse_procfile as honcho

    text = " web: a\nWork_er: b\nclock : c\nplain: d\n"
    assert dict(honcho(text).processes) == {"Work_er": "b", "plain": "d"}


def test_a_hundred_thousand_lines_take_a_second_at_most() -> None:
    began = time.process_time()
    text = "\n".join(f"p{number}: x" for number in range(100_000))
    assert len(parse_procfile(text).processes) == 100_000
    failure(text.replace(":", ""))
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"web: caf\xe9\n", "Line 1 holds the byte 0xe9."),
        (b"web: x\n\x80", "Line 2 holds the byte 0x80."),
        (
            "web: x".encode("utf-16"),
            "Line 1 holds the byte 0xff. It looks like UTF-16, which PowerShell writes for `>`.",
        ),
    ],
)
def test_a_file_that_is_not_utf8_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "Procfile").write_bytes(content)
    with pytest.raises(AppError) as caught:
        read_procfile(tmp_path)
    assert str(caught.value) == f"Procfile is not UTF-8\n\n{message}\n\nhint: save Procfile as UTF-8."


def test_a_procfile_that_is_a_folder_or_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "Procfile").mkdir()
    with pytest.raises(AppError) as caught:
        read_procfile(tmp_path)
    assert str(caught.value) == (
        "Procfile is not a file\n\ndeploy needs a regular file of this name.\n\nhint: remove or rename Procfile."
    )
    (tmp_path / "Procfile").rmdir()
    (tmp_path / "Procfile").symlink_to("Procfile.prod")
    with pytest.raises(AppError) as caught:
        read_procfile(tmp_path)
    assert str(caught.value) == (
        "Procfile is a link to a file that does not exist\n\nIt points to Procfile.prod.\n\n"
        "hint: fix the link, or replace it by a file."
    )


def test_a_procfile_larger_than_any_real_one(tmp_path: Path) -> None:
    with (tmp_path / "Procfile").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(AppError) as caught:
        read_procfile(tmp_path)
    assert str(caught.value) == (
        "Procfile is too large\n\nIt has 1,073,741,824 bytes, and deploy reads at most 16,777,216.\n\n"
        "hint: check that Procfile is the right file."
    )
