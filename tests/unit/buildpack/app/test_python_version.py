"""The choice of a Python version: precedence, origin, and errors."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from buildpack.app.indexes import PYPI
from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.app.python_version import (
    PythonRequest,
    allowed_python,
    check_version,
    parse_python_version_file,
    parse_runtime_txt,
    read_python_version,
)
from buildpack.errors import AppError
from buildpack.errors.lock import lock_of_another_python

TODAY = date(2025, 11, 20)


def lock(version: str | None = None, full: str | None = None) -> Lock:
    return Lock(packages=(), sources=(PYPI,), python_version=version, python_full_version=full)


def failure(text: str) -> str:
    with pytest.raises(AppError) as caught:
        parse_python_version_file(text)
    return str(caught.value)


def test_the_first_that_speaks_decides(tmp_path: Path) -> None:
    both = lock("3.10", "3.11.4")
    assert read_python_version(tmp_path, None, today=TODAY) == (None, [])
    assert read_python_version(tmp_path, lock(), today=TODAY) == (None, [])
    assert read_python_version(tmp_path, lock("*"), today=TODAY) == (None, [])
    found, _ = read_python_version(tmp_path, lock("3.12"), today=TODAY)
    assert found == PythonRequest(version="3.12", origin="Pipfile.lock (python_version)")
    found, _ = read_python_version(tmp_path, both, today=TODAY)
    assert found == PythonRequest(version="3.11.4", origin="Pipfile.lock (python_full_version)")
    (tmp_path / ".python-version").write_text("\n# for pyenv\n 3.12.1 \n")
    found, warnings = read_python_version(tmp_path, both, today=TODAY)
    assert (found, warnings) == (PythonRequest(version="3.12.1", origin=".python-version:3"), [])
    (tmp_path / "runtime.txt").write_text("python-3.13\n")
    found, warnings = read_python_version(tmp_path, both, today=TODAY)
    assert found == PythonRequest(version="3.13", origin="runtime.txt")
    assert warnings == [
        (
            "runtime.txt asks for Python 3.13 and .python-version:3 for 3.12.1: runtime.txt counts; remove "
            "runtime.txt, and write the version that you mean into .python-version."
        )
    ]
    (tmp_path / ".python-version").write_text("3.13.1\n")
    assert read_python_version(tmp_path, both, today=TODAY)[1] == [
        "runtime.txt is deprecated: remove it, and write `3.13` into .python-version, which pyenv and uv read too."
    ]


@pytest.mark.parametrize(
    "text", ["python-3.12.4 # the last one\n", "# Heroku\n\npython-3.12.4\n", "\r\npython-3.12.4\r\n#\r\n"]
)
def test_runtime_txt_may_have_comments(text: str) -> None:
    assert parse_runtime_txt(text) == PythonRequest(version="3.12.4", origin="runtime.txt")


@pytest.mark.parametrize(
    ("markers", "direct", "allowed"),
    [
        (None, True, "3.13"),
        ("python_version >= '3.9'", True, "3.13"),
        ("python_version >= '3.14'", False, "3.14"),
        ("python_full_version >= '3.9.1' and python_version < '3.12'", True, "3.11"),
        ("python_version >= '3.8' and python_version < '3.11'", False, "3.13"),
        ("python_version < '3.11'", True, "3.13"),
        ("python_version < '3.11' or python_version >= '3.14'", True, "3.13"),
    ],
)
def test_the_version_that_the_lock_s_packages_allow(markers: str | None, direct: bool, allowed: str) -> None:
    package = LockedPackage(name="one", version="1", hashes=("sha256:0",), markers=markers, requested=direct)
    assert allowed_python(Lock(packages=(package,), sources=()), "3.13") == allowed


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *(("3", ""), ("three", ""), ("3.012", ""), ("1.3.12.1.2", "")),
        *((text, "3.12") for text in ("python-3.12", "3.12.*", ">=3.12", "3.12-dev", '"3.12"', "v3.12")),
        ("python-3.12.4", "3.12.4"),
    ],
)
def test_text_that_is_not_a_version_is_shown_with_the_version_that_it_holds(text: str, meant: str) -> None:
    hint = f"write `{meant}` there." if meant else "write `3.13` there; deploy then takes the newest patch level."
    assert failure(text) == (
        "the Python version in .python-version:1 cannot be read\n\n"
        f"It says `{text}`. A version is `3.13`, or with a patch level `3.13.7`.\n\n"
        f"hint: {hint}"
    )


def test_no_version_at_all() -> None:
    assert failure("# 3.12\n\n") == (
        ".python-version holds no Python version\n\n"
        "It is empty, or holds only comments (lines that begin with `#`).\n\n"
        "hint: write a version such as `3.13` into .python-version, or remove it."
    )


def test_invisible_characters_are_made_visible() -> None:
    assert failure("\u200b3.12\u00a0x") == (
        ".python-version holds characters that do not show\n\n"
        ".python-version:1: <U+200B>3.12<U+00A0>x\n\n"
        "hint: write the version into .python-version again, by hand."
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *((text, "") for text in ("python-3", "python-three", "pypy-3.9", "python-3.12 python-3.13", "3.99")),
        *((text, "python-3.12") for text in ("3.12", "python-3.12.x", "Python-3.12", "python 3.12")),
        ("python==3.12.4", "python-3.12.4"),
    ],
)
def test_runtime_txt_has_its_own_form(text: str, meant: str) -> None:
    with pytest.raises(AppError) as caught:
        parse_runtime_txt(text + "\n")
    assert str(caught.value) == (
        "the Python version in runtime.txt cannot be read\n\n"
        f"It says `{text}`. A version is `python-3.13`, or with a patch level `python-3.13.7`.\n\n"
        f"hint: write `{meant or 'python-3.13'}` there{'' if meant else '; deploy then takes the newest patch level'}."
    )


@pytest.mark.parametrize("text", ["", "# python-3.12\n", "\n"])
def test_a_runtime_txt_without_a_version(text: str) -> None:
    with pytest.raises(AppError) as caught:
        parse_runtime_txt(text)
    assert str(caught.value) == (
        "runtime.txt holds no Python version\n\n"
        "It is empty, or holds only comments (lines that begin with `#`).\n\n"
        "hint: write a version such as `python-3.13` into runtime.txt, or remove it."
    )


def test_a_lock_names_at_least_a_minor_version(tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        read_python_version(tmp_path, lock("3"), today=TODAY)
    assert str(caught.value) == (
        "the Python version in Pipfile.lock (python_version) cannot be read\n\n"
        "It says `3`. A version is `3.13`, or with a patch level `3.13.7`.\n\n"
        'hint: set `python_version = "3.13"` in Pipfile\'s [requires] and run `deploy lock`.'
    )


@pytest.mark.parametrize(
    ("version", "origin", "message"),
    [
        ("3.9.1", "runtime.txt", "2025-10-31|remove runtime.txt and write `3.13` into .python-version"),
        ("3.0", ".python-version:1", "2009-06-27|write `3.13` into .python-version"),
        (
            "2.7.18",
            "Pipfile.lock (python_full_version)",
            '2020-01-01|set `python_full_version = "3.13"` in Pipfile\'s [requires] and run `deploy lock`',
        ),
    ],
)
def test_versions_past_their_end_of_life(version: str, origin: str, message: str) -> None:
    with pytest.raises(AppError) as caught:
        list(check_version(PythonRequest(version=version, origin=origin), today=TODAY))
    ended, _, fix = message.partition("|")
    assert str(caught.value) == (
        f"Python {version} is no longer supported\n\n"
        f"{origin} asks for it. It reached its end of life on {ended} and gets no security fixes; "
        "images need Python 3.10 or later.\n\n"
        f"hint: move to Python 3.13: {fix}."
    )


@pytest.mark.parametrize("version", ["3.16", "4.0", "3.99.1"])
def test_versions_that_nobody_knows(version: str) -> None:
    with pytest.raises(AppError) as caught:
        list(check_version(PythonRequest(version=version, origin=".python-version:1"), today=TODAY))
    assert str(caught.value) == (
        f"deploy does not know Python {version}\n\n"
        ".python-version:1 asks for it. The newest version that deploy knows is 3.15.\n\n"
        f"hint: if {version} has been released, update deploy; else write `3.13` into .python-version."
    )


@pytest.mark.parametrize(
    ("version", "today", "warnings"),
    [
        ("3.10", date(2026, 10, 31), []),
        (
            "3.10",
            date(2026, 11, 1),
            ["Python 3.10 (x) reached its end of life on 2026-10-31 and gets no security fixes; move to 3.13."],
        ),
        ("3.15", date(2026, 9, 30), ["Python 3.15 (x) is due on 2026-10-01; until then it is a preview."]),
        ("3.15", date(2026, 10, 1), []),
        ("3.12.4", TODAY, []),
    ],
)
def test_warnings_depend_on_the_day(version: str, today: date, warnings: list[str]) -> None:
    assert list(check_version(PythonRequest(version=version, origin="x"), today=today)) == warnings


NOTICE = (
    "asks for Python 3.11, and Pipfile.lock was made for 3.10: what a lock holds depends on the version; "
    'write `python_version = "3.11"` into Pipfile\'s [requires] and run `deploy lock`.'
)


@pytest.mark.parametrize(
    ("origin", "begin"), [(".python-version:1", ".python-version:1: this"), ("runtime.txt", "runtime.txt")]
)
def test_a_lock_for_another_python_is_reported_with_one_place(origin: str, begin: str) -> None:
    assert str(lock_of_another_python("3.11", origin, "3.10")) == f"{begin} {NOTICE}"
