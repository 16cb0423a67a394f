"""Django's static files: collected by the build, the same on every machine, and served by the image."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from buildpack.oci.digest import Digest
from buildpack.oci.store import Store
from tests.support.command import ROOT, Done, deploy
from tests.support.ports import free_port
from tests.support.running import Running, get
from tests.support.tiny import with_stack

SITE = ROOT / "tests" / "apps" / "django_site"
TAG = "deploy-test-django:1"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SITE, tmp_path / "site"))


@pytest.fixture(scope="module")
def built(home: Path) -> Done:
    return deploy("build", SITE, "--json", home=home)


def shipped(report: dict[str, object], home: Path) -> dict[str, bytes]:
    digest = next(layer["digest"] for layer in report["layers"] if layer["kind"] == "app")
    with Store(home).open(Digest.parse(digest)) as blob, tarfile.open(fileobj=blob, mode="r:gz") as layer:
        return {member.name[4:]: layer.extractfile(member).read() for member in layer if member.isreg()}


def test_static_files_are_collected_hashed_and_compressed(built, home):
    files = shipped(built.report, home)
    names = {re.sub(r"\.[0-9a-f]{12}\.", ".HASH.", path) for path in files if path.startswith("staticfiles/")}
    # Nothing so small gets smaller by compression, and whitenoise leaves it alone then.
    assert names == {
        "staticfiles/staticfiles.json",
        *(
            f"staticfiles/pages/{name}"
            for name in ("a.js", "a.HASH.js", "sea.svg", "sea.HASH.svg", "site.css", "site.HASH.css")
        ),
    }
    paths = json.loads(files["staticfiles/staticfiles.json"])["paths"]
    assert list(paths) == sorted(paths) == ["pages/a.js", "pages/sea.svg", "pages/site.css"]
    assert paths["pages/sea.svg"].removeprefix("pages/").encode() in files["staticfiles/" + paths["pages/site.css"]]
    assert built.report["warnings"] == []
    assert not (SITE / "staticfiles").exists()


def test_the_same_files_elsewhere_give_the_same_image(built, home, site, tmp_path, hostile):
    for path in sorted(site.rglob("*.*"), reverse=True):
        os.utime(path, (1, 1))
    other = with_stack(home, tmp_path / "home")
    for folder in ("wheels", "bytecode", "stacks"):
        (other / folder).symlink_to(home / folder)
    again = deploy("build", site, "--json", home=other)
    assert again.report["digest"] == built.report["digest"]
    assert {layer["source"] for layer in again.report["layers"] if layer["kind"] == "app"} == {"built"}


@pytest.mark.engine
def test_the_image_serves_a_static_file(built, home, engine):
    port = free_port()
    running = Running("run", SITE, "-p", str(port), home=home)
    try:
        running.wait_for("Listening at")
        status, page = get(port, "/")
        assert status == 200
        [path] = re.findall(r'href="([^"]+)"', page.decode())
        assert re.fullmatch(r"/static/pages/site\.[0-9a-f]{12}\.css", path)
        status, style = get(port, path)
        assert status == 200
        assert b'url("sea.' in style
        assert running.stop() in (0, 143)
    finally:
        running.close()
