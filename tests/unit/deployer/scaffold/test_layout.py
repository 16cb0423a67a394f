"""The files that `deploy init` plans to write, and the packages that it finds in lists of other tools."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from buildpack.app.pipfile import parse_pipfile
from buildpack.errors import UsageError
from deployer.scaffold.entries import parse_requirements
from deployer.scaffold.layout import Layout, Wishes, author_name, package_name, plan_layout

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
        ("2048", "'2048' is not a name for a Python package", "begins with a letter"),
        ("\u00e9t\u00e9", "'\u00e9t\u00e9' is not a name for a Python package", "begins with a letter"),
        ("class", "the package cannot be called class", "is a keyword of Python"),
        ("email", "the package cannot be called email", "is a module of Python's standard library"),
        ("flask", "the package cannot be called flask", "is a package that the app depends on"),
        ("tests", "the package cannot be called tests", "is a folder with a meaning of its own"),
    ],
)
def test_impossible_names_of_packages(folder, what, why):
    with pytest.raises(UsageError) as caught:
        package_name(folder)
    assert caught.value.what == what
    assert why in caught.value.why
    assert "--package" in caught.value.hint
    assert package_name(folder, given="shop") == "shop"


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


def test_existing_files_do_not_change(tmp_path):
    layout = plan(
        tmp_path / "shop", {"README.md": "# Shop\n", ".gitignore": "*.log\n"}, license_text="Do what you like."
    )
    assert layout.fresh, "notes alone are not an app"
    assert ".gitignore" not in layout.files
    assert layout.files["LICENSE"] == "Do what you like."


def test_a_name_for_the_image_if_the_folder_s_is_not_usable(tmp_path):
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
        "Pipfile leaves out of requirements.txt: -r lists/more.txt, which is missing; -c pins.txt.",
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
        "tool": {"git": "https://example.org/tool.git"},
        "zero": ">=0.4,<0.5",
        "gunicorn": "*",
    }
    assert document["dev-packages"] == {"pytest": ">=8", "black": "*"}
    assert layout.remarks == ("Pipfile leaves out of pyproject.toml: the dependency group lint; Poetry's group docs.",)


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
        "Pipfile leaves out of setup.py: extras_require.",
        "Pipfile leaves out of requirements-dev.txt: -r requirements.txt, which is missing; -r setup.py.",
    )


def test_lists_of_all_kinds_are_taken_over_or_named(tmp_path):
    files = {
        "app.py": FLASK,
        "requirements.txt": "flask==3.0\n",
        "pyproject.toml": '[project]\ndynamic = ["dependencies", "optional-dependencies"]\n'
        '[tool.setuptools.dynamic]\ndependencies = {file = ["lists/run.txt"]}\n'
        '[tool.uv]\ndev-dependencies = ["ruff"]\n[tool.pdm.dev-dependencies]\ntest = ["tox"]\nlint = ["mypy"]\n',
        "lists/run.txt": "Flask>=2\nredis\n",
        "setup.cfg": "[options]\ninstall_requires =\n    celery>=5\n    six\n[options.extras_require]\naws = boto3\n",
        "setup.py": "setup(",
        "requirements/test.txt": "-r ../requirements.txt\nhypothesis\n",
        "requirements/docs.txt": "sphinx\n",
        "requirements.in": "flask\n",
        "environment.yml": "dependencies: [numpy]\n",
    }
    layout = plan(tmp_path / "shop", files)
    document = parse_pipfile(layout.files["Pipfile"]).document
    assert document["packages"] == {"flask": "==3.0", "redis": "*", "celery": ">=5", "six": "*", "gunicorn": "*"}
    assert document["dev-packages"] == {"pytest": "*", "ruff": "*", "tox": "*", "hypothesis": "*"}
    assert layout.remarks == (
        "Pipfile leaves out setup.py, which cannot be read.",
        "Pipfile leaves out environment.yml.",
        "Pipfile leaves out requirements/docs.txt.",
        "Pipfile leaves out of pyproject.toml: the extras, which its build computes; PDM's group lint.",
        "Pipfile leaves out of setup.cfg: the extra aws.",
    )


@pytest.mark.parametrize("name", ["requirements.in", "requirements/base.txt", "requirements/prod.txt"])
def test_a_list_under_another_usual_name_is_taken_over(tmp_path, name):
    layout = plan(tmp_path / "shop", {"app.py": FLASK, name: "flask==3.0\n"})
    assert parse_pipfile(layout.files["Pipfile"]).document["packages"] == {"flask": "==3.0", "gunicorn": "*"}
    assert layout.remarks == ()


def test_imports_that_a_pipfile_without_a_lock_does_not_have(tmp_path):
    files = {"app.py": f"import yaml\nimport jinja2\n{FLASK}", "Pipfile": '[packages]\nflask = "*"\n'}
    assert plan(tmp_path / "shop", files).remarks == (
        "app.py:1 imports yaml, which Pipfile does not have: run `deploy add pyyaml`.",
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


def test_the_author_s_decisions_are_listed(tmp_path):
    layout = plan(tmp_path / "one", {"a/__init__.py": FLASK, "b/__init__.py": FLASK})
    assert layout.remarks == ("there are several app objects (a:app, b:app), so you have to write Procfile.",)
    layout = plan(tmp_path / "two", {"notes.py": ""})
    assert layout.remarks == ("no app object was found, so you have to write Procfile: `web: gunicorn package:APP`.",)
    assert "Procfile" not in layout.files


def test_nothing_is_missing_in_what_was_written(tmp_path):
    layout = plan(tmp_path / "shop")
    again = plan(tmp_path / "shop", {**layout.files, "Pipfile.lock": "{}"})
    assert (again.fresh, again.paths, again.remarks) == (False, [], ())


def test_a_dangling_link_is_there_too(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "LICENSE").symlink_to("nowhere")
    assert "LICENSE" not in plan(tmp_path / "shop", license_text="x").files


def test_requirements_that_are_not_plain_packages():
    lines = ["six", "", "# note", "-e .", "tool @ https://example.org/t.whl", "redis>=4; python_version<'3.12'", "a b"]
    entries, left = parse_requirements(lines)
    assert entries == {
        "six": '"*"',
        "redis": '{version = ">=4", markers = "python_version < \\"3.12\\""}',
    }
    assert left == ["-e .", "tool @ https://example.org/t.whl", "a b"]


def test_a_credential_of_a_requirement_is_not_repeated(tmp_path):
    files = {"app.py": FLASK, "requirements.txt": "--index-url https://me:hunter2@example.org/simple\nflask\n"}
    layout = plan(tmp_path / "shop", files)
    assert layout.remarks == (LOGIN.format("https://example.org/simple", "requirements.txt"),)
    assert "hunter2" not in layout.files["Pipfile"]


PYPI = "https://pypi.org/simple"
LOGIN = (
    "Pipfile has {} without the login that {} has: write `${{INDEX_USER}}:${{INDEX_PASSWORD}}@` before its host, "
    "and set both variables."
)
SEARCH = (
    "pipenv takes each package from {0}, the first [[source]] of Pipfile. "
    'Write `index = "{1}"` at the packages that {0} does not have.'
)


@pytest.mark.parametrize(
    ("files", "sources", "entries", "remarks"),
    [
        (
            {
                "pyproject.toml": '[tool.poetry.dependencies]\ncorplib = "^1"\n[[tool.poetry.source]]\nname = "corp"\n'
                'url = "https://pip.corp/simple/"\npriority = "primary"\n'
            },
            [("corp", "https://pip.corp/simple/")],
            {"corplib": ">=1,<2"},
            (),
        ),
        (
            {
                "pyproject.toml": '[project]\ndependencies = ["corplib>=1"]\n[tool.poetry.dependencies]\n'
                'corplib = {source = "Corp"}\nsix = {version = "*", source = "PyPI"}\n'
                '[[tool.poetry.source]]\nname = "corp"\nurl = "https://${U}:${P}@pip.corp/simple"\n'
                'priority = "explicit"\n'
            },
            [("pypi", PYPI), ("corp", "https://${U}:${P}@pip.corp/simple")],
            {"corplib": {"version": ">=1", "index": "corp"}, "six": {"version": "*", "index": "pypi"}},
            (),
        ),
        (
            {
                "pyproject.toml": '[project]\ndependencies = ["corplib", "mylib[x]>=1", "other", "gone"]\n'
                '[[tool.uv.index]]\nurl = "https://pip.corp/simple"\ndefault = true\n[tool.uv.sources]\n'
                'mylib = {git = "https://git.corp/mylib", tag = "v1"}\nother = {path = "../other", editable = true}\n'
                'gone = {git = "https://me:hunter2@git.corp/gone"}\n'
            },
            [("pip.corp", "https://pip.corp/simple")],
            {
                "corplib": "*",
                "mylib": {"extras": ["x"], "git": "https://git.corp/mylib", "ref": "v1"},
                "other": {"path": "../other", "editable": True},
            },
            ("Pipfile leaves out of pyproject.toml: gone.",),
        ),
        (
            {
                "pyproject.toml": '[project]\ndependencies = ["corplib"]\n[[tool.uv.index]]\nname = "corp"\n'
                'url = "https://pip.corp/simple"\n'
            },
            [("corp", "https://pip.corp/simple"), ("pypi", PYPI)],
            {"corplib": "*"},
            (SEARCH.format("corp", "pypi"),),
        ),
        (
            {"requirements.txt": "corplib\n", "uv.toml": 'index-url = "https://pip.corp/simple"\n'},
            [("pip.corp", "https://pip.corp/simple")],
            {"corplib": "*"},
            (),
        ),
        (
            {
                "pyproject.toml": '[project]\ndependencies = ["corplib"]\n[[tool.pdm.source]]\nname = "pypi"\n'
                'url = "https://mirror.corp/simple"\nverify_ssl = false\n'
            },
            [("pypi", "https://mirror.corp/simple")],
            {"corplib": "*"},
            (),
        ),
        (
            {
                "requirements.txt": "-r lists/base.txt\n",
                "lists/base.txt": "--extra-index-url https://pip.corp/a\ncorplib\n",
            },
            [("pip.corp", "https://pip.corp/a"), ("pypi", PYPI)],
            {"corplib": "*"},
            (SEARCH.format("pip.corp", "pypi"),),
        ),
        (
            {"requirements.txt": "corplib\n", "pip.conf": "[global]\nindex-url = https://me:hunter2@pip.corp/simple\n"},
            [("pip.corp", "https://pip.corp/simple")],
            {"corplib": "*"},
            (LOGIN.format("https://pip.corp/simple", "pip.conf"),),
        ),
    ],
    ids=["poetry", "poetry-named", "uv", "uv-searched", "uv.toml", "pdm", "pip", "pip.conf"],
)
def test_packages_come_from_where_the_other_tool_takes_them(tmp_path, files, sources, entries, remarks):
    layout = plan(tmp_path / "shop", {"app.py": FLASK.replace("flask", "corplib"), **files})
    document = parse_pipfile(layout.files["Pipfile"]).document
    assert [(source["name"], source["url"]) for source in document["source"]] == sources
    assert {name: entry for name, entry in document["packages"].items() if name != "gunicorn"} == entries
    assert tuple(remark for remark in layout.remarks if "no app object" not in remark) == remarks
    assert "hunter2" not in layout.files["Pipfile"]


def test_who_a_licence_names(tmp_path):
    assert author_name(tmp_path, {"GIT_AUTHOR_NAME": "Ada"}) == "Ada"
    config = tmp_path / "config"
    config.write_text("[user]\nname = Grace\n")
    settings = {"GIT_CONFIG_GLOBAL": str(config), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CEILING_DIRECTORIES": "/"}
    assert author_name(tmp_path, {**settings, "PATH": "/usr/bin:/bin", "GIT_DIR": str(tmp_path)}) == "Grace"
    config.write_text("")
    assert author_name(tmp_path, {**settings, "PATH": "/usr/bin:/bin", "GIT_DIR": str(tmp_path)}) == "the authors"
