from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from buildpack.errors import EngineError, MachineError
from buildpack.oci import engine_upload
from buildpack.oci.digest import Digest
from buildpack.oci.engine_load import load
from buildpack.oci.engine_upload import Loaded
from buildpack.oci.image import Image, Layer
from tests.support.engines import NEWER, PODMAN, Engine
from tests.support.images import Blobs, image_of
from tests.support.loading import at, loading_into
from tests.support.waiting import settles

APP = "docker.io/library/app:1"
HAS_IT = "the engine has it already"


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    started: list[Engine] = []

    def start(**settings: object) -> Engine:
        started.append(Engine(tmp_path / f"{len(started)}.sock", **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for engine in started:
        engine.stop()


@pytest.fixture
def engine(start: Callable[..., Engine]) -> Engine:
    return start()


@pytest.fixture
def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every layer large enough for a prefix."""
    monkeypatch.setattr(engine_upload, "WORTH_SENDING", 1)


def layers(blobs: Blobs, *names: str) -> list[Layer]:
    return [blobs.layer({name: os.urandom(3000) + name.encode()}) for name in names]


def sent(image: Image, blobs: Blobs, engine: Engine, *references: str, **settings: object) -> Loaded:
    return load(image, blobs.open, references or (APP,), host=at(engine.host), **settings)  # type: ignore[arg-type]


def failure(call: Callable[[], object]) -> str:
    with pytest.raises(EngineError) as caught:
        call()
    assert caught.value.exit_code == 40
    return str(caught.value)


# The layers that are sent


def test_the_first_load_sends_every_layer(engine: Engine, blobs: Blobs) -> None:
    image = image_of(*layers(blobs, "a", "b"))
    loaded = sent(image, blobs, engine)
    assert loaded == Loaded(
        sent_bytes=sum(layer.size for layer in image.layers),
        sent_layers=2,
        reason="the engine has none of its layers",
    )
    assert engine.tags == {APP: str(image.config_digest)}


def test_an_image_that_the_engine_has_is_not_sent(engine: Engine, blobs: Blobs) -> None:
    image = image_of(*layers(blobs, "a"))
    sent(image, blobs, engine)
    engine.seen.clear()
    assert sent(image, blobs, engine) == Loaded(sent_bytes=0, sent_layers=0, reason=HAS_IT)
    assert engine.seen == [f"GET /images/{APP}/json", f"GET /images/{image.config_digest}/json"]


def test_only_a_missing_name_is_added(engine: Engine, blobs: Blobs) -> None:
    image = image_of(*layers(blobs, "a"))
    sent(image, blobs, engine)
    assert sent(image, blobs, engine, APP, "quay.io/team/app:2", "localhost:5000/app:3").reason == HAS_IT
    assert engine.tags == dict.fromkeys((APP, "quay.io/team/app:2", "localhost:5000/app:3"), str(image.config_digest))
    assert len(engine.loads) == 1


def test_only_layers_above_the_first_change_are_sent(engine: Engine, blobs: Blobs) -> None:
    a, b, c, changed = layers(blobs, "a", "b", "c", "b")
    sent(image_of(a, b, c), blobs, engine)
    blobs.opened.clear()
    loaded = sent(image_of(a, changed, c), blobs, engine)
    assert (loaded.sent_layers, loaded.reason) == (2, "the engine has 1 of 3 layers")
    assert blobs.opened == [changed.digest, c.digest]


def test_only_a_changed_config_is_sent(engine: Engine, blobs: Blobs) -> None:
    stack = layers(blobs, "a")
    sent(image_of(*stack), blobs, engine)
    loaded = sent(image_of(*stack, label="new"), blobs, engine)
    assert (loaded.sent_bytes, loaded.sent_layers, loaded.reason) == (0, 0, "the engine has 1 of 1 layers")


def test_layers_of_other_tags_of_the_repository_are_not_sent(engine: Engine, blobs: Blobs) -> None:
    a, b = layers(blobs, "a", "b")
    sent(image_of(a), blobs, engine, "docker.io/library/app:monday")
    assert sent(image_of(a, b), blobs, engine, "docker.io/library/app:tuesday").sent_layers == 1


def test_layers_of_candidates_are_not_sent(engine: Engine, blobs: Blobs) -> None:
    a, b = layers(blobs, "a", "b")
    base = image_of(a)
    sent(base, blobs, engine, "docker.io/library/base:1")
    assert sent(image_of(a, b), blobs, engine, candidates=[str(base.config_digest)]).sent_layers == 1


def test_the_whole_image_is_sent_after_a_refusal(engine: Engine, blobs: Blobs) -> None:
    a, b = layers(blobs, "a", "b")
    sent(image_of(a), blobs, engine)
    engine.failures = [(200, b'{"errorDetail":{"message":"no such file"},"error":"no such file"}\n')]
    loaded = sent(image_of(a, b), blobs, engine)
    assert loaded.reason == "the engine took only the whole image"
    assert loaded.sent_layers == 3


def test_a_failure_that_is_only_printed_is_noticed(start: Callable[..., Engine], blobs: Blobs) -> None:
    engine = start(server=NEWER, containerd=True)
    a, b = layers(blobs, "a", "b")
    sent(image_of(a), blobs, engine)
    engine.failures = [(200, b'{"stream":"Error unpacking image app: content not found"}\n')]
    assert sent(image_of(a, b), blobs, engine).reason == "the engine took only the whole image"


def test_the_whole_image_is_sent_if_the_engine_drops_a_part(engine: Engine, blobs: Blobs) -> None:
    a, b = layers(blobs, "a", "b")
    sent(image_of(a), blobs, engine)
    engine.failures = [(200, b'{"stream":"Loaded image"}\n')]
    assert sent(image_of(a, b), blobs, engine).reason == "the engine took only the whole image"


@pytest.mark.parametrize("settings", [{"server": PODMAN}, {"server": NEWER, "containerd": True}])
def test_some_engines_find_a_layer_at_any_position(start: Callable[..., Engine], blobs: Blobs, settings: Any) -> None:
    engine = start(**settings)
    a, b, c, changed = layers(blobs, "a", "b", "c", "b")
    sent(image_of(a, b, c), blobs, engine)
    loaded = sent(image_of(a, changed, c), blobs, engine, APP, "docker.io/library/app:2")
    assert (loaded.sent_layers, loaded.reason) == (1, "the engine has 2 of 3 layers")
    assert set(engine.tags) == {APP, "docker.io/library/app:2"}


def in_other_blobs(*names: str) -> tuple[Blobs, list[Layer], list[Layer]]:
    """Return two images with the same layers, compressed and uncompressed."""
    blobs = Blobs()
    made = [blobs.layer_and_tar({name: os.urandom(3000)}) for name in names]
    blobs.content |= {layer.diff_id: tar for layer, tar in made}
    plain = [Layer(digest=layer.diff_id, diff_id=layer.diff_id, size=len(tar)) for layer, tar in made]
    return blobs, [layer for layer, _ in made], plain


@pytest.mark.parametrize("settings", [{"server": PODMAN}, {"server": NEWER, "containerd": True}])
def test_layers_in_other_blobs_are_sent(start: Callable[..., Engine], settings: Any) -> None:
    engine = start(**settings)
    blobs, compressed, plain = in_other_blobs("a", "b")
    sent(image_of(plain[0]), blobs, engine)
    loaded = sent(image_of(*compressed), blobs, engine)
    assert (loaded.sent_layers, loaded.reason) == (3, "the engine took only the whole image")
    assert engine.lacking == set()


def test_containerd_gets_layers_that_its_manifest_lacks(start: Callable[..., Engine]) -> None:
    engine = start(server=NEWER, containerd=True)
    blobs, compressed, plain = in_other_blobs("a", "b")
    first = image_of(plain[0])
    blobs.add(first.manifest)
    sent(first, blobs, engine)
    loaded = sent(image_of(*compressed), blobs, engine)
    assert (loaded.sent_layers, loaded.reason) == (2, "the engine has none of its layers")


def test_containerd_that_cannot_report_missing_blobs_gets_every_layer(start: Callable[..., Engine]) -> None:
    """Docker 23 to 27: only a manifest that we have lists its blobs."""
    engine = start(server=NEWER, containerd=True, api="1.47")
    blobs, compressed, plain = in_other_blobs("a", "b")
    sent(image_of(plain[0]), blobs, engine)
    image = image_of(*compressed)
    assert sent(image, blobs, engine).sent_layers == 2
    assert engine.lacking == set()
    blobs.add(image.manifest)
    changed = blobs.layer({"b": b"changed"})
    assert sent(image_of(compressed[0], changed), blobs, engine).reason == "the engine has 1 of 2 layers"


def test_containerd_image_that_lacks_blobs_is_sent_again(start: Callable[..., Engine], blobs: Blobs) -> None:
    engine = start(server=NEWER, containerd=True)
    image = image_of(*layers(blobs, "a", "b"))
    sent(image, blobs, engine)
    engine.lacking.add(str(image.digest))
    assert sent(image, blobs, engine).reason != HAS_IT
    assert engine.lacking == set()


def test_a_new_docker_with_the_old_store_gets_prefixes(start: Callable[..., Engine], blobs: Blobs) -> None:
    engine = start(server=NEWER)
    a, b, c, changed = layers(blobs, "a", "b", "c", "b")
    sent(image_of(a, b, c), blobs, engine)
    assert sent(image_of(a, changed, c), blobs, engine).sent_layers == 2


def test_progress_is_reported(engine: Engine, blobs: Blobs) -> None:
    image = image_of(*layers(blobs, "a", "b"))
    counts: list[int] = []
    sent(image, blobs, engine, observer=counts.append)
    assert counts == [image.layers[0].size, image.layers[0].size + image.layers[1].size]


# While the image is being built


@pytest.mark.usefixtures("cut_small")
def test_layers_are_sent_before_the_image_is_whole(engine: Engine, blobs: Blobs) -> None:
    stack = layers(blobs, "a", "b", "c")
    with loading_into(engine.host, [APP], blobs.open) as loading:
        for number, layer in enumerate(stack[:2]):
            loading.offer(layer)
            assert settles(lambda number=number: len(engine.loads) == number + 1)  # type: ignore[misc]
        image = image_of(*stack)
        loaded = loading.finish(image)
    assert loaded.sent_layers == 3
    assert engine.images == {str(image.config_digest): tuple(str(layer.diff_id) for layer in stack)}
    assert [len(load) for load in engine.loads] == [2, 2, 2]


@pytest.mark.usefixtures("cut_small")
def test_a_busy_engine_gets_no_second_prefix(engine: Engine, blobs: Blobs) -> None:
    stack = layers(blobs, "a", "b", "c", "d")
    engine.gate.clear()
    with loading_into(engine.host, [APP], blobs.open) as loading:
        for layer in stack:
            loading.offer(layer)
        assert settles(lambda: len(blobs.opened) == 4)
        engine.gate.set()
        loading.finish(image_of(*stack))
    assert [len(load) for load in engine.loads] in ([2, 4], [2, 4, 1])


@pytest.mark.usefixtures("cut_small")
def test_an_engine_that_becomes_idle_gets_the_waiting_layers(engine: Engine, blobs: Blobs) -> None:
    stack = layers(blobs, "a", "b")
    engine.gate.clear()
    with loading_into(engine.host, [APP], blobs.open) as loading:
        for layer in stack:
            loading.offer(layer)
        assert settles(lambda: len(blobs.opened) == 2)
        engine.gate.set()
        assert settles(lambda: len(engine.loads) == 2)
        loading.finish(image_of(*stack))
    assert list(engine.images.values()) == [tuple(str(layer.diff_id) for layer in stack)]


def test_uncompressed_layers_are_sent_unchanged(engine: Engine, blobs: Blobs) -> None:
    layer, tar = blobs.layer_and_tar({"a": bytes(10_000)})
    file = io.BytesIO(tar)
    with loading_into(engine.host, [APP], blobs.open) as loading:
        loading.offer(layer, file)
        loaded = loading.finish(image_of(layer))
    assert loaded.sent_bytes == len(tar)
    assert blobs.opened == []
    assert file.closed


@pytest.mark.usefixtures("cut_small")
def test_a_prefix_that_fails_is_forgotten(engine: Engine, blobs: Blobs) -> None:
    stack = layers(blobs, "a", "b")
    engine.failures = [(500, b'{"message":"not today"}')]
    with loading_into(engine.host, [APP], blobs.open) as loading:
        loading.offer(stack[0])
        assert settles(lambda: not engine.failures)
        image = image_of(*stack)
        loaded = loading.finish(image)
    assert loaded.reason == "the engine took only the whole image"
    assert list(engine.images) == [str(image.config_digest)]


@pytest.mark.usefixtures("cut_small")
def test_a_blob_that_cannot_be_opened_yet_is_sent_at_the_end(engine: Engine, blobs: Blobs) -> None:
    stack = layers(blobs, "a", "b")
    content = blobs.content.pop(stack[0].digest)
    refused: list[Digest] = []

    def open_blob(digest: Digest) -> io.BytesIO:
        if digest not in blobs.content:
            refused.append(digest)
            raise MachineError("not there yet")
        return io.BytesIO(blobs.content[digest])

    with loading_into(engine.host, [APP], open_blob) as loading:
        loading.offer(stack[0])
        assert settles(lambda: bool(refused))
        blobs.content[stack[0].digest] = content
        assert loading.finish(image_of(*stack)).reason == "the engine took only the whole image"


def test_an_image_with_other_layers_than_offered_is_sent(engine: Engine, blobs: Blobs) -> None:
    a, b = layers(blobs, "a", "b")
    with loading_into(engine.host, [APP], blobs.open) as loading:
        loading.offer(a)
        image = image_of(b)
        loading.finish(image)
    assert engine.tags == {APP: str(image.config_digest)}


@pytest.mark.usefixtures("cut_small")
def test_an_abandoned_build_leaves_nothing(engine: Engine, blobs: Blobs) -> None:
    stack = layers(blobs, "a", "b")
    file = io.BytesIO(b"never read")
    with loading_into(engine.host, [APP], blobs.open) as loading:
        loading.offer(stack[0])
        assert settles(lambda: len(engine.images) == 1)
        loading.offer(stack[1])
        loading.expect()
    loading.offer(stack[1], file)
    assert engine.images == {}
    assert file.closed
    with pytest.raises(AssertionError, match="nothing was sent"):
        loading.result()


def test_an_expected_layer_that_does_not_come_is_harmless(engine: Engine, blobs: Blobs) -> None:
    image = image_of(*layers(blobs, "a"))
    sent(image, blobs, engine)
    with loading_into(engine.host, [APP], blobs.open) as loading:
        loading.expect()
        loading.offer(image.layers[0])
        assert loading.finish(image).reason == HAS_IT
    assert settles(lambda: len(engine.loads) == 2)
    assert engine.loads[1] == ()


# Failures


def test_an_engine_that_is_not_running_is_an_error(tmp_path: Path, blobs: Blobs) -> None:
    image = image_of(*layers(blobs, "a"))
    host = f"unix://{tmp_path}/none.sock"
    after = "start it, or set DOCKER_HOST to another one; `--to archive:FILE` needs no engine."
    assert failure(lambda: load(image, blobs.open, [APP], host=at(host))) == (
        f"the container engine at {host} is not running\n\nThere is no socket at this path.\n\nhint: {after}"
    )
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(f"{tmp_path}/none.sock")
        assert failure(lambda: load(image, blobs.open, [APP], host=at(host))) == (
            f"the container engine at {host} is not running\n\nIt refused the connection.\n\nhint: {after}"
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        assert failure(lambda: load(image, blobs.open, [APP], host=at(host))) == (
            f"the container engine at {host} is not running\n\nIt refused the connection.\n\nhint: {after}"
        )


def test_a_missing_engine_is_reported_before_the_build(tmp_path: Path, blobs: Blobs) -> None:
    with loading_into(f"unix://{tmp_path}/none.sock", [APP], blobs.open) as loading:
        assert "is not running" in failure(loading.result)


def test_a_full_disk_is_an_error(engine: Engine, blobs: Blobs) -> None:
    image = image_of(*layers(blobs, "a"))
    said = "write /var/lib/docker/tmp/x: no space left on device"
    engine.failures = [(200, b'{"errorDetail":{"message":"%b"},"error":"%b"}' % (said.encode(), said.encode()))]
    assert failure(lambda: sent(image, blobs, engine)) == (
        f"the disk of the container engine at {engine.host} is full\n\nIt said: {said}\n\n"
        "hint: make room with `docker system prune`, and build again: what is built already is kept."
    )


def test_a_refusal_is_an_error(engine: Engine, blobs: Blobs) -> None:
    image = image_of(*layers(blobs, "a"))
    engine.failures = [(500, b'{"message":"wrong platform"}')]
    assert failure(lambda: sent(image, blobs, engine)) == (
        f"the container engine at {engine.host} refused the image\n\nIt said: wrong platform\n\n"
        "hint: see the engine's own log; `--to archive:FILE` keeps the image for a closer look."
    )


def test_an_image_that_is_missing_after_the_load_is_an_error(engine: Engine, blobs: Blobs) -> None:
    image = image_of(*layers(blobs, "a"))
    engine.failures = [(200, b'{"stream":"Loaded image"}')]
    assert failure(lambda: sent(image, blobs, engine)) == (
        f"the container engine at {engine.host} refused the image\n\n"
        "It said: nothing, but it does not have the image\n\n"
        "hint: see the engine's own log; `--to archive:FILE` keeps the image for a closer look."
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "The server is not an engine"),
        (b"", "It cut the connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "It cut the connection"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n" + bytes(17 << 20),
            "Its answer is too long",
        ),
    ],
    ids=["ssh", "nothing", "cut", "long"],
)
def test_a_server_that_is_not_an_engine_is_an_error(tmp_path: Path, blobs: Blobs, answer: bytes, reason: str) -> None:
    import threading

    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(BrokenPipeError):
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        image = image_of(*layers(blobs, "a"))
        said = failure(lambda: load(image, blobs.open, [APP], host=at(f"unix://{path}")))
        thread.join()
    assert said == (
        f"the container engine at unix://{path} is not running\n\n{reason}.\n\n"
        "hint: start it, or set DOCKER_HOST to another one; `--to archive:FILE` needs no engine."
    )


def test_an_engine_that_hangs_up_during_the_upload_is_heard(tmp_path: Path, blobs: Blobs) -> None:
    """Docker answers at once and stops reading if it cannot unpack a layer."""
    import threading

    path = tmp_path / "x.sock"
    body = b'{"message":"no space left on device"}'
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,)).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                while request := connection.recv(1000):
                    if request.startswith(b"GET"):
                        connection.sendall(b"HTTP/1.1 404 x\r\nServer: Docker/20.10.1\r\nContent-Length: 2\r\n\r\n{}")
                    else:
                        connection.sendall(b"HTTP/1.1 500 x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        image = image_of(blobs.layer({"a": os.urandom(3 << 20)}))
        said = failure(lambda: load(image, blobs.open, [APP], host=at(f"unix://{path}")))
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert said.startswith(f"the disk of the container engine at unix://{path} is full\n")


def test_a_damaged_blob_is_reported_as_such(engine: Engine, blobs: Blobs) -> None:
    image = image_of(*layers(blobs, "a"))

    def open_blob(digest: Digest) -> io.BytesIO:
        raise MachineError(f"{digest.short} is damaged")

    with pytest.raises(MachineError, match="is damaged"):
        load(image, open_blob, [APP], host=at(engine.host))
