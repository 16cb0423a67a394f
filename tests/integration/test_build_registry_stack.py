"""The example on an image of a registry or a disk: pulled without an engine, built, and served by a real one."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildpack.oci.store import Store
from tests.conftest import missing
from tests.support.command import EXAMPLES, deploy
from tests.support.ports import free_port
from tests.support.stand_in import TAG, make_stand_in, push
from tests.support.validate import validate

NAME = "deploy-test-registry-stack:1"
FULL = f"docker.io/library/{NAME}"

pytestmark = pytest.mark.registry


@pytest.fixture(scope="module")
def stand_in() -> Path:
    try:
        return make_stand_in()
    except RuntimeError as error:
        missing(f"the stand-in for python:3.11-slim could not be made: {error}")


@pytest.fixture(scope="module")
def pushed(stand_in: Path, registry: str) -> str:
    return push(stand_in, registry)


@pytest.fixture(scope="module")
def pinned(pushed: str, stand_in: Path) -> str:
    digest = json.loads((stand_in / "index.json").read_text())["manifests"][0]["digest"]
    return f"{pushed}@{digest}"


Report = dict[str, Any]
Build = Callable[..., Report]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds the example in a store of this module."""
    place = tmp_path_factory.mktemp("registry-stack") / "home"

    def run(stack: str, *arguments: str, store: Path = place) -> Report:
        options = ("--stack", stack, "-t", NAME, "--json", *arguments)
        return {**deploy("build", EXAMPLES / "blasto", *options, home=store).report, "store": store}

    return run


@pytest.fixture(scope="module")
def first(build: Build, pinned: str) -> Report:
    return build(pinned)


def test_the_image_has_the_registry_s_base(first, pinned, stand_in):
    listed = json.loads((stand_in / "index.json").read_text())["manifests"][0]["digest"]
    manifest = json.loads((stand_in / "blobs" / listed.replace(":", "/")).read_text())
    assert first["stack"] == {"name": pinned, "reference": pinned, "digest": listed}
    stack = [layer["digest"] for layer in first["layers"] if layer["kind"] == "stack"]
    assert stack == [layer["digest"] for layer in manifest["layers"]]
    assert first["python"].startswith("3.11.")
    assert first["warnings"] == []
    config = json.loads(blob(first["store"], manifest_of(first["store"], first)["config"]["digest"]).read_text())
    assert config["config"]["Labels"]["org.opencontainers.image.base.name"] == pinned.partition("@")[0]
    assert {layer["kind"] for layer in first["layers"]} == {"stack", "runtime", "dependencies", "app"}


def test_a_tag_gives_the_same_image_and_warns(first, build, pushed, pinned):
    report = build(pushed)
    digest = pinned.rpartition("@")[2]
    assert report["digest"] == first["digest"]
    assert report["warnings"] == [
        f"the stack {pushed} is not pinned: today it is {digest}. `deploy lock` writes the digest to deploy.toml."
    ]


def without_name_of_base(report: Report) -> tuple[Report, Report]:
    """Return an image's manifest and config without the one label that says where its base is from."""
    manifest = manifest_of(report["store"], report)
    config = json.loads(blob(report["store"], manifest.pop("config")["digest"]).read_text())
    config["config"]["Labels"].pop("org.opencontainers.image.base.name", None)
    return manifest, config


def test_a_layout_and_an_archive_on_disk_give_the_same_image(first, build, stand_in, tmp_path):
    archive = tmp_path / "stand-in.tar"
    copy = ["skopeo", "copy", "--quiet", f"oci:{stand_in}:{TAG}", f"oci-archive:{archive}:{TAG}"]
    subprocess.run(copy, check=True)
    for stack in (f"oci:{stand_in}", f"archive:{archive}"):
        report = build(stack)
        assert (without_name_of_base(report), report["warnings"]) == (without_name_of_base(first), [])


