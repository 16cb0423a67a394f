"""What `deploy init` decides to write, and what it takes over from other tools."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from buildpack.app.pipfile import parse_pipfile
from buildpack.errors import UsageError
from deployer.scaffold.author import author_name
from deployer.scaffold.layout import Layout, Wishes, plan_layout
from deployer.scaffold.naming import package_name
from deployer.scaffold.requirements import parse_requirements

FLASK = "from flask import Flask\n\napp = Flask(__name__)\n"
FASTAPI = "from fastapi import FastAPI\n\nAPP = FastAPI()\n"


@pytest.mark.parametrize(
    ("folder", "name"),
    [("blasto", "blasto"), ("my-app", "my_app"), ("My App 2", "my_app_2"), ("a.b", "a_b"), ("app", "app")],
)
def test_a_package_is_named_like_the_folder(folder, name):
    assert package_name(folder) == name


@pytest.mark.parametrize(
    ("folder", "what", "why"),
    [
        ("2048", "'2048' is no name for a Python package", "begins with a letter"),
        ("\u00e9t\u00e9", "'\u00e9t\u00e9' is no name for a Python package", "begins with a letter"),
        ("class", "the package cannot be called class", "is a word of Python's own"),
        ("email", "the package cannot be called email", "is a module of Python's standard library"),
        ("flask", "the package cannot be called flask", "is a package that the app depends on"),
        ("tests", "the package cannot be called tests", "is a folder with a meaning of its own"),
    ],
)
def test_names_that_no_package_can_have(folder, what, why):
    with pytest.raises(UsageError) as caught:
        package_name(folder)
    assert caught.value.what == what
    assert why in caught.value.why
    assert "--package" in caught.value.hint
    assert package_name(folder, told="shop") == "shop"


def plan(folder: Path, files: Mapping[str, str] | None = None, **wishes: str) -> Layout:
    for path, text in (files or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return plan_layout(folder, Wishes(python="3.12", host=True, **wishes))


def test_a_new_app(tmp_path):
    layout = plan(tmp_path / "shop")
    assert (layout.fresh, layout.locks, layout.remarks) == (True, True, ())
    assert layout.paths == [
        "shop/__init__.py",
        "shop/app.py",
        "tests/test_shop.py",
        "Pipfile",
        "Procfile",
        ".python-version",
        ".gitignore",
        "deploy.toml",
        "Pipfile.lock",
    ]
    assert layout.files["Procfile"] == "web: gunicorn shop:APP\n"
    assert layout.files[".python-version"] == "3.12\n"
    assert tomllib.loads(layout.files["deploy.toml"]) == {"stack": "host"}


def test_what_is_there_is_left_alone(tmp_path):
    layout = plan(
        tmp_path / "shop", {"README.md": "# Shop\n", ".gitignore": "*.log\n"}, license_text="Do what you like."
    )
    assert layout.fresh, "notes alone are no app"
    assert ".gitignore" not in layout.files
    assert layout.files["LICENSE"] == "Do what you like."


def test_a_name_for_the_image_where_the_folder_gives_none(tmp_path):
    layout = plan(tmp_path / "\u65e5\u672c", package="nihon")
    assert tomllib.loads(layout.files["deploy.toml"]) == {"name": "nihon", "stack": "host"}


def test_an_app_without_a_pipfile(tmp_path):
    layout = plan(tmp_path / "shop", {"web.py": "", "wsgi.py": FLASK})
    assert not layout.fresh
    assert layout.paths == ["Pipfile", "Procfile", "tests/test_app.py", ".python-version", ".gitignore", "Pipfile.lock"]
    assert parse_pipfile(layout.files["Pipfile"]).document["packages"] == {"flask": "*", "gunicorn": "*"}
    assert layout.files["Procfile"] == "web: gunicorn wsgi:app\n"
    assert layout.files["tests/test_app.py"].startswith("from wsgi import app\n")


def test_an_asgi_app_with_requirements(tmp_path):
    files = {
        "src/shop/__init__.py": FASTAPI,
        "requirements.txt": "fastapi>=0.100  # web\n-r lists/more.txt  # all\n-c pins.txt\n"
        "uvicorn[standard]==0.30 \\\n    --hash=sha256:00\n",
        "pins.txt": "",
        "tests/test_shop.py": "",
        "runtime.txt": "python-3.12",
    }
    layout = plan(tmp_path / "shop", files)
    assert layout.paths == ["Pipfile", "Procfile", ".gitignore", "Pipfile.lock"]
    assert parse_pipfile(layout.files["Pipfile"]).document["packages"] == {
        "fastapi": ">=0.100",
        "uvicorn": {"version": "==0.30", "extras": ["standard"]},
    }
    assert layout.files["Procfile"] == "web: uvicorn shop:APP --app-dir src --host 0.0.0.0 --port $PORT\n"
    assert layout.remarks == (
        (
            "Pipfile lacks what requirements.txt has beyond plain packages: "
            "-r lists/more.txt, which is missing; -c pins.txt."
        ),
    )


def test_dependencies_of_a_project(tmp_path):
    layout = plan(
        tmp_path / "shop", {"app.py": FLASK, "pyproject.toml": '[project]\ndependencies = ["flask>=3", "six"]\n'}
    )
    assert parse_pipfile(layout.files["Pipfile"]).document["packages"] == {"flask": ">=3", "six": "*", "gunicorn": "*"}


POETRY = """\
[project]
name = "shop"

