"""Pushing to the distribution registry, through a proxy that fails in every way a network and a registry can."""

from __future__ import annotations

import io
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildpack.errors import LostError, StackError
from buildpack.errors.registry import BlobVanished
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import INDEX, MANIFEST, Image, Platform, canonical_json
from buildpack.oci.push import Pushed, push_image, push_index, push_referrer
from buildpack.oci.reference import Reference, parse_reference
from buildpack.oci.registry import Registry
from buildpack.oci.transport import Transport
from buildpack.progress import Progress
from tests.support import proxy as proxies
from tests.support.images import Blobs, image_of
from tests.support.proxy import Proxy

pytestmark = pytest.mark.registry

BIG = 300_000
"""Bytes of a layer that the network can cut in two."""


@pytest.fixture(scope="module")
def shared(registry: str) -> Iterator[Proxy]:
    with Proxy(registry) as made:
        yield made


@pytest.fixture
def proxy(shared: Proxy) -> Proxy:
    shared.clear()
    return shared


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def transport(pauses: list[float]) -> Iterator[Transport]:
    with Transport({}, sleep=pauses.append) as made:
        yield made


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository for this test alone."""
    return f"push/{sha256(request.node.nodeid.encode()).short}"


class App:
    """An image of two layers, one of them big, which no other test has."""

    def __init__(self, seed: str, *more: bytes) -> None:
        noise = b"".join(sha256(f"{seed} {number}".encode()).hex.encode() for number in range(BIG // 64))
        self.blobs = Blobs()
        self.big = self.blobs.layer({"big": bytes.fromhex(noise.decode()) * 2})
        self.small = self.blobs.layer({"small": seed.encode(), **{f"more{n}": body for n, body in enumerate(more)}})
        self.image = image_of(self.big, self.small, label=seed)

    def push(self, reference: str, transport: Transport, **options: object) -> Pushed:
        return push_image(self.image, [parse_reference(reference)], self.blobs.open, transport=transport, **options)  # type: ignore[arg-type]


@pytest.fixture
def app(repository: str) -> App:
    return App(repository)


def pulled(reference: str) -> Image:
    """The image as it comes back, every blob verified."""
    with Registry(parse_reference(reference), environ={}) as client:
        image = client.fetch_image(Platform()).image
        for layer in image.layers:
            client.fetch_blob(layer.digest, layer.size, io.BytesIO())
    return image


def told(call: Callable[[], object]) -> str:
    with pytest.raises(StackError) as caught:
        call()
    assert caught.value.exit_code == 30
    return str(caught.value)


def seen(proxy: Proxy) -> list[str]:
    return [str(each).partition("?")[0].partition("/uploads/")[0] for each in proxy.log]


# What moves


def test_everything_then_one_changed_layer(proxy, transport, repository, app):
    reference = f"{proxy.name}/{repository}:1"
    first = app.push(reference, transport)
    assert first.digest == app.image.digest
    assert set(first.sent) == {app.big.digest, app.small.digest, app.image.config_digest}
    assert [str(each) for each in first.references] == [f"{reference}@{app.image.digest}"]
    assert pulled(reference) == app.image
    manifests = [index for index, each in enumerate(proxy.log) if "/manifests/" in each.path and each.method == "PUT"]
    blobs = [index for index, each in enumerate(proxy.log) if each.method == "PUT" and "/blobs/" in each.path]
    assert len(manifests) == 1
    assert max(blobs) < manifests[0]

    proxy.clear()
    changed = app.blobs.layer({"small": b"another line"})
    after = image_of(app.big, changed, label=repository)
    pushed = push_image(
        after,
        [parse_reference(reference)],
        app.blobs.open,
        transport=transport,
        present=frozenset({app.big.digest}),
        absent=frozenset({changed.digest, after.config_digest}),
    )
    assert set(pushed.sent) == {changed.digest, after.config_digest}
    assert pushed.present == (app.big.digest,)
    assert proxy.requests == 5  # POST and PUT, twice and side by side, and the manifest
    assert proxy.rounds <= 5
    assert proxy.sent < changed.size + len(after.config) + len(after.manifest) + 3000
    assert pulled(reference) == after


def test_what_is_there_is_not_sent_again(proxy, transport, repository, app):
    app.push(f"{proxy.name}/{repository}:1", transport)
    proxy.clear()
    again = app.push(f"{proxy.name}/{repository}:1", transport)
    assert again.sent == ()
    assert set(again.present) == {app.big.digest, app.small.digest, app.image.config_digest}
    assert sorted({each.method for each in proxy.log}) == ["HEAD", "PUT"]
    assert proxy.requests == 4


def test_counts_are_what_the_network_saw(proxy, transport, repository, app):
    app.push(f"{proxy.name}/{repository}:1", transport)
    assert transport.traffic.requests == proxy.requests
    assert abs(transport.traffic.sent - proxy.sent) < 100 * proxy.requests
    assert abs(transport.traffic.received - proxy.received) < 100 * proxy.requests


def test_connections_are_kept(registry, transport, repository, app):
    """Six threads at most, so six connections at most; the second push opens none."""
    opened = CountingListener(registry)
    with opened:
        for _ in range(3):
            app.push(f"{opened.name}/{repository}:1", transport)
    assert opened.count <= 3


class CountingListener:
    """Counts connections, and passes bytes on."""

    def __init__(self, upstream: str) -> None:
        import socket

        self.count = 0
        self._upstream = upstream.partition(":")[0], int(upstream.partition(":")[2])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def __exit__(self, *_error: object) -> None:
        import socket

        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        import socket

        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.count += 1
            server = socket.create_connection(self._upstream)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    @staticmethod
    def _pump(source, target) -> None:
        import socket

        with target:
            try:
                while chunk := source.recv(1 << 16):
                    target.sendall(chunk)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                return


def test_tags_repositories_and_digests(proxy, transport, repository, app):
    names = [f"{repository}:1", f"{repository}:latest", f"{repository}-other:1", f"{repository}@{app.image.digest}"]
    references = [parse_reference(f"{proxy.name}/{name}") for name in names]
    pushed = push_image(app.image, references, app.blobs.open, transport=transport)
    assert pushed.references == tuple(each.pinned(app.image.digest) for each in references)
    for each in references:
        assert pulled(str(each)) == app.image
    sent = [each for each in proxy.log if each.method == "PUT" and "/blobs/" in each.path]
    assert len(sent) == 3  # the second repository mounts what the first has


def test_progress(proxy, transport, repository, app):
    heard: list[Progress] = []
    app.push(f"{proxy.name}/{repository}:1", transport, observer=heard.append)
    total = app.big.size + app.small.size + len(app.image.config)
    assert {(each.stage, each.unit, each.total) for each in heard} == {("push", "bytes", total)}
    assert heard[-1].done == total


# Mounts


def test_mount(proxy, transport, repository, app):
    app.push(f"{proxy.name}/{repository}-base:1", transport)
    proxy.clear()
    places = {app.big.digest: parse_reference(f"{proxy.name}/{repository}-base:1")}
    pushed = app.push(f"{proxy.name}/{repository}:1", transport, mounts=places)
    assert pushed.mounted == (app.big.digest,)
    assert set(pushed.sent) == {app.small.digest, app.image.config_digest}
    assert pulled(f"{proxy.name}/{repository}:1") == app.image


def test_a_registry_that_ignores_mounts(proxy, transport, repository, app):
    app.push(f"{proxy.name}/{repository}-base:1", transport)
    proxy.clear()
    ignored = proxy.fault("POST", "mount=", proxies.without_query(), times=-1)
    places = {app.big.digest: parse_reference(f"{proxy.name}/{repository}-base:1")}
    pushed = app.push(f"{proxy.name}/{repository}:1", transport, mounts=places)
    assert ignored.met == 1
    assert app.big.digest in pushed.sent
    assert sum(each.method == "POST" for each in proxy.log) == 3  # the refused mount's upload is the one that is used
    assert pulled(f"{proxy.name}/{repository}:1") == app.image


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_registry_that_refuses_mounts(proxy, transport, repository, app, status):
    proxy.fault("POST", "mount=", proxies.answer(status))
    places = {app.big.digest: parse_reference(f"{proxy.name}/{repository}-base:1")}
    assert app.big.digest in app.push(f"{proxy.name}/{repository}:1", transport, mounts=places).sent
    assert pulled(f"{proxy.name}/{repository}:1") == app.image


def test_a_blob_that_is_only_in_another_repository(proxy, transport, repository, app):
    """As a base's layers are, which were never fetched: where no mount helps, the bytes come and go through here."""
    app.push(f"{proxy.name}/{repository}-base:1", transport)
    proxy.fault("POST", "mount=", proxies.without_query(), times=-1)
    places = {app.big.digest: parse_reference(f"{proxy.name}/{repository}-base:1")}
    del app.blobs.content[app.big.digest]
    assert app.big.digest in app.push(f"{proxy.name}/{repository}:1", transport, mounts=places).sent
    assert pulled(f"{proxy.name}/{repository}:1") == app.image
