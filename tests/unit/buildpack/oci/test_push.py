"""Pushing to a registry that follows the specification; tests/integration/test_registry_push.py has a real one."""

from __future__ import annotations

import random

import pytest

from buildpack.errors import StackError
from buildpack.oci.digest import sha256
from buildpack.oci.push import push_image
from buildpack.oci.reference import parse_reference
from buildpack.oci.registry import Registry
from buildpack.oci.transport import Transport
from tests.support import proxy as proxies
from tests.support.images import Blobs, image_of
from tests.support.proxy import Proxy
from tests.support.registry_client import push_blob

BLOB = random.Random(7).randbytes(1_000_000)
DIGEST = sha256(BLOB)


def send(client: Registry, content: bytes = BLOB) -> list[int]:
    heard: list[int] = []
    assert push_blob(client, content, assume_missing=True, observe=heard.append) == "sent"
    return heard


def ranges(proxy: Proxy) -> list[str]:
    return [each.headers["Content-Range"] for each in proxy.log if each.method == "PATCH"]


def methods(proxy: Proxy) -> list[str]:
    return [each.method for each in proxy.log]


@pytest.mark.parametrize("content", [b"", b"1", BLOB])
def test_an_upload_is_one_request_to_begin_and_one_with_the_blob(server, proxy, client, content):
    send(client, content)
    assert methods(proxy) == ["POST", "PUT"]
    assert server.blobs == {str(sha256(content)): content}


@pytest.mark.parametrize("after", [2, 300_000, 999_999])
def test_an_upload_is_resumed_where_it_was_cut(server, proxy, client, after):
    """No byte that the registry has is sent again."""
    proxy.fault("PUT", "digest=", proxies.cut_request(after))
    heard = send(client)
    assert methods(proxy) == ["POST", "PUT", "GET", "PATCH", "PUT"]
    assert ranges(proxy) == [f"{after}-999999"]
    assert server.blobs == {str(DIGEST): BLOB}
    assert heard[-1] == len(BLOB)


def test_one_byte_and_no_byte_have_the_same_range(server, proxy, client):
    """The specification's "0-0" means either; the registry refuses bytes after the wrong one."""
    proxy.fault("PUT", "digest=", proxies.cut_request(1))
    send(client)
    assert methods(proxy) == ["POST", "PUT", "GET", "PATCH", "GET", "POST", "PATCH", "PUT"]
    assert server.blobs == {str(DIGEST): BLOB}


def test_an_upload_that_is_cut_often_but_progresses_is_finished(server, proxy, client):
    """Only failures in a row count: eight cuts do not end an upload that progresses."""
    proxy.fault("PUT", "digest=", proxies.cut_request(100_000))
    proxy.fault("PATCH", "", proxies.cut_request(100_000), times=8)
    send(client)
    assert len(ranges(proxy)) == 9
    assert server.blobs == {str(DIGEST): BLOB}


def test_a_registry_that_refuses_pieces_gets_the_whole_blob(server, proxy, client):
    server.whole = True
    proxy.fault("PUT", "digest=", proxies.cut_request(300_000))
    send(client)
    assert methods(proxy) == ["POST", "PUT", "GET", "PATCH", "POST", "PUT"]
    assert server.blobs == {str(DIGEST): BLOB}


@pytest.mark.parametrize(("least", "piece"), [(1, 8 << 20), (9_000_000, 9_000_000)])
def test_pieces_are_sent_if_the_registry_asks_for_them(server, proxy, client, least, piece):
    """Pieces have at least the size that the registry asks for, and at least ours."""
    server.least = least
    content = BLOB * 10
    send(client, content)
    assert ranges(proxy) == [f"0-{piece - 1}", f"{piece}-{len(content) - 1}"]
    assert server.blobs == {str(sha256(content)): content}


def test_many_pieces_are_not_trouble(server, proxy, client, monkeypatch):
    """The limit counts failures, not pieces that arrive."""
    monkeypatch.setattr("buildpack.oci.upload._PIECE", 10_000)
    server.least = 1
    send(client)
    assert len(ranges(proxy)) == 100


def test_a_registry_that_takes_a_byte_at_a_time_is_given_up(server, proxy, client):
    server.takes, server.least = 2, 1
    with pytest.raises(StackError) as caught:
        send(client, BLOB * 10)
    assert "failed 50 times" in str(caught.value)


def test_wrong_bytes_are_refused_by_the_registry(server, proxy, client):
    proxy.fault("PUT", "digest=", proxies.altered_request())
    send(client)
    assert methods(proxy) == ["POST", "PUT", "POST", "PUT"]
    assert server.blobs == {str(DIGEST): BLOB}


def test_a_lost_answer_does_not_repeat_the_upload(server, proxy, client):
    """The blob is there, which a question shows; it is not sent again."""
    proxy.fault("PUT", "digest=", proxies.cut_answer())
    send(client)
    assert methods(proxy) == ["POST", "PUT", "GET", "HEAD"]


# Requests of an image's push


def test_blobs_that_the_registry_has_are_not_sent(proxy):
    blobs = Blobs()
    image = image_of(blobs.layer({"a": b"1"}))
    reference = parse_reference(f"{proxy.name}/team/app:1")
    with Transport({}) as transport:
        push_image(image, [reference], blobs.open, transport=transport)
        proxy.clear()
        there = frozenset({image.layers[0].digest, image.config_digest})
        pushed = push_image(image, [reference], blobs.open, transport=transport, present=there)
    # The tag names the image already, so no PUT makes the registry check its blobs.
    assert sorted(f"{each.method} {each.path.split('/')[4]} {each.status}" for each in proxy.log) == [
        "HEAD blobs 200",
        "HEAD blobs 200",
        "HEAD manifests 200",
    ]
    assert (set(pushed.present), pushed.sent, pushed.mounted) == (there, (), ())


def test_a_layer_that_occurs_twice_is_sent_once(proxy):
    blobs = Blobs()
    layer = blobs.layer({"a": b"1"})
    image = image_of(layer, layer)
    with Transport({}) as transport:
        pushed = push_image(image, [parse_reference(f"{proxy.name}/team/app:1")], blobs.open, transport=transport)
    assert len(pushed.sent) == 2
    assert blobs.opened == [layer.digest]
