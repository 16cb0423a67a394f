"""Other tools read our archives and layouts, and we read theirs."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpack.oci.archive import write_archive_file, write_oci_dir
from buildpack.oci.digest import sha256
from buildpack.oci.image import Image, Platform
from buildpack.oci.layout import open_layout
from tests.support.images import Blobs, image_of

NAME = "docker.io/library/transfer-archive:1"


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def image(blobs: Blobs) -> Image:
    return image_of(blobs.layer({"a/b": b"1" * 2_000_000}), blobs.layer({"c": b"2"}))


@pytest.fixture
def archive(image: Image, blobs: Blobs, tmp_path: Path) -> Path:
    write_archive_file(image, blobs.open, tmp_path / "ours.tar", [NAME])
    return tmp_path / "ours.tar"


def run(*arguments: str | Path) -> str:
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_same_content(path: Path, image: Image, scratch: Path, name: str | None = None) -> None:
    """The image at `path` has our config, up to the order of its fields, and layers that unpack to ours."""
    with open_layout(path, scratch=scratch) as images:
        found = images.image(Platform(), name)
        assert json.loads(found.config)["config"] == json.loads(image.config)["config"]
        assert [layer.diff_id for layer in found.layers] == [layer.diff_id for layer in image.layers]
        for layer in found.layers:
            out = io.BytesIO()
            images.fetch_blob(layer.digest, layer.size, out)
            assert sha256(out.getvalue()) == layer.digest


@pytest.mark.registry
@pytest.mark.parametrize("source", ["oci-archive", "docker-archive"])
@pytest.mark.parametrize("target", ["oci:{}/copy:x", "oci-archive:{}/copy:x", "docker-archive:{}/copy:x:1"])
def test_skopeo_copies_it_and_we_read_the_copy(
    archive: Path, image: Image, tmp_path: Path, source: str, target: str
) -> None:
    run("skopeo", "copy", "--quiet", f"{source}:{archive}", target.format(tmp_path))
    assert_same_content(tmp_path / "copy", image, tmp_path)


@pytest.mark.registry
def test_skopeo_sees_the_same_image_in_both_forms(archive: Path, image: Image) -> None:
    oci = json.loads(run("skopeo", "inspect", "--raw", f"oci-archive:{archive}"))
    assert oci == json.loads(image.manifest)
    for source in ("oci-archive", "docker-archive"):
        assert run("skopeo", "inspect", "--config", "--raw", f"{source}:{archive}").encode() == image.config


@pytest.mark.registry
def test_skopeo_reads_the_layout_by_name(image: Image, blobs: Blobs, tmp_path: Path) -> None:
    other = image_of(image.layers[0], label="other")
    write_oci_dir(image, blobs.open, tmp_path / "layout", [NAME])
    write_oci_dir(other, blobs.open, tmp_path / "layout", ["docker.io/library/other:1"])
    for made, name in ((image, NAME), (other, "docker.io/library/other:1")):
        raw = run("skopeo", "inspect", "--raw", f"oci:{tmp_path}/layout:{name}")
        assert sha256(raw.encode()) == made.digest


@pytest.mark.registry
def test_umoci_unpacks_the_layout(image: Image, blobs: Blobs, tmp_path: Path) -> None:
    if shutil.which("umoci") is None:
        pytest.skip("umoci is not installed")
    write_oci_dir(image, blobs.open, tmp_path / "layout", ["latest"])
    run("umoci", "raw", "unpack", "--rootless", "--image", f"{tmp_path}/layout:latest", tmp_path / "root")
    assert (tmp_path / "root/a/b").read_bytes() == b"1" * 2_000_000


@pytest.fixture
def clean(engine: str) -> Iterator[str]:
    yield engine
    subprocess.run(["docker", "-H", engine, "rmi", "-f", NAME], check=False, capture_output=True)


@pytest.mark.engine
def test_docker_loads_it_and_we_read_what_it_saves(clean: str, archive: Path, image: Image, tmp_path: Path) -> None:
    assert run("docker", "-H", clean, "load", "--input", archive) == "Loaded image: transfer-archive:1\n"
    assert run("docker", "-H", clean, "inspect", "--format", "{{.Id}}", NAME).strip() == str(image.config_digest)
    run("docker", "-H", clean, "save", "--output", tmp_path / "saved.tar", NAME)
    assert_same_content(tmp_path / "saved.tar", image, tmp_path, "transfer-archive:1")


@pytest.mark.podman
def test_podman_loads_it_and_we_read_what_it_saves(podman: str, archive: Path, image: Image, tmp_path: Path) -> None:
    def remote(*arguments: str | Path) -> str:
        return run("podman", "--remote", "--url", podman, *arguments)

    try:
        assert NAME in remote("load", "--input", archive)
        assert remote("inspect", "--format", "{{.Id}}", NAME).strip() == image.config_digest.hex
        for form in ("docker-archive", "oci-archive"):
            remote("save", "--format", form, "--output", tmp_path / form, NAME)
            with open_layout(tmp_path / form, scratch=tmp_path) as images:
                found = images.image(Platform())
                assert [layer.diff_id for layer in found.layers] == [layer.diff_id for layer in image.layers]
    finally:
        remote("rmi", "--force", "--ignore", NAME)
