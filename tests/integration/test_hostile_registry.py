"""Registries that attack: answers that do not end."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest

from buildpack.errors import BuildpackError
from buildpack.oci.digest import sha256
from buildpack.oci.reference import parse_reference
from buildpack.oci.registry import Registry
from buildpack.oci.transport import Transport
from tests.support.raw_server import CONTINUES, ENDLESS, TRICKLE, SteppingClock, raw_server

MANIFEST = b"application/vnd.oci.image.manifest.v1+json"


@contextmanager
def slow_registry(reply: Callable[[str, str], Iterable[bytes]], step: float = 31) -> Iterator[Registry]:
    """Yield a registry that answers so, seen with a clock that goes fast."""
    clock = SteppingClock(step)

    def sleep(_seconds: float) -> None:
        clock.now += 100

    with raw_server(reply) as host, Transport({}, clock=clock, sleep=sleep) as transport:
        yield Registry(parse_reference(f"{host}/app:1"), transport=transport)


def failure(call: Callable[[], object]) -> BuildpackError:
    with pytest.raises(BuildpackError) as error:
        call()
    return error.value


@pytest.mark.parametrize(
    "answer", [(ENDLESS % MANIFEST, *TRICKLE), CONTINUES, (b"HTTP/1.1 200 OK\r\nX: ", *TRICKLE)],
    ids=["body", "100 Continue", "header"],
)  # fmt: skip
def test_a_manifest_that_trickles(answer: Iterable[bytes]) -> None:
    with slow_registry(lambda _method, _path: answer) as registry:
        error = failure(registry.fetch_manifest)

    assert error.exit_code == 30
    assert str(error) == (
        f"the registry {registry.reference.host} is too slow\n\n"
        "The transfer was stopped: less than 1024 bytes a second went over the connection for 60 seconds.\n\n"
        "hint: check the network, and try again: layers that arrived are kept."
    )


def test_a_layer_that_trickles() -> None:
    with slow_registry(lambda _method, _path: (ENDLESS % b"x/y", *TRICKLE)) as registry:
        error = failure(lambda: registry.fetch_blob(sha256(b""), 1 << 20, io.BytesIO()))

    assert (error.exit_code, error.what) == (30, f"the registry {registry.reference.host} is too slow")


def test_a_layer_that_is_cut_again_and_again_has_an_end() -> None:
    """A server may send some bytes, hang up, and send some more, for as long as it is asked."""
    asked = 0

    def reply(_method: str, _path: str) -> Iterable[bytes]:
        nonlocal asked
        asked += 1
        return (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 9999\r\n\r\n", b"x" * 64)

    with slow_registry(reply, step=1) as registry:
        error = failure(lambda: registry.fetch_blob(sha256(b""), 9999, io.BytesIO()))

    assert (error.exit_code, error.what) == (30, f"{registry.reference} cannot be fetched")
    assert asked < 10


def test_a_token_that_trickles() -> None:
    def reply(_method: str, path: str) -> Iterable[bytes]:
        if path.startswith("/token"):
            return (ENDLESS % b"application/json", *TRICKLE)
        challenge = f'Bearer realm="http://{registry.reference.host}/token"'
        return (f"HTTP/1.1 401 No\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n".encode(),)

    with slow_registry(reply) as registry:
        error = failure(registry.fetch_manifest)

    assert (error.exit_code, error.what) == (30, f"the registry {registry.reference.host} is too slow")


def test_the_answer_to_an_upload_that_trickles() -> None:
    with slow_registry(lambda _method, _path: (b"HTTP/1.1 202 Accepted\r\nX: ", *TRICKLE)) as registry:
        error = failure(lambda: registry.push_manifest(b"{}", MANIFEST.decode(), "1"))

    assert (error.exit_code, error.what) == (30, f"the registry {registry.reference.host} is too slow")


def test_an_upload_has_an_end() -> None:
    blob = bytes(4 << 20)

    def reply(method: str, path: str) -> Iterable[bytes]:
        if method == "POST":
            return (b"HTTP/1.1 202 Accepted\r\nLocation: /v2/app/blobs/uploads/1\r\nContent-Length: 0\r\n\r\n",)
        return (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",)

    with slow_registry(reply, step=14) as registry:
        error = failure(lambda: registry.push_blob(sha256(blob), len(blob), lambda: io.BytesIO(blob)))

    assert (error.exit_code, error.what) == (30, f"the registry {registry.reference.host} is too slow")
    assert error.why == "The transfer was stopped: the transfer was not done after 14 minutes."
