"""The app object, in every shape it comes in; never by importing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildpack.app.detect import AppObject, Detection, detect_app
from buildpack.app.source import read_source

FLASK = "from flask import Flask\n"


def detect(folder: Path, files: dict[str, str], *, name: str = "blasto", commands: tuple[str, ...] = ()) -> Detection:
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return detect_app(read_source(folder, environ=os.environ), name=name, commands=commands)


def target(folder: Path, files: dict[str, str], *, name: str = "blasto") -> str | None:
    found = detect(folder, files, name=name).found
    return found.target if found else None


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("APP = Flask(__name__)", "APP"),
        ("app = create()", "app"),
        ("application = x.y.Z()", "application"),
        ("app: Flask = Flask(__name__)", "app"),
        ("app = application = Flask(__name__)", "app"),
        ("application = Flask(__name__)\nAPP = Flask(__name__)", "APP"),
        ("from x import app", "app"),
        ("from x import y as app", "app"),
        ("try:\n    from x import app\nexcept ImportError:\n    app = None", "app"),
        ("if DEBUG:\n    app = debug(app)\nelse:\n    app = plain()", "app"),
        ("with config():\n    app = Flask(__name__)", "app"),
        ("def application(environ, start_response):\n    return []", "application"),
        ("def create_app(config=None):\n    return 1", "create_app()"),
        ("def make_app(*args, **options):\n    return 1", "make_app()"),
        ("from x import create_app", "create_app()"),
        ("def create_app():\n    pass\napp = create_app()", "app"),
    ],
)
def test_what_counts_as_one(tmp_path: Path, content: str, name: str) -> None:
    assert target(tmp_path, {"app.py": content}) == f"app:{name}"


@pytest.mark.parametrize(
    "content",
    [
        "app = 1",
        "app = None",
        "app = other",
        "import app",
        "import x as app",
        "App = Flask(__name__)",
        "app = Flask(__name__)\napp = None",
        "def f():\n    app = Flask(__name__)",
        "class X:\n    app = Flask(__name__)",
        "if __name__ == '__main__':\n    app = Flask(__name__)",
        "def create_app(config):\n    return 1",
        "def create_app(*, config):\n    return 1",
        "async def create_app():\n    return 1",
        "def app():\n    return 1",
        "app = typer.Typer()",
        "app = Celery('tasks')",
        "# app = Flask(__name__)\n'app'",
    ],
)
def test_what_does_not(tmp_path: Path, content: str) -> None:
    found = detect(tmp_path, {"app.py": content})
    assert (found.found, found.choices, found.broken) == (None, (), ())


def test_nothing_is_imported(tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'trap')!r}, 'w')\n"
    assert target(tmp_path, {"app.py": trap + "app = f()"}) == "app:app"
    assert not (tmp_path / "trap").exists()


class TestChoosing:
    def test_a_package_named_like_the_folder_wins(self, tmp_path: Path) -> None:
        files = {"my_app/__init__.py": "app = f()", "other/__init__.py": "app = f()", "app.py": "app = f()"}
        assert target(tmp_path, files, name="My-App") == "my_app:app"

    def test_an_object_wins_over_a_factory(self, tmp_path: Path) -> None:
        assert target(tmp_path, {"blasto/__init__.py": "def create_app(): pass", "wsgi.py": "app = f()"}) == "wsgi:app"

    def test_the_package_itself_wins_over_its_modules(self, tmp_path: Path) -> None:
        files = {"blasto/__init__.py": "from .app import make\nAPP = make()", "blasto/app.py": "def create_app(): pass"}
        assert target(tmp_path, files) == "blasto:APP"

    def test_a_module_of_a_package(self, tmp_path: Path) -> None:
        assert target(tmp_path, {"x/__init__.py": "", "x/wsgi.py": "application = f()"}) == "x.wsgi:application"

    def test_a_factory_of_the_package_named_like_the_folder(self, tmp_path: Path) -> None:
        files = {
            "blasto/__init__.py": "",
            "blasto/app.py": "def create_app(): pass",
            "x/app.py": "def create_app(): pass",
        }
        assert target(tmp_path, files) == "blasto.app:create_app()"

    def test_the_way_in_is_what_imports_the_other(self, tmp_path: Path) -> None:
        assert target(tmp_path, {"app.py": "app = f()", "wsgi.py": "from app import app"}) == "wsgi:app"

    def test_a_package_that_imports_its_own_object(self, tmp_path: Path) -> None:
        assert target(tmp_path, {"x/__init__.py": "from .app import app", "x/app.py": "app = f()"}) == "x:app"

    def test_an_imported_module_is_not_an_object(self, tmp_path: Path) -> None:
        files = {"x/__init__.py": "from . import app", "x/app.py": "application = f()"}
        assert target(tmp_path, files) == "x.app:application"
        assert target(tmp_path, {"main.py": "from x import app", **files}) == "x.app:application"

    def test_several_are_listed(self, tmp_path: Path) -> None:
        found = detect(tmp_path, {"a/__init__.py": "app = f()", "b/__init__.py": "\napp = f()"})
        assert found.found is None
        assert [(one.target, one.path, one.line) for one in found.choices] == [
            ("a:app", "a/__init__.py", 1),
            ("b:app", "b/__init__.py", 2),
        ]

    @pytest.mark.parametrize(
        "command", ["gunicorn b:app", "gunicorn --workers 2 'b:app' -k x", "A=1 exec gunicorn b:app"]
    )
    def test_a_command_of_the_procfile_chooses(self, tmp_path: Path, command: str) -> None:
        files = {"a/__init__.py": "app = f()", "b/__init__.py": "app = f()"}
        found = detect(tmp_path, files, commands=("python work.py", command)).found
        assert found is not None
        assert found.target == "b:app"


class TestLayouts:
    def test_django(self, tmp_path: Path) -> None:
        wsgi = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"
        files = {"manage.py": "", "mysite/__init__.py": "", "mysite/wsgi.py": wsgi, "polls/__init__.py": ""}
        assert target(tmp_path, files) == "mysite.wsgi:application"

    def test_src(self, tmp_path: Path) -> None:
        assert detect(tmp_path, {"src/blasto/__init__.py": "APP = f()"}).found == AppObject(
            target="blasto:APP", path="src/blasto/__init__.py", line=1, search="src"
        )

    def test_asgi_is_recognised_even_through_an_import(self, tmp_path: Path) -> None:
        files = {"x/__init__.py": "from .main import app", "x/main.py": "from fastapi import FastAPI\napp = FastAPI()"}
        found = detect(tmp_path, files).found
        assert found is not None
        assert (found.target, found.interface) == ("x:app", "asgi")

    def test_tests_and_examples_are_not_looked_at(self, tmp_path: Path) -> None:
        files = {"tests/__init__.py": "app = f()", "tests/app.py": "app = f()", "docs/main.py": "app = f()"}
        assert detect(tmp_path, files) == Detection(found=None)

    def test_ignored_files_are_not_looked_at(self, tmp_path: Path) -> None:
        assert (
            target(tmp_path, {"old/__init__.py": "app = f()", ".dockerignore": "old", "app.py": "app = f()"})
            == "app:app"
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("app = f(\n", "app.py:1: '(' was never closed"),
        ("print 'app'\n", "app.py:1: Missing parentheses in call to 'print'. Did you mean print(...)?"),
        ("x = 1\n\0app = 1\n", "app.py:1: source code string cannot contain null bytes"),
        ("app = " + "(" * 5000, "app.py:1: too many nested parentheses"),
        ("# coding: klingon\napp = f()\n", "app.py:1: unknown encoding: klingon"),
    ],
)
def test_a_file_that_is_not_python_is_reported(tmp_path: Path, content: str, message: str) -> None:
    assert detect(tmp_path, {"app.py": content}).broken == (message,)


def test_nesting_that_is_too_deep_for_the_parser_is_reported(tmp_path: Path) -> None:
    (broken,) = detect(tmp_path, {"app.py": "app = " + "-" * 100_000 + "1"}).broken
    assert broken.startswith("app.py:1: ")


def test_invalid_escapes_in_the_app_are_its_own_affair(tmp_path: Path) -> None:
    assert target(tmp_path, {"app.py": "x = '\\d'\napp = f()"}) == "app:app"
