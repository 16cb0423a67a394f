"""Find the image to run in an engine, load it from the store, or pull it; and read which processes it has."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass
from buildpack.errors import EngineError
from deployer.engines.docker.client import Client, explain
from deployer.engines.docker.container import Blueprint, Container, container_name
from deployer.engines.docker.owner import this_owner
from deployer.engines.docker.signals import holding_back
from deployer.runner.signals import FORWARDED, STOPPING

if TYPE_CHECKING:
    from buildpack.oci.store import Store


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


def load_stored(
    client: Client, store: Store, reference: str, *, observer: Callable[[int], object] | None = None
) -> bool:
    """Load the image that the store has under a full reference; False if the store has none."""
    from buildpack.oci.engine_load import load
    from buildpack.stacks.platforms import native_platform

    image = store.image(reference, native_platform())
    if image is None or store.missing(image):
        return False
    load(image, store.open, [reference], host=client.endpoint, observer=observer)
    return True


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
    container = Container(client, blueprint, name=name, owner=this_owner())
    # A signal that comes while the engine creates the container would leave it behind.
    with holding_back((*STOPPING, *FORWARDED)):
        return _look_into(client, container)


def _look_into(client: Client, container: Container) -> Launch | None:
    """Read launch.json out of a container that is made for that alone."""
    from docker import errors as docker_errors
    from requests import HTTPError

    say: Any = docker_errors.create_api_error_from_http_exception
    container.create()
    try:
        # Not the SDK's get_archive: its answer cannot be closed, and a Docker engine removes the container only
        # once the answer is closed or read to the end, which may be far.
        address = f"{client.api.base_url}/v{client.api.api_version}/containers/{container.id}/archive"
        asked = {"params": {"path": LAUNCH_FILE}, "stream": True, "timeout": client.api.timeout}
        with client.worded(), client.api.get(address, **asked) as answer:
            # The engine answers 404 for the container too, if someone removed it.
            if answer.status_code == 404 and "no such container" not in answer.text.lower():
                return None
            try:
                answer.raise_for_status()
            except HTTPError as error:
                say(error)  # raises APIError
            return take_launch(answer.iter_content(1 << 16))
    finally:
        container.remove()


LAUNCH_FILE = "/opt/deploy/launch.json"

_LARGEST = 1 << 20
"""Bytes of a launch.json: the lines of a Procfile, and little more."""
_MOST = 1000
"""The largest count in `app.json` and on the command line."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The process types of an image in the Procfile's order, and app.json's formation."""

    processes: tuple[str, ...]
    formation: Mapping[str, int]


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


def parse_launch(text: bytes) -> Launch | None:
    """Parse a launch.json; None if our launcher would not understand it."""
    try:
        document: Any = parse_json(text)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    processes, formation = document.get("processes"), document.get("formation") or {}
    if not isinstance(processes, dict) or not isinstance(formation, dict):
        return None
    if not all(_NAME.fullmatch(name) and isinstance(command, str) for name, command in processes.items()):
        return None
    if not all(type(count) is int and 0 <= count <= _MOST for count in formation.values()):
        return None
    return Launch(processes=tuple(processes), formation=formation)