def test_an_app_s_image_is_refused_as_a_stack(first, build, pinned, tmp_path):
    """Its packages would lie beneath the new app's."""
    assert build(pinned, "--to", f"archive:{tmp_path}/app.tar")["digest"] == first["digest"]
    stack = f"archive:{tmp_path}/app.tar"
    done = deploy("build", EXAMPLES / "blasto", "--stack", stack, home=tmp_path / "home")
    assert done.code == 30
    assert done.err == (
        f"error: the stack {stack} is an app's image\n\n"
        "`deploy build` made it: the packages in its /opt/venv would stay below this app's, so that the app could "
        "import packages that its Pipfile.lock does not name.\n\n"
        "hint: build on that image's base: `--stack python:3.12-slim`, or an image of your own made FROM "
        "one.\n"
    )


def test_an_empty_store_gives_the_same_image(first, build, pinned, tmp_path):
    home = tmp_path / "home"
    assert build(pinned, store=home)["digest"] == first["digest"]
    store = Store(home)
    image = store.image(FULL)
    assert image is not None
    assert validate(image, store.open) == []
    labels = json.loads(image.config)["config"]["Labels"]
    assert labels["dev.deploy.bytecode"] == labels["dev.deploy.python"] == first["python"]


def test_an_index_of_several_platforms_gives_the_one_that_is_asked_for(first, build, stand_in, registry, tmp_path):
    layout = tmp_path / "several"
    shutil.copytree(stand_in, layout)
    [ours] = json.loads((layout / "index.json").read_text())["manifests"]
    config = json.loads(blob(layout, manifest_of(layout, ours)["config"]["digest"]).read_text())
    other = add_platform(layout, ours, config, architecture="s390x")
    listed = [
        {**without_annotations(other), "platform": {"os": "linux", "architecture": "s390x"}},
        {**without_annotations(ours), "platform": {"os": "linux", "architecture": config["architecture"]}},
    ]
    index = write_blob(layout, {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
    named = {**index, "mediaType": INDEX, "annotations": ours["annotations"]}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    reference = f"{registry}/several/python:3.11-slim"
    copy = ["skopeo", "copy", "--all", "--quiet", "--dest-tls-verify=false"]
    subprocess.run([*copy, f"oci:{layout}:{TAG}", f"docker://{reference}"], check=True)

    asked = build(reference, "--platform", f"linux/{config['architecture']}")
    assert build(f"{reference}@{index['digest']}")["digest"] == asked["digest"]
    assert without_name_of_base(asked) == without_name_of_base(first)
    done = deploy(
        "build", EXAMPLES / "blasto", "--stack", reference, "--platform", "linux/arm64", home=tmp_path / "home"
    )
    assert (done.code, done.out, done.err) == (
        30,
        "",
        (
            f"error: {reference} has no image for linux/arm64\n\n"
            f"It has one for: linux/{config['architecture']}, linux/s390x.\n\n"
            "hint: choose one with `--platform`, or another stack.\n"
        ),
    )


INDEX = "application/vnd.oci.image.index.v1+json"


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def manifest_of(layout: Path, descriptor: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(blob(layout, descriptor["digest"]).read_text()))


def write_blob(layout: Path, document: object) -> dict[str, Any]:
    content = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    blob(layout, digest).write_bytes(content)
    return {"digest": digest, "size": len(content)}


def without_annotations(descriptor: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in descriptor.items() if key != "annotations"}


def add_platform(layout: Path, like: dict[str, Any], config: dict[str, Any], *, architecture: str) -> dict[str, Any]:
    """Add the same image for another architecture, as far as its config tells."""
    manifest = manifest_of(layout, like)
    written = write_blob(layout, {**config, "architecture": architecture})
    return {**like, **write_blob(layout, {**manifest, "config": {**manifest["config"], **written}})}


@pytest.mark.engine
def test_docker_serves_it(first, build, engine, pinned, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", engine)
    try:
        assert build(pinned, "--to", "docker")["digest"] == first["digest"]
        port = free_port()
        run = ["docker", "run", "-d", "-e", "PORT=9000", "-p", f"127.0.0.1:{port}:9000", NAME]
        container = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
        try:
            assert "<html" in fetch(port)
        finally:
            subprocess.run(["docker", "rm", "-f", container], check=True, capture_output=True)
    finally:
        subprocess.run(["docker", "rmi", "-f", NAME], check=False, capture_output=True)


def fetch(port: int, seconds: float = 120) -> str:
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
                assert answer.status == 200
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