[tool.poetry.dependencies]
python = "^3.11"
Flask = "^3.0.2"
six = "1.16.0"
redis = {version = "~5.0", extras = ["hiredis"]}
tool = {git = "https://example.org/tool.git"}
zero = "^0.4"

[tool.poetry.group.dev.dependencies]
black = "*"

[tool.poetry.group.docs.dependencies]
sphinx = "*"

[dependency-groups]
test = ["pytest>=8"]
lint = ["ruff"]
"""


def test_dependencies_of_poetry_and_dependency_groups(tmp_path):
    layout = plan(tmp_path / "shop", {"app.py": FLASK, "pyproject.toml": POETRY})
    document = parse_pipfile(layout.files["Pipfile"]).document
    assert document["packages"] == {
        "Flask": ">=3.0.2,<4",
        "six": "==1.16.0",
        "redis": {"version": ">=5.0,<5.1", "extras": ["hiredis"]},
        "zero": ">=0.4,<0.5",
        "gunicorn": "*",
    }
    assert document["dev-packages"] == {"pytest": ">=8", "black": "*"}
    assert layout.remarks == (
        (
            "Pipfile lacks what pyproject.toml has beyond plain packages: the dependency group lint; tool of Poetry's; "
            "Poetry's group docs."
        ),
    )


def test_dependencies_of_setup_py_and_of_development(tmp_path):
    setup = "from setuptools import setup\nsetup(name='x', install_requires=['flask>=3', 'six'], extras_require={})\n"
    files = {
        "app.py": FLASK,
        "setup.py": setup,
        "requirements-dev.txt": "-r requirements.txt\n-r setup.py\nblack==24.1.0\n",
    }
    layout = plan(tmp_path / "shop", files)
    document = parse_pipfile(layout.files["Pipfile"]).document
    assert document["packages"] == {"flask": ">=3", "six": "*", "gunicorn": "*"}
    assert document["dev-packages"] == {"pytest": "*", "black": "==24.1.0"}
    assert layout.remarks == (
        (
            "Pipfile lacks what setup.py and requirements-dev.txt have beyond plain packages: "
            "extras_require of setup.py; -r requirements.txt, which is missing."
        ),
    )


def test_imports_that_no_list_names(tmp_path):
    files = {"app.py": f"import yaml\nimport odd_thing\n{FLASK}", "requirements.txt": "flask\n"}
    layout = plan(tmp_path / "one", files)
    assert parse_pipfile(layout.files["Pipfile"]).document["packages"] == {"flask": "*", "pyyaml": "*", "gunicorn": "*"}
    assert layout.remarks == (
        "Pipfile gets pyyaml, which app.py:1 imports and requirements.txt does not name.",
        "app.py:2 imports odd_thing: add the package that has it to Pipfile.",
    )
    plan(tmp_path / "two", files)
    wishes = Wishes(python="3.12", host=True)
    layout = plan_layout(tmp_path / "two", wishes, accept=lambda *asked: asked != ("app.py:1", "pyyaml"))
    assert parse_pipfile(layout.files["Pipfile"]).document["packages"] == {"flask": "*", "gunicorn": "*"}


def test_what_cannot_be_decided_is_said(tmp_path):
    layout = plan(tmp_path / "one", {"a/__init__.py": FLASK, "b/__init__.py": FLASK})
    assert layout.remarks == ("there are several app objects (a:app, b:app), so Procfile is yours to write.",)
    layout = plan(tmp_path / "two", {"notes.py": ""})
    assert layout.remarks == ("no app object was found, so Procfile is yours to write: `web: gunicorn package:APP`.",)
    assert "Procfile" not in layout.files


def test_nothing_is_missing_in_what_was_written(tmp_path):
    layout = plan(tmp_path / "shop")
    again = plan(tmp_path / "shop", {**layout.files, "Pipfile.lock": "{}"})
    assert (again.fresh, again.paths, again.remarks) == (False, [], ())


def test_a_dangling_link_is_there_too(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "LICENSE").symlink_to("nowhere")
    assert "LICENSE" not in plan(tmp_path / "shop", license_text="x").files


def test_requirements_that_are_no_plain_packages():
    lines = ["six", "", "# note", "-e .", "tool @ https://example.org/t.whl", "redis>=4; python_version<'3.12'", "a b"]
    entries, left = parse_requirements(lines)
    assert entries == {
        "six": '"*"',
        "redis": '{version = ">=4", markers = "python_version < \\"3.12\\""}',
    }
    assert left == ["-e .", "tool @ https://example.org/t.whl", "a b"]


def test_a_credential_of_a_requirement_is_not_repeated(tmp_path):
    files = {"app.py": FLASK, "requirements.txt": "--index-url https://me:hunter2@example.org/simple\nflask\n"}
    [remark] = plan(tmp_path / "shop", files).remarks
    assert remark == (
        "Pipfile lacks what requirements.txt has beyond plain packages: --index-url https://example.org/simple."
    )


def test_who_a_licence_names(tmp_path):
    assert author_name(tmp_path, {"GIT_AUTHOR_NAME": "Ada"}) == "Ada"
    config = tmp_path / "config"
    config.write_text("[user]\nname = Grace\n")
    settings = {"GIT_CONFIG_GLOBAL": str(config), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CEILING_DIRECTORIES": "/"}
    assert author_name(tmp_path, {**settings, "PATH": "/usr/bin:/bin", "GIT_DIR": str(tmp_path)}) == "Grace"
    config.write_text("")
    assert author_name(tmp_path, {**settings, "PATH": "/usr/bin:/bin", "GIT_DIR": str(tmp_path)}) == "the authors"
