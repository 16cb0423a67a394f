"""The image that tests run in: the layers that were built, bit for bit, and on top of them what only tests need."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpack.oci.store import Store
from buildpack.plan import members_of
from buildpack.steps.test_image import held_back, with_develop
from tests.support import tiny
from tests.support.index import Index, serving


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def home(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that knows this machine's Python."""
    folder = tmp_path_factory.mktemp("home")
    app = tiny.write_app(folder / "app", tiny.add_wheels(index, folder / "wheels", "other"))
    tiny.build_here(app, folder / "home", {**os.environ, **tiny.environ(index)})
    return folder / "home"


@pytest.fixture
def app(index: Index, tmp_path: Path) -> Path:
    """An app of one package, whose tests need another one, and which locks both for its tests."""
    packages = tiny.add_wheels(index, tmp_path / "wheels", "alpha", "checker")
    folder = tiny.write_app(tmp_path / "app", {"alpha": packages["alpha"]})
    (folder / "tests").mkdir()
    (folder / "tests" / "test_tiny.py").write_text("import checker\n")
    lock = json.loads((folder / "Pipfile.lock").read_text())
    lock["develop"] = {name: {**entry, "index": "tiny"} for name, entry in packages.items()}
    (folder / "Pipfile.lock").write_text(json.dumps(lock))
    return folder


def names(store: Store, digest: object) -> set[str]:
    with store.open(digest) as blob, tarfile.open(fileobj=gzip.GzipFile(fileobj=blob)) as tar:  # type: ignore[arg-type]
        return set(tar.getnames())


def test_the_built_layers_are_the_lower_ones_and_unchanged(app: Path, index: Index, home: Path) -> None:
    (app / ".slugignore").write_text("/tests\n")
    environ = {**os.environ, **tiny.environ(index)}
    store = Store(home)
    built = tiny.build_here(app, store.root, environ)
    image = with_develop(built.image, built.app, built.stack, tiny.session_of(home, environ))
    count = len(built.image.layers)
    assert image.layers[:count] == built.image.layers
    packages, files = image.layers[count:]
    assert [member.name for member in members_of(packages)] == ["checker"]
    assert names(store, files.digest) == {"app", "app/tests", "app/tests/test_tiny.py"}
    assert any(name.endswith("/site-packages/checker/__init__.py") for name in names(store, packages.digest))
    before, after = json.loads(built.image.config), json.loads(image.config)
    assert after["config"] == before["config"]
    assert image.digest not in store.images().values()
    # Made again, it is the same, and nothing is written.
    assert with_develop(built.image, built.app, built.stack, tiny.session_of(home, environ)) == image


def test_an_app_without_anything_for_tests_is_tested_as_it_is(index: Index, home: Path, tmp_path: Path) -> None:
    app = tiny.write_app(tmp_path / "app", tiny.add_wheels(index, tmp_path / "wheels", "alpha"))
    environ = {**os.environ, **tiny.environ(index)}
    built = tiny.build_here(app, home, environ)
    image = with_develop(built.image, built.app, built.stack, tiny.session_of(home, environ))
    assert image.layers == built.image.layers


def test_the_default_section_s_version_of_a_package_counts(app: Path, index: Index, home: Path, tmp_path: Path) -> None:
    built = tiny.build_here(app, home, {**os.environ, **tiny.environ(index)})
    assert [package.name for package in built.app.lock.develop] == ["alpha", "checker"]
    assert [package.name for package in built.app.lock.only_develop] == ["checker"]


def test_only_what_ignore_files_hold_back_is_held_back(app: Path, index: Index, home: Path) -> None:
    environ = {**os.environ, **tiny.environ(index)}
    built = tiny.build_here(app, home, environ)
    assert held_back(built.app, environ) == ()
    (app / ".env").write_text("SECRET=1\n")
    (app / ".dockerignore").write_text("tests\n.env\n")
    built = tiny.build_here(app, home, environ)
    assert [file.path for file in held_back(built.app, environ)] == ["tests/test_tiny.py"]
