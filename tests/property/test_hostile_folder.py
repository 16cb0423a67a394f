"""Laws of an app's folder: a file with any content is read, or refused with a message that names what to fix."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.app.read import examine_app
from buildpack.errors import BuildpackError
from buildpack.python.credentials import open_source
from buildpack.python.editable import link_app
from buildpack.python.select import select_packages
from buildpack.python.target import Target

TARGET = Target(version="3.11.7", machine="x86_64", libc=("glibc", 2, 36))

FILES: dict[str, str] = {
    "Pipfile": '[[source]]\nurl = "https://pypi.org/simple"\nverify_ssl = true\nname = "pypi"\n\n'
    '[packages]\nflask = "*"\nlib = {path = "."}\nwin = {version = "*", sys_platform = "== \'win32\'"}\n\n'
    '[requires]\npython_version = "3.11"\n',
    "Pipfile.lock": json.dumps(
        {
            "_meta": {
                "hash": {"sha256": "0" * 64},
                "pipfile-spec": 6,
                "requires": {"python_version": "3.11"},
                "sources": [{"name": "pypi", "url": "https://${USER}:${WORD}@pypi.org/simple", "verify_ssl": True}],
            },
            "default": {
                "flask": {
                    "hashes": ["sha256:" + "0" * 64],
                    "index": "pypi",
                    "markers": "python_version >= '3.8'",
                    "version": "==3.0.0",
                    "extras": ["async"],
                },
                "lib": {"path": ".", "editable": True},
                "commit": {"git": "https://${USER}@host/x.git", "ref": "0" * 40, "subdirectory": "a"},
                "byfile": {"file": "https://host/x-1-py3-none-any.whl#sha256=" + "0" * 64},
            },
            "develop": {},
        }
    ),
    "Procfile": "web: gunicorn app:app --bind 0.0.0.0:$PORT\nworker: python work.py\nrelease: python -m migrate\n",
    "deploy.toml": 'name = "fuzzed"\nstack = "host"\n',
    "app.json": '{"formation": {"web": {"quantity": 2}}, "env": {"A": {"value": "b"}}}',
    ".python-version": "3.11\n",
    "runtime.txt": "python-3.11.7\n",
    ".dockerignore": "*.log\n!keep.log\n[a-z]*/tmp\n",
    ".slugignore": "docs/**\n",
    "app.py": "import flask\napp = flask.Flask(__name__)\nDATABASE = 'x'\n",
    "manage.py": "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site.settings')\n",
    "pyproject.toml": '[project]\nname = "lib"\nversion = "1"\n[project.scripts]\nrun = "lib:main"\n',
    "setup.cfg": "[metadata]\nversion = 1\n[options.entry_points]\nconsole_scripts =\n    run2 = lib:main\n",
}


class Repeated(str):
    """A character many times over; Hypothesis warns of values that it would print at length."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{self[0]!r} * {len(self)}"


