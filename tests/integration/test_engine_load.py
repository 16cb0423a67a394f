"""Loading into real engines: what is sent, that it runs together, and that nothing is left behind."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from buildpack.oci import overlap
from buildpack.oci.engine import Loading, load
from buildpack.oci.engine_host import Endpoint, parse_host
from buildpack.oci.engine_http import Connection
from buildpack.oci.image import Image, Layer, Platform
from tests.support.images import Blobs, image_of

NAME = "docker.io/library/transfer-load"
FIRST, SECOND = f"{NAME}:1", f"{NAME}:2"


def ask(host: str, path: str) -> object:
    connection = Connection(parse_host(host, source="test"))
    try:
        return json.loads(connection.ask("GET", path).body)
    finally:
        connection.close()


def identities(host: str) -> set[str]:
    listed = ask(host, "/images/json?all=1")
    assert isinstance(listed, list)
    return {item["Id"] for item in listed}


@pytest.fixture
def docker(engine: str) -> Iterator[str]:
    yield engine
    names = subprocess.run(
        ["docker", "-H", engine, "images", "--format", "{{.Repository}}:{{.Tag}}", "transfer-load"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    subprocess.run(
        ["docker", "-H", engine, "rmi", "-f", FIRST, *names.stdout.split()], check=False, capture_output=True
    )


def stack(blobs: Blobs, *names: str) -> list[Layer]:
    return [blobs.layer({f"{name}/file": os.urandom(200_000)}) for name in names]


def exported(host: str, image: str, tmp_path: Path) -> set[str]:
    """The files of a container made of the image."""
    import tarfile

    made = subprocess.run(["docker", "-H", host, "create", image], check=True, capture_output=True, text=True)
    container = made.stdout.strip()
    try:
        content = subprocess.run(["docker", "-H", host, "export", container], check=True, capture_output=True)
    finally:
        subprocess.run(["docker", "-H", host, "rm", container], check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(content.stdout)) as tar:
        return {member.name for member in tar if member.isfile()}


@pytest.mark.engine
def test_only_what_changed(docker: str, tmp_path: Path) -> None:
    blobs = Blobs()
    a, b, c, changed = stack(blobs, "a", "b", "c", "b")
    first = image_of(a, b, c)
    loaded = load(first, blobs.open, [FIRST, SECOND], host=docker)
    assert (loaded.image_id, loaded.sent_layers) == (str(first.config_digest), 3)
    assert loaded.reason == "the engine has none of its layers"
    assert load(first, blobs.open, [FIRST, SECOND], host=docker).reason == "the engine has it already"

    blobs.opened.clear()
    second = image_of(a, changed, c)
    loaded = load(second, blobs.open, [FIRST], host=docker)
    assert (loaded.sent_layers, loaded.reason) == (2, "the engine has 1 of 3 layers")
    assert blobs.opened == [changed.digest, c.digest]
    found = ask(docker, f"/images/{FIRST}/json")
    assert isinstance(found, dict)
    assert found["Id"] == str(second.config_digest)
    assert {"a/file", "b/file", "c/file"} <= exported(docker, FIRST, tmp_path)


@pytest.mark.engine
def test_new_tag_shares_with_the_last(docker: str) -> None:
    blobs = Blobs()
    a, b = stack(blobs, "a", "b")
    load(image_of(a), blobs.open, [FIRST], host=docker)
    assert load(image_of(a, b), blobs.open, [SECOND], host=docker).sent_layers == 1


@pytest.mark.engine
def test_prefixes_are_unpacked_and_removed(docker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(overlap, "CUT", 1)
    blobs = Blobs()
    before = identities(docker)
    layers = stack(blobs, "a", "b", "c", "d")
    image = image_of(*layers)
    with Loading(docker, [FIRST], blobs.open, platform=Platform()) as loading:
        for number, layer in enumerate(layers):
            loading.offer(layer)
            while number == 0 and len(identities(docker)) == len(before):
                pass
        loaded = loading.finish(image)
    assert loaded.sent_layers == 4
    assert identities(docker) - before == {str(image.config_digest)}
    assert {"a/file", "b/file", "c/file", "d/file"} <= exported(docker, FIRST, tmp_path)


@pytest.mark.engine
def test_abandoned_prefixes_are_removed(docker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "CUT", 1)
    blobs = Blobs()
    before = identities(docker)
    with Loading(docker, [FIRST], blobs.open, platform=Platform()) as loading:
        loading.offer(stack(blobs, "a")[0])
        while len(identities(docker)) == len(before):
            pass
    assert identities(docker) == before


@pytest.mark.engine
def test_uncompressed_layers(docker: str, tmp_path: Path) -> None:
    blobs = Blobs()
    layer, tar = blobs.layer_and_tar({"a/file": bytes(300_000)})
    with Loading(docker, [FIRST], blobs.open, platform=Platform()) as loading:
        loading.expect()
        loading.offer(layer, io.BytesIO(tar))
        loaded = loading.finish(image_of(layer))
    assert loaded.sent_bytes == len(tar)
    assert blobs.opened == []
    assert "a/file" in exported(docker, FIRST, tmp_path)


@pytest.mark.engine
def test_layer_that_was_removed_meanwhile_is_sent_again(docker: str) -> None:
    """Between the question what the engine has and the load, somebody removes it."""
    blobs = Blobs()
    a, b = stack(blobs, "a", "b")
    load(image_of(a), blobs.open, [FIRST], host=docker)
    image = image_of(a, b)
    with Loading(docker, [FIRST], blobs.open, platform=Platform()) as loading:
        loading.ready()
        subprocess.run(["docker", "-H", docker, "rmi", FIRST], check=True, capture_output=True)
        loaded = loading.finish(image)
    assert loaded.image_id == str(image.config_digest)
    assert loaded.reason == "the engine took only the whole image"


@pytest.mark.engine
def test_over_tcp(docker: str) -> None:
    """A forwarder in between: the same engine at tcp://."""
    import socket
    import threading

    blobs = Blobs()
    image: Image = image_of(*stack(blobs, "a"))
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def forward() -> None:
            while True:
                try:
                    near, _ = server.accept()
                except OSError:
                    return
                far = socket.socket(socket.AF_UNIX)
                far.connect(docker.removeprefix("unix://"))
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=(source, target), daemon=True).start()

        def pump(source: socket.socket, target: socket.socket) -> None:
            with source, suppress(OSError):
                while piece := source.recv(1 << 16):
                    target.sendall(piece)
                target.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=forward)
        thread.start()
        endpoint = Endpoint(address=("127.0.0.1", server.getsockname()[1]))
        assert load(image, blobs.open, [FIRST], host=endpoint).image_id == str(image.config_digest)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.podman
def test_podman(podman: str) -> None:
    blobs = Blobs()
    a, b, changed = stack(blobs, "a", "b", "b")
    try:
        first = image_of(a, b)
        loaded = load(first, blobs.open, [FIRST, SECOND], host=podman)
        assert loaded.image_id.removeprefix("sha256:") == first.config_digest.hex
        assert (loaded.sent_layers, loaded.reason) == (2, "Podman takes whole images only")
        assert load(first, blobs.open, [SECOND], host=podman).reason == "the engine has it already"
        second = image_of(a, changed)
        load(second, blobs.open, [FIRST], host=podman)
        for name, image in ((FIRST, second), (SECOND, first)):
            found = ask(podman, f"/images/{name}/json")
            assert isinstance(found, dict)
            assert found["Id"].removeprefix("sha256:") == image.config_digest.hex
    finally:
        subprocess.run(
            ["podman", "--remote", "--url", podman, "rmi", "--force", "--ignore", FIRST, SECOND],
            check=False, capture_output=True,
        )  # fmt: skip
