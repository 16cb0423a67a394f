"""The imports of an app's modules, and the packages of the lock that bring them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from buildpack.app.checks.image_files import list_files
from buildpack.app.checks.imports import Start
from buildpack.app.checks.packages import find_owners, modules_of
from buildpack.app.checks.processes import check_imports
from buildpack.app.findings import Brought, Doubt, settle
from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.app.source import read_source
from buildpack.errors import Notice

Found = tuple[list[str], list[Doubt]]


def package(name: str) -> LockedPackage:
    return LockedPackage(name=name, version="1.0", hashes=("sha256:0",))


class Looking:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        files: Mapping[str, str],
        *locked: str,
        develop: tuple[str, ...] = (),
        starts: tuple[Start, ...] = (Start(search=("",), module="app"),),
    ) -> Found:
        for path, content in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(content)
        lock = Lock(packages=tuple(map(package, locked)), develop=tuple(map(package, develop)), sources=())
        found = list(check_imports(starts, list_files(read_source(self.folder, environ={}), lock), lock))
        return [str(one) for one in found if isinstance(one, Notice)], [one for one in found if isinstance(one, Doubt)]


@pytest.fixture
def look(tmp_path: Path) -> Looking:
    folder = tmp_path / "app"
    folder.mkdir()
    return Looking(folder)


REQUESTS = (
    "app.py:1 imports requests, which Pipfile.lock does not have; "
    "run `deploy add requests`, and commit Pipfile and Pipfile.lock."
)


def test_an_import_that_no_package_provides(look: Looking) -> None:
    assert look({"app.py": "import requests\n"}, "flask") == ([REQUESTS], [])


def test_a_package_that_nobody_knows_does_not_hide_a_well_known_import(look: Looking) -> None:
    assert look({"app.py": "import requests\n"}, "flask", "our-own-thing") == ([REQUESTS], [])


@pytest.mark.parametrize(
    ("statement", "owner"),
    [
        ("from PIL import Image", "pillow"),
        ("import yaml", "pyyaml"),
        ("import os, sklearn.svm as svm, sys", "scikit-learn"),
        ("from dateutil.parser import (\n    parse,\n)", "python-dateutil"),
        ("import psycopg2", "psycopg2-binary"),
        ("\n\nimport cv2", "opencv-python-headless"),
        ("from rest_framework import views", "djangorestframework"),
    ],
)
def test_the_package_of_a_module_with_another_name(look: Looking, statement: str, owner: str) -> None:
    [notice], [] = look({"app.py": f"{statement}\n"}, "flask")
    assert f"run `deploy add {owner}`" in notice
    look.folder.joinpath("app.py").unlink()
    assert look({"app.py": f"{statement}\n"}, "flask", owner) == ([], [])


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("psycopg2", "psycopg2-binary"),
        ("psycopg2", "psycopg2"),
        ("PIL", "pillow-simd"),
        ("Crypto", "pycrypto"),
        ("google.protobuf", "protobuf"),
        ("MySQLdb", "pymysql"),
    ],
)
def test_any_package_that_brings_a_module_will_do(look: Looking, module: str, package: str) -> None:
    assert look({"app.py": f"import {module}\n"}, "flask", package) == ([], [])


RIGHT = {
    "the standard library": "import json, os.path\nfrom concurrent.futures import wait\nimport distutils\n",
    "an optional import": "try:\n    import requests\nexcept ImportError:\n    requests = None\n",
    "under a condition": "import os\nif os.environ.get('X'):\n    import requests\n",
    "for type checkers": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import requests\n",
    "in a function": "def fetch():\n    import requests\n",
    "in a text": '"""\nimport requests\n"""\n',
    "in a comment": "# import requests\n",
    "optional, and once more": "try:\n    import requests\nexcept ImportError:\n    pass\nimport requests\n",
    "an own module": "import helpers, shop.models\nfrom shop import cart\n",
    "an own module somewhere else": "import sys\nsys.path.append('lib')\nimport vendored\n",
    "relative": "from . import helpers\nfrom .shop.models import *\n",
    "in no Python at all": "import requests\nnot valid Python here\n",
    "a package by a part of its name": "import flask_login, login\n",
}


@pytest.mark.parametrize("case", RIGHT)
def test_imports_that_are_right(look: Looking, case: str) -> None:
    files = {"helpers.py": "", "shop/__init__.py": "", "shop/models.py": "", "shop/cart.py": "", "lib/vendored.py": ""}
    assert look({**files, "app.py": RIGHT[case]}, "flask", "flask-login") == ([], [])


def test_the_search_follows_the_app_s_own_imports(look: Looking) -> None:
    files = {
        "app.py": "from shop.web import views\n",
        "shop/__init__.py": "from .base import *\n",
        "shop/base.py": "import redis\n",
        "shop/web/__init__.py": "def create():\n    from shop import late\n",
        "shop/web/views.py": "import requests\nfrom ...elsewhere import x\n",
        "shop/late.py": "import celery\n",
        "shop/unused.py": "import boto3\n",
        "tests/test_app.py": "import httpx\n",
        "setup.py": "import numpy\n",
    }
    notices, doubts = look(files, "flask")
    assert sorted(notice.split(",")[0] for notice in notices) == [
        "shop/base.py:1 imports redis",
        "shop/late.py:1 imports celery",
        "shop/web/views.py:1 imports requests",
    ]
    assert doubts == []


def test_django_s_modules_are_found_by_their_names_in_the_settings(look: Looking) -> None:
    files = {
        "manage.py": "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.settings')\n",
        "site1/__init__.py": "",
        "site1/settings.py": "INSTALLED_APPS = ['polls.apps.PollsConfig']\nROOT_URLCONF = 'site1.urls'\n",
        "site1/urls.py": "import requests\n",
        "polls/__init__.py": "",
        "polls/apps.py": "",
        "polls/views.py": "import PIL\n",
    }
    notices, _ = look(files, "django", starts=(Start(search=("",), path="manage.py"),))
    assert sorted(notice.split(",")[0] for notice in notices) == [
        "polls/views.py:1 imports PIL",
        "site1/urls.py:1 imports requests",
    ]


def test_a_package_of_dev_packages(look: Looking) -> None:
    notices, _ = look({"app.py": "import requests\n"}, "flask", develop=("requests",))
    assert notices == [
        (
            "app.py:1 imports requests, which only the dev-packages of Pipfile.lock have; "
            "move requests to [packages] in Pipfile, and run `deploy lock`."
        )
    ]
    late = {"app.py": "def debug():\n    from tool import x\n", "tool.py": "import requests\n"}
    assert look(late, "flask", develop=("requests",)) == ([], [])


def test_a_module_that_only_the_wheels_can_tell(look: Looking) -> None:
    assert look({"app.py": "import odd_thing\n"}, "flask")[1] == []
    assert look({"app.py": "import odd_thing\n"}, "flask")[0][0].startswith("app.py:1 imports odd_thing, which Pipfile")
    notices, doubts = look({"app.py": "import odd_thing\n"}, "flask", "our-own-thing2")
    assert notices == []
    assert settle(doubts, None) == ([], [])
    assert settle(doubts, Brought(modules=frozenset({"odd_thing"}), programs=frozenset())) == ([], [])
    errors, message = settle(doubts, Brought(modules=frozenset({"other"}), programs=frozenset()))
    assert (errors, [str(one) for one in message]) == (
        [],
        [
            (
                "app.py:1 imports odd_thing, which Pipfile.lock does not have; add the package that has it to Pipfile, "
                "run `deploy lock`, and commit Pipfile and Pipfile.lock."
            )
        ],
    )


def test_a_module_that_an_ignore_file_leaves_out(look: Looking) -> None:
    files = {
        ".dockerignore": "local_settings.py\nshop/secret.py\n",
        "app.py": "import os\nfrom local_settings import *\nimport shop\n",
        "local_settings.py": "A = 1\n",
        "shop/__init__.py": "from . import secret\nfrom .secret import KEY\n",
        "shop/secret.py": "KEY = 1\n",
    }
    notices, _ = look(files, "flask")
    assert notices == [
        f"{place} imports {path}, which the image leaves out: git ignores it, or .dockerignore or .slugignore names "
        f"it; write `!{path}` at the end of .dockerignore, or of the file that names it."
        for place, path in (("app.py:2", "local_settings.py"), ("shop/__init__.py:1", "shop/secret.py"))
    ]


def test_a_folder_that_is_left_out_and_has_the_name_of_a_package(look: Looking) -> None:
    files = {".dockerignore": "yaml\nflask\n", "yaml/__init__.py": "", "flask/__init__.py": ""}
    assert look({**files, "app.py": "import yaml, flask\n"}, "flask", "pyyaml") == ([], [])


def test_a_hook_may_make_what_is_imported(look: Looking) -> None:
    assert look({"app.py": "import requests\n", "bin/post_compile": "pip install requests\n"}, "flask") == ([], [])


def test_hostile_imports_are_read_in_linear_time(look: Looking) -> None:
    lines = ["from app import (" * 2000, "import " + "a," * 5000, "from . import (\n" * 5000, "from " + "." * 9000]
    assert look({"app.py": "\n".join(lines)}, "flask") == ([], [])


def test_the_tables_of_packages() -> None:
    assert modules_of(["flask", "pyyaml"]) == {"flask", "yaml", "_yaml"}
    assert modules_of(["flask", "a-package-that-nobody-knows"]) is None
    assert find_owners("bs4") == ("beautifulsoup4",)
    assert find_owners("google") == ()
