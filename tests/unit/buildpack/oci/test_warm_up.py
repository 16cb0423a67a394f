"""A connection to the engine that opens before the image is known."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildpack.errors import EngineError
from buildpack.oci.image import Image
from buildpack.oci.warm_up import WarmUp
from tests.support.engines import NEWER, PODMAN, Engine
from tests.support.images import Blobs, image_of
from tests.support.loading import loading_into
from tests.support.waiting import settles

APP = "docker.io/library/app:1"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    started: list[Engine] = []

    def start(**settings: object) -> Engine:
        started.append(Engine(tmp_path / f"{len(started)}.sock", **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for engine in started:
        engine.stop()


def met(engine: Engine) -> WarmUp:
    return WarmUp({"DOCKER_HOST": engine.host})


def load(image: Image, blobs: Blobs, engine: Engine, warm_up: WarmUp) -> str:
    with loading_into(engine.host, [APP], blobs.open, warm_up=warm_up) as loading:
        for layer in image.layers:
            loading.offer(layer)
        return loading.finish(image).reason


def one_image(blobs: Blobs) -> Image:
    return image_of(blobs.layer({"a": os.urandom(3000)}))


def test_the_upload_is_open_before_the_image_is_known(start):
    engine = start()
    with met(engine):
        assert settles(lambda: "POST /images/load" in engine.seen)
    assert engine.seen == ["GET /_ping", "POST /images/load"]


def test_the_image_is_sent_in_the_open_upload(start):
    engine, blobs = start(), Blobs()
    image = one_image(blobs)
    with met(engine) as warm_up:
        assert load(image, blobs, engine, warm_up) == "the engine has none of its layers"
    assert list(engine.images) == [str(image.config_digest)]
    assert engine.seen.count("POST /images/load") == 1


def test_an_unused_upload_ends_without_an_image(start):
    engine, blobs = start(), Blobs()
    image = one_image(blobs)
    with met(engine) as warm_up:
        load(image, blobs, engine, warm_up)
    with met(engine) as warm_up:
        assert load(image, blobs, engine, warm_up) == "the engine has it already"
    with met(engine):
        pass
    assert settles(lambda: len(engine.loads) == 3)
    assert engine.loads[1:] == [(), ()]
    assert list(engine.images) == [str(image.config_digest)]


@pytest.mark.parametrize("settings", [{"server": PODMAN}, {"server": NEWER, "containerd": True}])
def test_engines_that_take_whole_images_get_no_upload(start, settings):
    engine, blobs = start(**settings), Blobs()
    with met(engine) as warm_up:
        load(one_image(blobs), blobs, engine, warm_up)
    assert len(engine.loads) == 1
    assert len(engine.images) == 1


def test_the_connection_is_taken_once(start):
    engine, blobs = start(), Blobs()
    with met(engine) as warm_up:
        load(one_image(blobs), blobs, engine, warm_up)
        assert warm_up.take() == (None, None, None)
        load(one_image(blobs), blobs, engine, warm_up)
    assert len(engine.images) == 2


def test_a_missing_engine_is_reported_where_it_is_needed(tmp_path):
    host = f"unix://{tmp_path}/none.sock"
    with (
        WarmUp({"DOCKER_HOST": host}) as warm_up,
        loading_into(host, [APP], Blobs().open, warm_up=warm_up) as loading,
        pytest.raises(EngineError) as caught,
    ):
        loading.result()
    assert caught.value.what == f"the container engine at {host} is not running"


def test_an_invalid_host_is_reported_where_it_is_needed():
    with WarmUp({"DOCKER_HOST": "nonsense"}) as warm_up:
        assert warm_up.take() == (None, None, None)
