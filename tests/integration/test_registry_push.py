"""Pushing to the distribution registry, through a proxy that fails in every way a network and a registry can."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from buildpack.errors import LostError, MachineError, StackError
from buildpack.errors.registry import BlobVanished
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import INDEX, MANIFEST, Image, Platform, canonical_json
from buildpack.oci.push import Pushed, push_image, push_index
from buildpack.oci.reference import parse_reference
from buildpack.oci.referrers import fetch_referrers, push_referrer
from buildpack.oci.registry import Registry
from buildpack.oci.store import Store
from buildpack.oci.transport import Transport
from buildpack.progress import Progress
from tests.conftest import serving_registry
from tests.support import proxy as proxies
from tests.support.command import ROOT
from tests.support.images import Blobs, image_of
from tests.support.proxy import Proxy
from tests.support.registry_client import connected, push_blob

pytestmark = pytest.mark.registry

BIG = 600_000
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
        self.blobs = Blobs()
        self.big = self.blobs.layer({"big": random.Random(seed).randbytes(BIG)})
        self.small = self.blobs.layer({"small": seed.encode(), **{f"more{n}": body for n, body in enumerate(more)}})
        self.image = image_of(self.big, self.small, label=seed)

    def push(self, reference: str, transport: Transport, **options: object) -> Pushed:
        return push_image(self.image, [parse_reference(reference)], self.blobs.open, transport=transport, **options)  # type: ignore[arg-type]


@pytest.fixture
def app(repository: str) -> App:
    return App(repository)


def pulled(reference: str) -> Image:
    """The image as it comes back, every blob verified."""
    with connected(parse_reference(reference), {}) as client:
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


# Traffic


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
    assert {each.method for each in proxy.log} == {"HEAD"}
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


# Faults: a right image or a clear error, and never a tag that names something broken


UPLOADS = r"^/v2/push/[0-9a-f-]+/blobs/uploads/"
PUT_BLOB = r"/blobs/uploads/.*digest="
CUTS = {
    "before the question is answered": ("HEAD", "/blobs/", proxies.cut()),
    "after the question was heard": ("HEAD", "/blobs/", proxies.cut_answer()),
    "before an upload begins": ("POST", UPLOADS, proxies.cut()),
    "after an upload began": ("POST", UPLOADS, proxies.cut_answer()),
    "before the first byte": ("PUT", PUT_BLOB, proxies.cut_request(0)),
    "in the middle of an upload": ("PUT", PUT_BLOB, proxies.cut_request(100)),
    "after an upload": ("PUT", PUT_BLOB, proxies.cut_answer()),
    "before the manifest": ("PUT", "/manifests/", proxies.cut()),
    "in the middle of the manifest": ("PUT", "/manifests/", proxies.cut_request(50)),
    "after the manifest": ("PUT", "/manifests/", proxies.cut_answer()),
}


@pytest.mark.parametrize("phase", CUTS)
def test_a_cut(proxy, transport, repository, app, phase):
    method, path, action = CUTS[phase]
    fault = proxy.fault(method, path, action, times=3)
    app.push(f"{proxy.name}/{repository}:1", transport)
    assert fault.met == 3
    assert pulled(f"{proxy.name}/{repository}:1") == app.image


@pytest.mark.parametrize("phase", CUTS)
def test_a_cut_every_time(proxy, transport, repository, app, phase):
    """The tag names what it named before, unless what was cut is only a look."""
    before = image_of(app.small, label="before")
    push_image(before, [parse_reference(f"{proxy.name}/{repository}:1")], app.blobs.open, transport=transport)
    method, path, action = CUTS[phase]
    proxy.fault(method, path, action, times=-1)
    if phase == "after an upload":
        # Else it is found out that only the answer was lost.
        proxy.fault("HEAD", "/blobs/", proxies.cut(), times=-1)
    done = method == "HEAD" or phase == "after the manifest"
    if done:
        app.push(f"{proxy.name}/{repository}:1", transport)
    else:
        assert told(lambda: app.push(f"{proxy.name}/{repository}:1", transport))
    proxy.clear()
    assert pulled(f"{proxy.name}/{repository}:1") == (app.image if done else before)


def send_big(proxy: Proxy, transport: Transport, repository: str, app: App) -> list[int]:
    """Push the big layer alone, and fetch it again; what the observer heard."""
    big, heard = app.big, list[int]()
    client = Registry(parse_reference(f"{proxy.name}/{repository}:1"), transport)
    sent = push_blob(client, app.blobs.content[big.digest], observe=heard.append)
    assert sent == "sent"
    client.fetch_blob(big.digest, big.size, io.BytesIO())
    return heard


def test_pieces_where_the_registry_takes_no_large_request(proxy, transport, repository, app):
    proxy.fault("PUT", PUT_BLOB, proxies.answer(413))
    send_big(proxy, transport, repository, app)
    half = (app.big.size + 1) // 2
    assert [each.method for each in proxy.log] == ["HEAD", "POST", "PUT", "POST", "PATCH", "PATCH", "PUT", "GET"]
    ranges = [each.headers["Content-Range"] for each in proxy.log if each.method == "PATCH"]
    assert ranges == [f"0-{half - 1}", f"{half}-{app.big.size - 1}"]


def test_pieces_go_on_where_they_were_cut(proxy, transport, repository, app):
    """Blobs that the registry has by then are not sent again."""
    proxy.fault("PUT", PUT_BLOB, proxies.answer(413))
    proxy.fault("PATCH", "", proxies.cut(), skip=1, times=2)
    heard = send_big(proxy, transport, repository, app)
    assert [each.method for each in proxy.log] == [
        *("HEAD", "POST", "PUT", "POST"),
        *("PATCH", "PATCH", "GET", "PATCH", "GET", "PATCH", "PUT"),
        "GET",
    ]
    assert heard[-1] == app.big.size


def test_an_upload_that_the_registry_forgot_is_begun_again(proxy, transport, repository, app):
    """This one forgets what was cut in the middle; the second attempt is one that others keep."""
    proxy.fault("PUT", PUT_BLOB, proxies.cut_request(200_000))
    proxy.fault("PATCH", "", proxies.cut_request(200_000))
    send_big(proxy, transport, repository, app)
    assert [each.method for each in proxy.log] == [
        *("HEAD", "POST", "PUT", "GET", "HEAD"),
        *("POST", "PATCH", "GET", "HEAD"),
        *("POST", "PATCH", "PUT"),
        "GET",
    ]


def test_nothing_is_small_enough(proxy, transport, repository, app):
    proxy.fault("PUT", PUT_BLOB, proxies.answer(413), times=-1)
    proxy.fault("PATCH", "", proxies.answer(413), times=-1)
    text = told(lambda: send_big(proxy, transport, repository, app))
    upload = proxy.log[-1].path.partition("?")[0]
    assert text == (
        f"{proxy.name}/{repository}:1 cannot be pushed: the registry refuses requests of this size\n\n"
        f"PATCH http://{proxy.name}{upload} answered 413.\n"
        f"The blob has {app.big.size} bytes; smaller pieces were refused as well.\n\n"
        "hint: raise the limit of the registry, or of the proxy before it (nginx: client_max_body_size 0)."
    )


# Answers that are none


@pytest.mark.parametrize(("method", "path"), [("POST", UPLOADS), ("PUT", PUT_BLOB), ("PUT", "/manifests/")])
def test_a_registry_that_is_busy(proxy, transport, pauses, repository, app, method, path):
    proxy.fault(method, path, proxies.answer(500))
    proxy.fault(method, path, proxies.answer(429, Retry_After="7"))
    proxy.fault(method, path, proxies.answer(503, Retry_After="0"))
    app.push(f"{proxy.name}/{repository}:1", transport)
    assert 7.0 in pauses
    assert pulled(f"{proxy.name}/{repository}:1") == app.image


def test_a_registry_that_stays_busy(proxy, transport, pauses, repository, app):
    said = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "slow\ndown\x1b[31m"}]}).encode()
    proxy.fault("PUT", "/manifests/", proxies.answer(429, said, Retry_After="9"), times=-1)
    assert told(lambda: app.push(f"{proxy.name}/{repository}:1", transport)) == (
        f"the registry {proxy.name} refuses more requests for now\n\n"
        f"PUT http://{proxy.name}/v2/{repository}/manifests/1 answered 429: TOOMANYREQUESTS: slow down [31m "
        "(too many requests), 5 times.\n\n"
        "hint: wait until its limit allows more; a login often raises it."
    )
    assert pauses == [9.0] * 4


def test_a_registry_that_is_read_only(transport, app, tmp_path):
    """The real one, in maintenance: it answers 405 without a word."""
    with serving_registry(tmp_path, storage="  maintenance:\n    readonly:\n      enabled: true\n") as name:
        text = told(lambda: app.push(f"{name}/team/app:1", transport))
    assert text == (
        f"{name}/team/app:1 cannot be pushed: the registry is read-only\n\n"
        f"POST http://{name}/v2/team/app/blobs/uploads/ answered 405.\n"
        "It is in maintenance, or is a mirror of another registry.\n\n"
        "hint: end its maintenance, or push to the registry that it mirrors."
    )


def test_a_registry_s_full_disk_is_named(proxy, transport, repository, app):
    """In the words of the real one, whose details are an object."""
    detail = {"DriverName": "filesystem", "Enclosed": {"Op": "write", "Path": "/files", "Err": 28}}
    said = {"errors": [{"code": "UNKNOWN", "message": "unknown error", "detail": detail}]}
    proxy.fault("POST", "/blobs/uploads/", proxies.answer(500, json.dumps(said).encode()), times=-1)
    assert told(lambda: app.push(f"{proxy.name}/{repository}:1", transport)) == (
        f"the registry {proxy.name} fails\n\n"
        f"POST http://{proxy.name}/v2/{repository}/blobs/uploads/ answered 500: UNKNOWN: unknown error: "
        f"{json.dumps(detail)}, 5 times.\n\n"
        "hint: try again later; if it fails again, see the server's log: its disk may be full, for example."
    )


def test_a_registry_that_fails_at_every_upload(proxy, transport, pauses, repository, app):
    proxy.fault("PUT", PUT_BLOB, proxies.answer(500, b'{"errors":[{"code":"UNKNOWN","message":"disk"}]}'), times=-1)
    text = told(lambda: send_big(proxy, transport, repository, app))
    upload = next(each.path for each in reversed(proxy.log) if each.method == "PUT").partition("?")[0]
    assert text == (
        f"{proxy.name}/{repository}:1 cannot be pushed\n\n"
        f"The upload of {app.big.digest} ({app.big.size} bytes) failed 5 times. "
        f"Last: PUT http://{proxy.name}{upload} answered 500: UNKNOWN: disk.\n\n"
        "hint: try again; blobs that the registry has are not sent again. No tag was changed."
    )
    assert len(pauses) == 4


def test_a_refusal(proxy, transport, repository, app):
    said = b'{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":"no"}]}'
    proxy.fault("PUT", "/manifests/", proxies.answer(400, said))
    assert told(lambda: app.push(f"{proxy.name}/{repository}:1", transport)) == (
        f"{proxy.name}/{repository}:1 cannot be pushed: the registry refuses the manifest\n\n"
        f"PUT http://{proxy.name}/v2/{repository}/manifests/1 answered 400: MANIFEST_INVALID: manifest invalid: no.\n"
        f"It has all the blobs; the manifest's media type is {MANIFEST}.\n\n"
        "hint: if the registry accepts only Docker's format, add `--format docker` to the command."
    )


def test_no_such_repository(proxy, transport, repository, app):
    proxy.fault("POST", UPLOADS, proxies.answer(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}'), times=-1)
    assert told(lambda: app.push(f"{proxy.name}/{repository}:1", transport)) == (
        f"{proxy.name}/{repository}:1 cannot be pushed\n\n"
        f"POST http://{proxy.name}/v2/{repository}/blobs/uploads/ answered 404: NAME_UNKNOWN.\n\n"
        "hint: check the name, and create the repository first: this registry does not create repositories."
    )


def test_a_push_without_a_login(proxy, transport, repository, app):
    proxy.fault("POST", UPLOADS, proxies.answer(401, WWW_Authenticate='Basic realm="x"'), times=-1)
    assert told(lambda: app.push(f"{proxy.name}/{repository}:1", transport)) == (
        f"{proxy.name}/{repository}:1 cannot be pushed anonymously\n\n"
        f"POST http://{proxy.name}/v2/{repository}/blobs/uploads/ answered 401.\n"
        "A push needs a login, and there is none for this registry.\n\n"
        f"hint: check the name; log in with `docker login {proxy.name}`, or set DEPLOY_REGISTRY_USER and "
        "DEPLOY_REGISTRY_PASSWORD."
    )


def test_a_manifest_that_something_changes(proxy, transport, repository, app):
    other = sha256(b"other")
    proxy.fault("PUT", "/manifests/", proxies.with_header("Docker-Content-Digest", str(other)))
    proxy.fault("PUT", "/manifests/", proxies.without_header("Docker-Content-Digest"))
    text = told(lambda: app.push(f"{proxy.name}/{repository}:1", transport))
    assert f"The manifest {app.image.digest} was sent, and the registry says that it keeps" in text
    app.push(f"{proxy.name}/{repository}:1", transport)


# Bytes that change on the way


def test_wrong_bytes_go(proxy, transport, repository, app):
    """The registry finds out, and takes them the second time."""
    proxy.fault("PUT", PUT_BLOB, proxies.altered_request())
    app.push(f"{proxy.name}/{repository}:1", transport)
    assert pulled(f"{proxy.name}/{repository}:1") == app.image


@pytest.mark.parametrize("path", ["/manifests/", "/blobs/"])
def test_wrong_bytes_come(proxy, transport, repository, app, path):
    app.push(f"{proxy.name}/{repository}:1", transport)
    proxy.fault("GET", path, proxies.alter())
    assert "arrived damaged" in told(lambda: pulled(f"{proxy.name}/{repository}:1"))


# Blobs that vanish


def vanish(registry: str, repository: str, *digests: Digest) -> Callable[[], None]:
    return lambda: [proxies.lose(registry, repository, digest) for digest in digests] and None


def test_a_blob_that_vanishes_after_it_was_asked_for(registry, proxy, transport, repository, app):
    """It is here, so it is sent after all."""
    app.push(f"{proxy.name}/{repository}:1", transport)
    proxy.fault("HEAD", str(app.big.digest), proxies.afterwards(vanish(registry, repository, app.big.digest)))
    pushed = app.push(f"{proxy.name}/{repository}:2", transport)
    assert app.big.digest in pushed.sent
    assert pulled(f"{proxy.name}/{repository}:2") == app.image


def test_a_blob_that_vanished_and_is_not_here(registry, proxy, transport, repository, app):
    app.push(f"{proxy.name}/{repository}:1", transport)
    proxies.lose(registry, repository, app.big.digest)
    del app.blobs.content[app.big.digest]
    with pytest.raises(BlobVanished) as caught:
        app.push(f"{proxy.name}/{repository}:2", transport, present=frozenset({app.big.digest}))
    assert caught.value.digests == (str(app.big.digest),)
    assert str(caught.value) == (
        f"{proxy.name}/{repository}:2 cannot be pushed: the registry lacks blobs that are not here either\n\n"
        f"Missing: {app.big.digest}.\n\n"
        "hint: build again with `--no-cache`, so that every layer is made here; no tag was changed."
    )
    client = Registry(parse_reference(f"{proxy.name}/{repository}:2"), transport)
    assert client.find_digest("2") is None


def test_a_blob_that_a_lost_error_says_is_not_here(proxy, transport, repository, app):
    def nothing(digest: Digest) -> io.BytesIO:
        raise LostError("lost")

    with pytest.raises(BlobVanished) as caught:
        push_image(app.image, [parse_reference(f"{proxy.name}/{repository}:1")], nothing, transport=transport)
    assert set(caught.value.digests) == {str(app.big.digest), str(app.small.digest)}


def test_a_registry_that_does_not_say_what_it_lacks(registry, proxy, transport, repository, app):
    app.push(f"{proxy.name}/{repository}:1", transport)
    proxies.lose(registry, repository, app.big.digest)
    said = b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}'
    proxy.fault("PUT", "/manifests/", proxies.answer(400, said))
    present = frozenset({app.big.digest, app.small.digest})
    assert app.push(f"{proxy.name}/{repository}:2", transport, present=present).sent == (app.big.digest,)
    assert pulled(f"{proxy.name}/{repository}:2") == app.image


def test_a_blob_here_that_cannot_be_read(proxy, transport, repository, app, tmp_path):
    """It is not taken for a fault of the network, and nothing else goes on for long."""

    def opened(digest: Digest):
        return tmp_path.open("rb") if digest == app.big.digest else app.blobs.open(digest)

    with pytest.raises(MachineError) as caught:
        push_image(app.image, [parse_reference(f"{proxy.name}/{repository}:1")], opened, transport=transport)
    assert caught.value.exit_code == 70


def test_a_blob_here_that_is_shorter_than_it_should_be(proxy, transport, repository, app):
    """The registry would wait for the rest, and we for its answer."""
    app.blobs.content[app.big.digest] = app.blobs.content[app.big.digest][:-1]
    with pytest.raises(MachineError) as caught:
        app.push(f"{proxy.name}/{repository}:1", transport)
    assert str(caught.value) == (
        f"{app.big.digest} cannot be read\n\nThe system says: it ends after {app.big.size - 1} bytes.\n\n"
        "hint: check the store's folder, and build again."
    )


# Two at once


def test_two_pushes_of_one_tag(proxy, registry, repository):
    """Each ends well, and the tag names one of the two images, whole."""
    apps = [App(f"{repository} {number}") for number in range(4)]
    failures: list[BaseException] = []

    def push(app: App) -> None:
        try:
            with Transport({}) as transport:
                app.push(f"{proxy.name}/{repository}:1", transport)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=push, args=(app,)) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert pulled(f"{proxy.name}/{repository}:1") in [app.image for app in apps]
    for app in apps:
        assert pulled(f"{proxy.name}/{repository}@{app.image.digest}") == app.image


# Indexes and referrers


def test_index(proxy, transport, repository):
    platforms = [Platform(architecture=name) for name in ("amd64", "arm64")]
    blobs = Blobs()
    images = {
        each: image_of(blobs.layer({"a": str(each).encode()}), label=repository, platform=each) for each in platforms
    }
    listed = []
    for platform, image in images.items():
        reference = parse_reference(f"{proxy.name}/{repository}@{image.digest}")
        push_image(image, [reference], blobs.open, transport=transport)
        described = {"os": platform.os, "architecture": platform.architecture}
        listed.append(
            {"mediaType": MANIFEST, "digest": str(image.digest), "size": len(image.manifest), "platform": described}
        )
    raw = canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
    references = [parse_reference(f"{proxy.name}/{repository}:{tag}") for tag in ("1", "latest")]
    pushed = push_index(raw, references, transport=transport)
    assert pushed.references == tuple(each.pinned(sha256(raw)) for each in references)
    for platform, image in images.items():
        client = Registry(references[1], transport)
        assert client.fetch_image(platform).image == image


def test_index_of_what_is_not_there(proxy, transport, repository):
    entry = {"mediaType": MANIFEST, "digest": str(sha256(b"none")), "size": 4}
    raw = canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    with pytest.raises(BlobVanished) as caught:
        push_index(raw, [parse_reference(f"{proxy.name}/{repository}:1")], transport=transport)
    assert caught.value.digests == (str(sha256(b"none")),)


def referrer(subject: Image, note: str) -> tuple[bytes, dict[Digest, bytes]]:
    """An SBOM, as far as a registry can see."""
    empty, content = b"{}", note.encode()
    raw = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/vnd.test+json",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(sha256(empty)), "size": 2},
            "layers": [{"mediaType": "text/plain", "digest": str(sha256(content)), "size": len(content)}],
            "subject": {"mediaType": MANIFEST, "digest": str(subject.digest), "size": len(subject.manifest)},
            "annotations": {"note": note},
        }
    )
    return raw, {sha256(empty): empty, sha256(content): content}


def test_referrers_where_the_registry_keeps_none(proxy, transport, repository, app):
    app.push(f"{proxy.name}/{repository}:1", transport)
    reference = parse_reference(f"{proxy.name}/{repository}:1")
    made = [referrer(app.image, note) for note in ("one", "two", "one")]
    digests = [push_referrer(raw, blobs, reference, transport=transport) for raw, blobs in made]
    client = Registry(reference, transport)
    listed = fetch_referrers(client, app.image.digest).listed
    assert [each["digest"] for each in listed] == [str(digest) for digest in digests[:2]]
    assert listed[0] == {
        "mediaType": MANIFEST,
        "digest": str(digests[0]),
        "size": len(made[0][0]),
        "artifactType": "application/vnd.test+json",
        "annotations": {"note": "one"},
    }
    assert fetch_referrers(client, app.image.digest, "application/vnd.test+json").listed == listed
    assert fetch_referrers(client, app.image.digest, "application/other").listed == ()
    assert fetch_referrers(client, sha256(b"none")).listed == ()


# Other tools


def test_other_tools_read_it(registry, transport, repository, app, tmp_path):
    reference = f"{registry}/{repository}:1"
    app.push(reference, transport)
    layout = tmp_path / "layout"
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{reference}", f"oci:{layout}:1")
    listed = json.loads((layout / "index.json").read_text())["manifests"]
    assert [each["digest"] for each in listed] == [str(app.image.digest)]
    shown = run("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{reference}")
    assert shown.strip() == str(app.image.digest)
    run("umoci", "unpack", "--rootless", "--image", f"{layout}:1", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle" / "rootfs" / "small").read_text() == repository


@pytest.mark.engine
@pytest.mark.podman
def test_engines_pull_it(registry, engine, transport, repository, app):
    reference = f"{registry}/{repository}:1"
    app.push(reference, transport)
    run("docker", "--host", engine, "pull", "--quiet", reference)
    try:
        shown = run("docker", "--host", engine, "image", "inspect", "--format", "{{.Id}} {{.RepoDigests}}", reference)
        assert shown.split() == [str(app.image.config_digest), f"[{registry}/{repository}@{app.image.digest}]"]
    finally:
        run("docker", "--host", engine, "image", "rm", reference)
    run("podman", "pull", "--quiet", "--tls-verify=false", reference)
    try:
        assert run("podman", "image", "inspect", "--format", "{{.Digest}}", reference).strip() == str(app.image.digest)
    finally:
        run("podman", "image", "rm", reference)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


# The command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_push_to_a_registry_that_is_silent(app, tmp_path, number):
    """Else it would go on for minutes: each of its threads waits for an answer, and asks again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}/team/app:1"
        store = Store(tmp_path / "home")
        for content in (*app.blobs.content.values(), app.image.config, app.image.manifest):
            store.write(content)
        store.put_image(app.image, [name])
        pushing = subprocess.Popen(
            [sys.executable, "-m", "deployer", "push", name],
            env={**os.environ, "DEPLOY_HOME": str(store.root), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            silent.settimeout(60)
            with silent.accept()[0] as connection:
                connection.settimeout(60)
                assert connection.recv(4) == b"HEAD"
                pushing.send_signal(number)
                out, err = pushing.communicate(timeout=30)
        finally:
            pushing.kill()
            pushing.communicate()
    assert (pushing.returncode, out) == (128 + number, "")
    assert "Traceback" not in err
