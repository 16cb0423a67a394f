"""Loading into real engines: what is sent, that it runs together, and that nothing is left behind."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from buildpack.oci import engine_upload
from buildpack.oci.engine_host import Endpoint, parse_host
from buildpack.oci.engine_http import Connection
from buildpack.oci.engine_load import load
from buildpack.oci.engine_upload import EngineUpload
from buildpack.oci.image import LAYER_TAR, Image, Layer, Platform
from buildpack.oci.layout import open_layout
from tests.support.containers import Host
from tests.support.images import Blobs, image_of
from tests.support.loading import at, loading_into

pytestmark = pytest.mark.every_engine

NAME = "docker.io/library/transfer-load"
FIRST, SECOND = f"{NAME}:1", f"{NAME}:2"


def ask(host: str, path: str) -> object:
    connection = Connection(parse_host(host, source="test"))
    try:
        return json.loads(connection.ask("GET", path).body)
    finally:
        connection.close()


def images_upon(host: str, layer: Layer) -> set[str]:
    """The images whose lowest layer this is; other tests use the engine meanwhile."""
    listed = ask(host, "/images/json?all=1")
    assert isinstance(listed, list)
    described = [ask(host, f"/images/{item['Id']}/json") for item in listed]
    return {
        # One that is gone by now has no layers.
        found["Id"]
        for found in described
        if isinstance(found, dict) and found.get("RootFS", {}).get("Layers", [])[:1] == [str(layer.diff_id)]
    }


def clean(host: Host) -> None:
    host.docker("rmi", "-f", FIRST, SECOND, check=False)


@pytest.fixture
def host(host_of_each_kind: Host) -> Iterator[Host]:
    yield host_of_each_kind
    clean(host_of_each_kind)


@pytest.fixture
def docker(engine: str) -> Iterator[str]:
    """Docker with its own image store, the only one that gets layers before the image is whole."""
    yield engine
    clean(Host(address=engine, product="Docker"))


def identity(image: Image, host: Host) -> str:
    """The image's ID in this kind of engine."""
    return str(image.digest) if host.kind == "containerd" else str(image.config_digest)


def known_as(host: Host, name: str) -> str:
    """The ID of the image that has this name in the engine."""
    found = ask(host.address, f"/images/{name}/json")
    assert isinstance(found, dict)
    return "sha256:" + str(found["Id"]).removeprefix("sha256:")


def stack(blobs: Blobs, *names: str) -> list[Layer]:
    return [blobs.layer({f"{name}/file": os.urandom(200_000)}) for name in names]


def exported(host: Host, image: str) -> set[str]:
    """The files of a container made of the image."""
    container = host.docker("create", image).strip()
    try:
        content = subprocess.run(
            ["docker", "-H", host.address, "export", container], check=True, capture_output=True
        ).stdout
    finally:
        host.docker("rm", container)
    return files_of(content)


def saved(host: Host, image: str, folder: Path) -> list[set[str]]:
    """The files of each layer that `docker save` gives of the image."""
    path = folder / "saved.tar"
    with path.open("wb") as out:
        subprocess.run(["docker", "-H", host.address, "save", image], check=True, stdout=out)
    with open_layout(path, scratch=folder) as images:
        found = []
        for layer in images.image(Platform()).layers:
            out = io.BytesIO()
            images.fetch_blob(layer.digest, layer.size, out)
            found.append(files_of(out.getvalue()))
        return found


def files_of(content: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.name for member in tar if member.isfile()}


def test_only_what_changed(host: Host, tmp_path: Path) -> None:
    blobs = Blobs()
    a, b, c, changed = stack(blobs, "a", "b", "c", "b")
    first = image_of(a, b, c)
    loaded = load(first, blobs.open, [FIRST, SECOND], host=at(host.address))
    assert (loaded.sent_layers, loaded.reason) == (3, "the engine has none of its layers")
    assert load(first, blobs.open, [FIRST, SECOND], host=at(host.address)).reason == "the engine has it already"

    second = image_of(a, changed, c)
    loaded = load(second, blobs.open, [FIRST], host=at(host.address))
    # Docker's own store finds a layer by all that is below it, too.
    sent, reason = (
        (2, "the engine has 1 of 3 layers") if host.kind == "classic" else (1, "the engine has 2 of 3 layers")
    )
    assert (loaded.sent_layers, loaded.reason) == (sent, reason)
    assert loaded.sent_bytes == sum(layer.size for layer in (changed, c)[:sent])
    assert (known_as(host, FIRST), known_as(host, SECOND)) == (identity(second, host), identity(first, host))
    assert {"a/file", "b/file", "c/file"} <= exported(host, FIRST)
    assert saved(host, FIRST, tmp_path) == [{"a/file"}, {"b/file"}, {"c/file"}]


