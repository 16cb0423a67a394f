"""The texts of what `deploy init` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from buildpack.app.indexes import PYPI, Source

_SOURCE = """\
[[source]]
name = {name}
url = {url}
verify_ssl = {verify_ssl}
"""

_INIT = '''\
"""{name}, a web app; `APP` is what servers serve."""

from {name}.app import create_app

APP = create_app()
'''

_APP = '''\
"""The factory and the routes."""

import os

from flask import Flask, jsonify


def create_app() -> Flask:
    app = Flask(__name__)

    @app.get("/")
    def index():
        return f"Hello from {name}, process {{os.environ.get('DYNO', 'local')}}.\\n"

    @app.get("/health")
    def health():
        return jsonify(status="ok")

    return app
'''

_TEST = """\
from {name} import APP


def test_index_greets():
    page = APP.test_client().get("/")
    assert page.status_code == 200
    assert page.text.startswith("Hello from {name}")


def test_health():
    assert APP.test_client().get("/health").json == {{"status": "ok"}}
"""

_SIMPLE_TEST = """\
from {module} import {name}


def test_the_app_object_is_there():
    assert callable({name})
"""

GITIGNORE = """\
__pycache__/
*.pyc
.env
.venv/
venv/
.pytest_cache/
"""

_HOST = """\
# The interpreter of the machine that builds; it needs no registry. Remove the line to build on python:X.Y-slim.
stack = "host"
"""

_MIT = """\
MIT License

Copyright (c) {year} {holder}

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def package(name: str) -> dict[str, str]:
    """Return the package of a new app, and its test: paths and texts."""
    return {
        f"{name}/__init__.py": _INIT.format(name=name),
        f"{name}/app.py": _APP.format(name=name),
        f"tests/test_{name}.py": _TEST.format(name=name),
    }


def simple_test(target: str) -> str:
    """Return a test that an app's object, such as ``blasto:APP``, can be imported."""
    module, _, name = target.partition(":")
    return _SIMPLE_TEST.format(module=module, name=name)


def pipfile(packages: Mapping[str, str], develop: Mapping[str, str], sources: Sequence[Source] = (PYPI,)) -> str:
    """Return a Pipfile; the values are TOML already: ``"*"``, ``{version = "*", extras = [...]}``."""

    def table(title: str, entries: Mapping[str, str]) -> str:
        return f"\n[{title}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())

    listed = "\n".join(
        _SOURCE.format(
            name=json.dumps(source.name), url=json.dumps(source.url), verify_ssl=json.dumps(source.verify_ssl)
        )
        for source in sources
    )
    return listed + table("packages", packages) + table("dev-packages", develop)


def deploy_toml(*, name: str | None, host: bool) -> str:
    """Return the settings of a new app: its `name`, if the folder has no usable one, and the stack of this machine."""
    return (f'name = "{name}"\n' if name else "") + (_HOST if host else "")


def license_text(*, year: int, holder: str) -> str:
    """Return the MIT licence."""
    return _MIT.format(year=year, holder=holder)
