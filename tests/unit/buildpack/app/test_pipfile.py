"""Pipfile: its hash by both of pipenv's algorithms, and the line of each entry."""

from __future__ import annotations

import pytest

from buildpack.app.lockfile import canonical_name
from buildpack.app.pipfile import Wanted, parse_pipfile, pipfile_hashes
from buildpack.errors import AppError

PIPFILE = """\
[[source]]
name = "pypi"
url = "https://pypi.org/simple"
verify_ssl = true

[packages]
Flask = "*"
"Zope.Interface" = {version = ">=5", extras = ["tésts"], index = "pypi"}
my_pkg = {git = "https://example.org/x.git", ref = "main", editable = true}

[dev-packages]
PyTest = "<8"

[docs]
Sphinx_RTD-theme = "*"

[requires]
python_version = "3.11"

[scripts]
x = "y"

[pipenv]
allow_prereleases = true
"""


def test_hashes_are_those_that_pipenv_computes() -> None:
    """Pipenv 2023.12.1 gave the first for this file, 2026.10.3 the second."""
    assert pipfile_hashes(parse_pipfile(PIPFILE)) == (
        "105dd350fbd07d313eee3e33b099510afd6e2c42364da0ec35003fbbb48cbfbb",
        "1a6dc93a818f7af261ce34cd467a951548fb29712ca16dd7148ad37f8a53d104",
    )


def test_a_pipfile_without_a_source_has_pypi_in_its_hash() -> None:
    """Pipenv 2023.12.1 gave it."""
    assert pipfile_hashes(parse_pipfile('[packages]\nflask = "*"\n'))[0] == (
        "f226f2c246fa4694a5658fd6793e384e9b5ea4b2502a4da2f7d0a795e3efb63f"
    )


@pytest.mark.parametrize("text", ["day = 2020-01-01\n[packages]\n", "note = 1\n", "[docs]\nx = 12:00:00\n"])
def test_what_pipenv_could_not_hash_has_no_hash(text: str) -> None:
    assert pipfile_hashes(parse_pipfile(text)) == ()


def test_entries_know_their_line() -> None:
    text = (
        "[[source]]\nname = 'x'\n\n[packages]\n# flask = 1\n"
        "'Flask' = '*'\n  \"my.pkg\"={version='>1'}\nx.version = '2'\n"
        "[packages.Big_One]\nversion = '3'\nmarkers = 'a'\n[dev-packages]\nflask = '1'\n"
    )
    pipfile = parse_pipfile(text)
    assert [(one.name, one.specifier, one.line) for one in pipfile.wanted("default")] == [
        ("flask", "", 6),
        ("my-pkg", ">1", 7),
        ("x", "2", 8),
        ("big-one", "3", 9),
    ]
    assert [(one.name, one.line) for one in pipfile.wanted("develop")] == [("flask", 13)]


def test_markers_are_joined_from_all_keys() -> None:
    def markers(**table: str) -> str | None:
        return Wanted(name="x", table=table, line=0).markers

    assert markers(version="*") is None
    assert markers(sys_platform="== 'win32'") == "sys_platform == 'win32'"
    assert markers(markers="a == 'b'") == "a == 'b'"
    assert markers(markers="a == 'b'", os_name="!= 'nt'") == "(a == 'b') and (os_name != 'nt')"


def test_names_are_made_canonical() -> None:
    assert canonical_name("Zope.__Interface-X") == "zope-interface-x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[packages]\nflask = "*\n',
            (
                "Pipfile is not valid TOML\n\nPipfile:2:11: illegal character '\\n'\n"
                '    flask = "*\n              ^\n\n'
                "hint: fix Pipfile; the format is described at https://toml.io."
            ),
        ),
        (
            "[packages]\nflask = [1,",
            (
                "Pipfile is not valid TOML\n\nPipfile:2:12: invalid value\n    flask = [1,\n               ^\n\n"
                "hint: fix Pipfile; the format is described at https://toml.io."
            ),
        ),
        (
            "<<<<<<< HEAD\n[packages]\n",
            (
                "Pipfile is not valid TOML\n\nPipfile:1:1: invalid statement\n    <<<<<<< HEAD\n    ^\n\n"
                "It is the mark of a merge conflict in Pipfile.\n\n"
                "hint: fix Pipfile; the format is described at https://toml.io."
            ),
        ),
        (
            'packages = 1\n[dev-packages]\nflask = 1\n"a\\nb" = []\n',
            (
                "Pipfile has 3 entries that cannot be used\n\n  - Pipfile: `packages` is not a table\n"
                "  - Pipfile:3: flask is neither a version nor a table\n"
                "  - Pipfile: a\\nb is neither a version nor a table\n\n"
                'hint: an entry is `name = "*"`, or `name = {version = "*"}`.'
            ),
        ),
        (
            r'"a" = "\u0000"',
            (
                "Pipfile is not valid TOML\n\n"
                "Pipfile: a text has NUL or half a surrogate pair in it, which paths and variables cannot have\n\n"
                "hint: fix Pipfile; the format is described at https://toml.io."
            ),
        ),
        (
            "x = " + "1" * 5000,
            (
                "Pipfile is not valid TOML\n\nPipfile: a number has thousands of digits\n\n"
                "hint: fix Pipfile; the format is described at https://toml.io."
            ),
        ),
    ],
)
def test_text_that_cannot_be_read_is_shown(text: str, message: str) -> None:
    with pytest.raises(AppError) as caught:
        parse_pipfile(text)
    assert str(caught.value) == message