ODD = st.sampled_from(
    ["", " ", "\0", "\x1b[2J", "\r", "\n", "..", "/", "-", "é", "\u202e", "\ud800", "${", "$X", "%", "=", ":", "'", '"',
     "[", "]", "{", "}", "#", "*", Repeated("9" * 5000), Repeated("l" * 300), Repeated("x" * 70_000),
     "web:", "!", "\\", "\ufeff", "1e999", "NaN", "null"]
)  # fmt: skip
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | ODD
    | st.lists(ODD, max_size=3)
    | st.dictionaries(st.text(max_size=6) | ODD, ODD, max_size=3)
)
JSON_FILES = ("Pipfile.lock", "app.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("fuzzed") / "fuzzed"
    place.mkdir()
    yield place
    shutil.rmtree(place)


def look(folder: Path, name: str, content: bytes) -> None:
    """Put the files there, one of them changed, and read the app as a build does before it fetches anything."""
    for other, text in FILES.items():
        if other != "runtime.txt" or name == other:
            (folder / other).write_text(text)
        else:
            (folder / other).unlink(missing_ok=True)
    (folder / name).write_bytes(content)
    found = examine_app(folder, environ={"USER": "u", "WORD": "w", "PATH": os.environ["PATH"]}, today=date(2026, 1, 1))
    for problem in found.problems:
        assert problem.exit_code in {2, 10, 20, 70}, problem
        said = str(problem)
        said.encode()
        assert said.replace("\n", "").isprintable(), repr(said)
        assert len(said) < 200_000, "nobody reads that"
        assert "hint: " in said
    for notice in found.notices:
        assert str(notice).isprintable(), notice
    if found.app is not None:
        lock = found.app.lock
        with suppress(BuildpackError):
            select_packages(lock.packages, TARGET)
        with suppress(BuildpackError):
            for source in lock.sources:
                open_source(source, {"USER": "u", "WORD": "w"})


@pytest.mark.parametrize("name", sorted(FILES))
@given(places=st.lists(st.tuples(st.integers(0, 1 << 12), st.binary(max_size=3) | ODD), max_size=5))
def test_any_bytes_in_any_file(folder, name, places):
    raw = bytearray(FILES[name].encode())
    for place, piece in places:
        at = place % (len(raw) + 1)
        new = piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass")
        raw[at : at + place % 3] = new
    look(folder, name, bytes(raw))


@pytest.mark.parametrize("name", JSON_FILES)
@given(data=st.data())
def test_any_value_in_place_of_any_other(folder, name, data):
    document = json.loads(FILES[name])
    for _ in range(data.draw(st.integers(1, 3))):
        paths = list(places_in(document))
        path = data.draw(st.sampled_from(paths))
        change(document, path, data.draw(VALUES), data.draw(st.none() | st.text(max_size=6) | ODD))
    look(folder, name, json.dumps(document).encode("utf-8", "surrogatepass"))


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places_in(inner, (*path, key))


def change(document: Any, path: tuple[Any, ...], value: Any, key: str | None) -> None:
    """Put a value in another's place; or, with a key, beside it."""
    for step in path[:-1]:
        document = document[step]
    if key is not None and isinstance(document, dict):
        document[key] = value
    else:
        document[path[-1]] = value


TOML = st.sampled_from(
    ["1", "-0.0", "nan", "1979-05-27", "07:32:00", '""', '"x"', "[]", "{}", '["a", 1]', "{version = 1}", "true",
     '"""\n"""', '{git = "-x"}', '{path = "/"}', '{file = "x"}', '"\\u0000"', '"\\u001b"', "[[[]]]",
     '{version = "*", extras = "x"}', '{markers = "(("}', "9" * 30, "0x" + "f" * 4000]
)  # fmt: skip


@pytest.mark.parametrize("name", ["Pipfile", "deploy.toml", "pyproject.toml"])
@given(data=st.data())
def test_any_value_of_any_key(folder, name, data):
    lines = FILES[name].splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition("=")[0].strip() if "=" in lines[at] else data.draw(st.text(max_size=5))
        lines[at] = f"{key} = {data.draw(TOML)}"
    look(folder, name, "\n".join(lines).encode("utf-8", "surrogatepass"))


@given(data=st.data())
def test_any_project_becomes_a_path_file_or_is_refused(folder, tmp_path_factory, data):
    """Of a lock's `path = "."`: what the folder declares goes into a wheel."""
    from buildpack.app.lockfile import LockedPackage
    from buildpack.python.wheel import read_wheel
    from tests.support.wheels import LAYOUT

    for name in ("pyproject.toml", "setup.cfg"):
        lines = FILES[name].splitlines()
        at = data.draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition("=")[0].strip() or "x"
        lines[at] = f"{key} = {data.draw(TOML | ODD)}"
        (folder / name).write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    store = tmp_path_factory.mktemp("store")
    with suppress(BuildpackError):
        wheel = link_app(LockedPackage(name="lib", path="."), app=folder, place="/app", folder=store)
        contents = read_wheel(store / wheel.sha256 / wheel.filename, layout=LAYOUT)
        assert all(entry.path.startswith("opt/venv/") for entry in contents.entries)
    assert all(len(path.relative_to(store).parts) <= 2 for path in store.rglob("*"))
