"""Find the image to run in an engine, load it from the store, or pull it; and read which processes it has."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from buildpack.dataclass import dataclass
from buildpack.errors import EngineError
from buildpack.plan import LAUNCH_FILE
from buildpack.progress import Observer, Progress
from deployer.engines.docker.client import Client, explain
from deployer.engines.docker.container import Blueprint, Container, container_name, created
from deployer.engines.docker.owner import holding_back
from deployer.formation import Launch, parse_launch

if TYPE_CHECKING:
    from buildpack.oci.store import Store


_LARGEST = 1 << 20
"""Bytes of a launch.json: the lines of a Procfile, and little more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image in an engine: its ID there, and the environment it sets."""

    id: str
    environment: Mapping[str, str]


def find_image(client: Client, reference: str) -> Found | None:
    """Return the image that the engine has under a reference; None if it has none."""
    from docker.errors import ImageNotFound

    with client.worded():
        try:
            inspected: dict[str, Any] = client.api.inspect_image(reference)
        except ImageNotFound:
            return None
        variables = (inspected.get("Config") or {}).get("Env") or []
        return Found(
            id=str(inspected["Id"]),
            environment={name: value for name, _, value in (str(one).partition("=") for one in variables)},
        )


def find_or_load(client: Client, store: Store, reference: str, observer: Observer) -> Found | None:
    """Return the image that the engine has, or that the store has and now the engine too; None if neither has it."""
    found = find_image(client, reference)
    if found is not None:
        return found
    from buildpack.oci.engine_load import load
    from buildpack.stacks.platforms import native_platform

    image = store.image(reference, native_platform())
    if image is None or store.missing(image.layers):
        return None

    def observe(sent: int) -> None:
        observer(Progress(stage="load", done=sent, unit="bytes"))

    load(image, store.open, [reference], host=client.endpoint, observer=observe)
    return find_image(client, reference)


def pull_image(client: Client, reference: str, *, failed: Callable[[str], EngineError]) -> None:
    """Let the engine pull an image, with the credentials that the `docker` command has.

    Raises the error that `failed` makes from the engine's message.
    """
    from docker.errors import APIError

    name, at, digest = reference.partition("@")
    repository, tag = (name, digest) if at else _split_tag(name)
    with client.worded():
        try:
            for line in client.api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in line:
                    raise failed(str(line["error"]))
        except APIError as error:
            raise failed(explain(error)) from error


def _split_tag(name: str) -> tuple[str, str]:
    before, colon, after = name.rpartition(":")
    return (before, after) if colon and "/" not in after else (name, "latest")


def read_launch(client: Client, image: str) -> Launch | None:
    """Read which processes an image has; None if it is not ours. No process is started for it."""
    blueprint = Blueprint(app="launch", process="look.1", image=image, command=["true"], environment={})
    name = container_name("deploy", "look.1", secrets.token_hex(3))
    with holding_back(), created(client, blueprint, name=name) as container:
        return _look_into(client, container)


def _look_into(client: Client, container: Container) -> Launch | None:
    """Read launch.json out of a container that is made for that alone."""
    from docker import errors as docker_errors
    from requests import HTTPError

    say: Any = docker_errors.create_api_error_from_http_exception
    # Not the SDK's get_archive: its answer cannot be closed, and a Docker engine removes the container only
    # once the answer is closed or read to the end, which may be far.
    address = f"{client.api.base_url}/v{client.api.api_version}/containers/{container.id}/archive"
    asked = {"params": {"path": f"/{LAUNCH_FILE}"}, "stream": True, "timeout": client.api.timeout}
    with client.worded(), client.api.get(address, **asked) as answer:
        # The engine answers 404 for the container too, if someone removed it.
        if answer.status_code == 404 and "no such container" not in answer.text.lower():
            return None
        try:
            answer.raise_for_status()
        except HTTPError as error:
            say(error)  # raises APIError
        return take_launch(answer.iter_content(1 << 16))


def take_launch(pieces: Iterable[bytes]) -> Launch | None:
    """Read launch.json from the archive that an engine sends; None if it is not ours, or larger than any of ours."""
    from buildpack.errors import StackError
    from buildpack.oci.tar_reader import read_members

    try:
        for member, content in read_members(iter(pieces), origin=LAUNCH_FILE):
            if member.kind != "file" or member.size > _LARGEST:
                return None
            return parse_launch(b"".join(content))
    except StackError:
        return None
    return None