def test_new_tag_shares_with_the_last(host: Host) -> None:
    blobs = Blobs()
    a, b = stack(blobs, "a", "b")
    load(image_of(a), blobs.open, [FIRST], host=at(host.address))
    assert load(image_of(a, b), blobs.open, [SECOND], host=at(host.address)).sent_layers == 1


def test_layers_that_the_engine_has_in_other_blobs(host: Host, tmp_path: Path) -> None:
    """An image that `docker load` took from another engine has our layers, compressed otherwise or not at all."""
    blobs = Blobs()
    (a, tar), (b, _) = blobs.layer_and_tar({"a/file": os.urandom(200_000)}), blobs.layer_and_tar({"b/file": b"b"})
    plain = Layer(digest=a.diff_id, diff_id=a.diff_id, size=len(tar), media_type=LAYER_TAR)
    blobs.content[plain.digest] = tar
    load(image_of(plain), blobs.open, [FIRST], host=at(host.address))

    image = image_of(a, b)
    loaded = load(image, blobs.open, [FIRST], host=at(host.address))
    assert loaded.reason == (
        "the engine has 1 of 2 layers" if host.kind == "classic" else "the engine took only the whole image"
    )
    assert known_as(host, FIRST) == identity(image, host)
    assert saved(host, FIRST, tmp_path) == [{"a/file"}, {"b/file"}]


def test_history_can_be_listed(host: Host) -> None:
    blobs = Blobs()
    load(image_of(*stack(blobs, "a", "b")), blobs.open, [FIRST], host=at(host.address))
    shown = host.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", FIRST)
    assert shown.splitlines() == ["deploy build: test", "deploy build: test"]


@pytest.mark.engine
def test_prefixes_are_unpacked_and_removed(docker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_upload, "WORTH_SENDING", 1)
    blobs = Blobs()
    layers = stack(blobs, "a", "b", "c", "d")
    image = image_of(*layers)
    with loading_into(docker, [FIRST], blobs.open) as loading:
        for number, layer in enumerate(layers):
            loading.offer(layer)
            while number == 0 and not images_upon(docker, layers[0]):
                pass
        loaded = loading.finish(image)
    assert loaded.sent_layers == 4
    assert images_upon(docker, layers[0]) == {str(image.config_digest)}
    assert {"a/file", "b/file", "c/file", "d/file"} <= exported(Host(address=docker, product="Docker"), FIRST)


@pytest.mark.engine
def test_abandoned_prefixes_are_removed(docker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_upload, "WORTH_SENDING", 1)
    blobs = Blobs()
    [layer] = stack(blobs, "a")
    with loading_into(docker, [FIRST], blobs.open) as loading:
        loading.offer(layer)
        while not images_upon(docker, layer):
            pass
    assert images_upon(docker, layer) == set()


@pytest.mark.engine
def test_uncompressed_layers(docker: str) -> None:
    blobs = Blobs()
    layer, tar = blobs.layer_and_tar({"a/file": bytes(300_000)})
    with loading_into(docker, [FIRST], blobs.open) as loading:
        loading.expect()
        loading.offer(layer, io.BytesIO(tar))
        loaded = loading.finish(image_of(layer))
    assert loaded.sent_bytes == len(tar)
    assert blobs.opened == []
    assert "a/file" in exported(Host(address=docker, product="Docker"), FIRST)


def test_layer_that_was_removed_meanwhile_is_sent_again(host: Host, tmp_path: Path) -> None:
    """Between the question what the engine has and the load, somebody removes it."""
    blobs = Blobs()
    a, b = stack(blobs, "a", "b")
    load(image_of(a), blobs.open, [FIRST], host=at(host.address))
    image = image_of(a, b)
    with closing(EngineUpload(at(host.address), [FIRST], blobs.open, platform=Platform())) as upload:
        upload.inspect()
        host.docker("rmi", FIRST)
        loaded = upload.complete(image)
    assert known_as(host, FIRST) == identity(image, host)
    assert loaded.reason == "the engine took only the whole image"
    assert saved(host, FIRST, tmp_path) == [{"a/file"}, {"b/file"}]


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
        load(image, blobs.open, [FIRST], host=endpoint)
        assert known_as(Host(address=docker, product="Docker"), FIRST) == str(image.config_digest)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.podman
def test_podman_of_this_machine(podman: str) -> None:
    """An older one than those above."""
    host = Host(address=podman, product="Podman", kind="podman")
    blobs = Blobs()
    a, b, changed = stack(blobs, "a", "b", "b")
    try:
        first, second = image_of(a, b), image_of(a, changed)
        load(first, blobs.open, [FIRST, SECOND], host=at(podman))
        loaded = load(second, blobs.open, [FIRST], host=at(podman))
        assert (loaded.sent_layers, loaded.reason) == (1, "the engine has 1 of 2 layers")
        assert (known_as(host, FIRST), known_as(host, SECOND)) == (identity(second, host), identity(first, host))
        assert {"a/file", "b/file"} <= exported(host, FIRST)
    finally:
        clean(host)
