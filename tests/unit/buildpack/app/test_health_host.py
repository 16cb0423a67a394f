"""The host that an app answers to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from buildpack.app.health_host import find_health_host, is_host
from buildpack.app.source import SourceFile, SourceTree, read_source


def host_of(folder: Path, environment: dict[str, str] | None = None) -> str:
    return find_health_host(read_source(folder, environ={}), environment or {})


def write_settings(folder: Path, line: str) -> None:
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "settings.py").write_text(f"import os\nDEBUG = False\n{line}\n")


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ('ALLOWED_HOSTS = ["example.com", "www.example.com"]', "example.com"),
        ('ALLOWED_HOSTS = (".example.com",)', "example.com"),
        ('ALLOWED_HOSTS = ["example.com", "localhost"]', ""),
        ('ALLOWED_HOSTS = ["*"]', ""),
        ("ALLOWED_HOSTS = []", ""),
        ('ALLOWED_HOSTS = os.environ["HOSTS"].split()', ""),
        ('ALLOWED_HOSTS = ["example.com", os.environ["HOST"]]', ""),
        ("ALLOWED_HOSTS = [", ""),
        ('ALLOWED_HOSTS: list[str] = ["example.com"]', "example.com"),
        ("ALLOWED_HOSTS: list[str]", ""),
        ('ALLOWED_HOSTS = ["localhost"]\nALLOWED_HOSTS = ["example.com"]', "example.com"),
        ('ALLOWED_HOSTS = ["example.com"]\nALLOWED_HOSTS = get()', ""),
        ('ALLOWED_HOSTS = ["example.com"]\nALLOWED_HOSTS += ["localhost"]', ""),
        ('ALLOWED_HOSTS = []\nALLOWED_HOSTS += ("example.com",)', "example.com"),
        ('ALLOWED_HOSTS = ["example.com"]\nALLOWED_HOSTS += get()', ""),
        ('ALLOWED_HOSTS = ["*.example.com"]', "www.example.com"),
    ],
)
def test_djangos_settings(tmp_path: Path, line: str, host: str) -> None:
    write_settings(tmp_path, line)
    assert host_of(tmp_path) == host


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ('["a.example", "b.example"]', "a.example"),
        ("['.a.example']", "a.example"),
        ("a.example;b.example", "a.example"),
        ("*.a.example b.example", "www.a.example"),
        ("[::1]", "[::1]"),
        ('["localhost", "a.example"]', ""),
        ("[]", ""),
        (" , ", ""),
    ],
)
def test_the_variable_is_a_list_in_any_form(tmp_path: Path, value: str, host: str) -> None:
    assert host_of(tmp_path, {"ALLOWED_HOSTS": value}) == host


def write_sites(folder: Path, **settings: str) -> None:
    """Write settings for several places, of which all begin with those of `base`."""
    (folder / "site" / "settings").mkdir(parents=True)
    for name, lines in {"__init__": "", "base": "ALLOWED_HOSTS = []\n", **settings}.items():
        begin = "" if name in {"__init__", "base"} else "from .base import *\n"
        (folder / "site" / "settings" / f"{name}.py").write_text(f"{begin}{lines}\n")


def test_of_several_settings_those_that_are_loaded_count(tmp_path: Path) -> None:
    write_sites(tmp_path, dev='ALLOWED_HOSTS = ["localhost"]', prod='ALLOWED_HOSTS += ["a.example"]', test="")
    assert host_of(tmp_path) == ""
    assert host_of(tmp_path, {"DJANGO_SETTINGS_MODULE": "site.settings.prod"}) == "a.example"
    assert host_of(tmp_path, {"DJANGO_SETTINGS_MODULE": "other.settings"}) == ""
    named = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site.settings.%s")\n'
    (tmp_path / "manage.py").write_text(named % "dev")
    assert host_of(tmp_path) == ""
    (tmp_path / "site" / "wsgi.py").write_text(named % "prod")
    assert host_of(tmp_path) == "a.example"
    assert host_of(tmp_path, {"DJANGO_SETTINGS_MODULE": "site.settings.test"}) == ""


def test_settings_that_import_each_other_without_end(tmp_path: Path) -> None:
    write_sites(tmp_path, base="from .dev import *", dev="from .base import *")
    assert host_of(tmp_path, {"DJANGO_SETTINGS_MODULE": "site.settings.dev"}) == ""


def test_the_variable_comes_before_the_settings_and_app_json_before_both(tmp_path: Path) -> None:
    write_settings(tmp_path, 'ALLOWED_HOSTS = ["c.example"]')
    assert host_of(tmp_path, {"ALLOWED_HOSTS": ""}) == "c.example"
    assert host_of(tmp_path, {"DJANGO_ALLOWED_HOSTS": " b.example,c.example"}) == "b.example"
    checks = {
        "web": [{"path": "/", "httpHeaders": [{"name": "X-A", "value": "1"}, {"name": "host", "value": "a.example"}]}]
    }
    (tmp_path / "app.json").write_text(json.dumps({"healthchecks": checks}))
    assert host_of(tmp_path, {"ALLOWED_HOSTS": "b.example"}) == "a.example"


@pytest.mark.parametrize("text", ["{", "[]", '{"healthchecks": 1}', '{"healthchecks": {"web": [1]}}'])
def test_an_app_json_that_says_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "app.json").write_text(text)
    assert host_of(tmp_path) == ""


def test_hosts() -> None:
    assert all(map(is_host, ("example.com", "localhost:8000", "[::1]:80", "a_b.example")))
    assert not any(map(is_host, ("", "a b", "a\r\nX: y", "http://a/", "a@b", "é.example", "a" * 300)))


def test_settings_that_are_a_link_out_of_the_app_are_not_read(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    tmp_path.joinpath("other.py").write_text('ALLOWED_HOSTS = ["secret.example.com"]\n')
    app.joinpath("settings.py").symlink_to("../other.py")
    tree = SourceTree(folder=app, files=(SourceFile(path="settings.py", kind="symlink", target="../other.py"),))
    assert find_health_host(tree, {}) == ""
