"""Finds the image to run in an engine: there already, loaded from the store, or pulled; and what processes it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from buildpack.dataclass import dataclass
from buildpack.errors import EngineError
from deployer.engines.docker.client import Engine, explain
from deployer.engines.docker.container import Blueprint, Container, container_name
from deployer.engines.docker.launch import LAUNCH_FILE, Launch, take_launch
from deployer.engines.docker.owner import Owner
from deployer.engines.docker.signals import holding_back
from deployer.runner.signals import FORWARDED, STOPPING

if TYPE_CHECKING:
    from buildpack.oci.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image in an engine: its ID there, and the environment it sets."""

    id: str
    environment: Mapping[str, str]


def find_image(engine: Engine, reference: str) -> Found | None:
    """Return the image that the engine has under a reference; None where it has none."""
    from docker.errors import ImageNotFound

    with engine.worded():
        try:
            inspected: dict[str, Any] = engine.api.inspect_image(reference)
        except ImageNotFound:
            return None
        variables = (inspected.get("Config") or {}).get("Env") or []
        return Found(
            id=str(inspected["Id"]),
            environment={name: value for name, _, value in (str(one).partition("=") for one in variables)},
        )


def load_stored(
    engine: Engine, store: Store, reference: str, *, observer: Callable[[int], object] | None = None
) -> bool:
    """Load the image that the store has under a reference (a full name); False where it has none."""
    from buildpack.oci.engine_load import load
    from buildpack.stacks.platforms import native_platform

    image = store.image(reference, native_platform())
    if image is None or store.missing(image):
        return False
    load(image, store.open, [reference], host=engine.endpoint, observer=observer)
    return True


def pull_image(engine: Engine, reference: str, *, failed: Callable[[str], EngineError]) -> None:
    """Let the engine pull an image, with the credentials that the `docker` command has.

    Raises what `failed` makes of the engine's message.
    """
    from docker.errors import APIError

    name, at, digest = reference.partition("@")
    repository, tag = (name, digest) if at else _split_tag(name)
    with engine.worded():
        try:
            for line in engine.api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in line:
                    raise failed(str(line["error"]))
        except APIError as error:
            raise failed(explain(error)) from error


def _split_tag(name: str) -> tuple[str, str]:
    before, colon, after = name.rpartition(":")
    return (before, after) if colon and "/" not in after else (name, "latest")


def read_launch(engine: Engine, image: str, *, owner: Owner, suffix: str) -> Launch | None:
    """Read what processes an image has; None where it is not ours. No process is started for it."""
    blueprint = Blueprint(app="launch", process="look.1", image=image, command=["true"], environment={})
    container = Container(engine, blueprint, name=container_name("deploy", "look.1", suffix), owner=owner)
    # Else one that came while the engine creates the container would leave it behind.
    with holding_back((*STOPPING, *FORWARDED)):
        return _look_into(engine, container)


def _look_into(engine: Engine, container: Container) -> Launch | None:
    """Read launch.json out of a container that is made for that alone."""
    from docker import errors as docker_errors
    from requests import HTTPError

    say: Any = docker_errors.create_api_error_from_http_exception
    container.create()
    try:
        # Not the SDK's get_archive, whose answer cannot be closed: until it is, or read to the end, which may be far,
        # a Docker engine does not remove the container.
        address = f"{engine.api.base_url}/v{engine.api.api_version}/containers/{container.id}/archive"
        asked = {"params": {"path": LAUNCH_FILE}, "stream": True, "timeout": engine.api.timeout}
        with engine.worded(), engine.api.get(address, **asked) as answer:
            # 404 is said of the container as well, where somebody removed it.
            if answer.status_code == 404 and "no such container" not in answer.text.lower():
                return None
            try:
                answer.raise_for_status()
            except HTTPError as error:
                say(error)  # raises APIError
            return take_launch(answer.iter_content(1 << 16))
    finally:
        container.remove()
