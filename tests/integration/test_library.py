"""The public API: docs/library.md word for word, and the same image as the command's."""

from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import buildpack
from buildpack.errors import LostError, UsageError
from buildpack.options import Destination, Options
from tests.support.command import EXAMPLES, ROOT, deploy
from tests.support.index import Index, serving
from tests.support.tiny import add_wheels, environ, with_stack, write_app

PAGE = ROOT / "docs" / "library.md"


@pytest.fixture
def index() -> Iterator[Index]:
    with serving() as served:
        yield served


@pytest.fixture
def store(seed: Path, tmp_path: Path) -> Path:
    return with_stack(seed, tmp_path / "store")


@pytest.fixture
def shop(index: Index, tmp_path: Path) -> Path:
    return write_app(tmp_path / "shop", add_wheels(index, tmp_path / "wheels", "alpha"))


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def test_the_page_s_code_prints_what_the_page_shows(shop: Path, store: Path, index: Index) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks("python"))],
        cwd=shop.parent,
        env={**os.environ, **environ(index), "DEPLOY_HOME": str(store), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("".join(blocks("text")), "")
    assert (shop.parent / "image" / "index.json").is_file()


@pytest.mark.parametrize("example", ["tiny", "blasto"])
def test_the_image_is_the_one_of_the_command(
    example: str, shop: Path, store: Path, seed: Path, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = shop if example == "tiny" else EXAMPLES / example
    for name, value in environ(index).items():
        monkeypatch.setenv(name, value)
    built = buildpack.build(app, session=buildpack.open_session(store))
    other = with_stack(seed, tmp_path / "other")
    assert deploy("build", app, "-q", home=other).out.split() == [str(built.image.digest)]


def test_destinations_are_texts_or_values(shop: Path, store: Path, index: Index, tmp_path: Path) -> None:
    session = buildpack.open_session(store, environ={**os.environ, **environ(index)})
    archive = Destination(kind="archive", path=tmp_path / "image.tar")
    built = buildpack.build(shop, to=[f"oci:{tmp_path / 'layout'}", archive], session=session)
    assert [str(each.destination) for each in built.delivered] == [f"oci:{tmp_path / 'layout'}", str(archive)]
    assert built.delivered[1].size == (tmp_path / "image.tar").stat().st_size


def test_several_platforms_give_an_index(store: Path, index: Index, tmp_path: Path) -> None:
    app = write_app(tmp_path / "app", {}, python="3.12.99")
    from tests.support.bases import make_base
    from tests.support.stand_in import join_platforms

    bases = [make_base(tmp_path / machine, machine=machine, python="3.12.99") for machine in ("x86_64", "aarch64")]
    options = Options(stack=f"oci:{join_platforms(bases, tmp_path / 'both')}", platform="linux/amd64,linux/arm64")
    session = buildpack.open_session(store, environ={**os.environ, **environ(index)})
    plans = buildpack.plan_images(app, options=options, session=session)
    built = buildpack.build(app, options=options, session=session)
    assert [str(plan.platform) for plan in plans] == ["linux/amd64", "linux/arm64"]
    assert [one.image.layers[-1].key for one in built.images] == [plan.layers[-1].key for plan in plans]
    assert built.image.digest not in {one.image.digest for one in built.images}


def test_errors_are_those_of_the_docstrings(shop: Path, store: Path, index: Index, tmp_path: Path) -> None:
    session = buildpack.open_session(store, environ={**os.environ, **environ(index)})
    with pytest.raises(UsageError, match="the registry to push to is not named"):
        buildpack.build(shop, to=["registry"], session=session)
    with pytest.raises(UsageError, match="there is no folder"):
        buildpack.read_app(tmp_path / "nowhere", session=session)
    first = buildpack.build(shop, session=session).images[0]
    (shop / "start.sh").write_text("#!/bin/sh\n")
    second = buildpack.build(shop, session=session).images[0]
    session.store.path(first.image.layers[-1].digest).unlink()
    with pytest.raises(LostError):
        buildpack.compare(first.image, second.image, session=session)


def test_importing_the_package_imports_nothing_else() -> None:
    script = "import sys; old = set(sys.modules); import buildpack; print(*sorted(set(sys.modules) - old))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["__future__", "buildpack"]


def test_no_module_hides_a_function() -> None:
    """`import buildpack.NAME` would replace a function of that name."""
    modules = {module.name for module in pkgutil.iter_modules(buildpack.__path__)}
    assert modules.isdisjoint({"build", "read_app", "plan_images", "compare", "open_session"})
