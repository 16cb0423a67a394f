"""Finds the image to run in an engine: there already, loaded from the store, or pulled; and what processes it has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployer.engines import errors
from deployer.engines.client import Engine, explain
from deployer.engines.container import Blueprint, Container, container_name
from deployer.engines.owner import Owner
from deployer.engines.signals import FORWARDED, STOPPING, holding_back

if TYPE_CHECKING:
    from buildpack.oci.store import Store

__all__ = ["Found", "Launch", "find_image", "load_stored", "pull_image", "read_launch"]

_LAUNCH_FILE = "/opt/deploy/launch.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image in an engine: its ID there, and the environment it sets."""

    id: str
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What an image's launcher can start: process types in the Procfile's order, and app.json's formation."""

    processes: tuple[str, ...]
    formation: Mapping[str, int]


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
    from buildpack.oci.engine import load
    from buildpack.stacks.platforms import native_platform

    image = store.image(reference, native_platform())
    if image is None or store.missing(image):
        return False
    load(image, store.open, [reference], host=engine.endpoint, observer=observer)
    return True


def pull_image(engine: Engine, reference: str, *, shown: str) -> None:
    """Have the engine pull an image, with the credentials that the `docker` command has.

    `shown` is what messages call it. Raises EngineError.
    """
    from docker.errors import APIError

    name, at, digest = reference.partition("@")
    repository, tag = (name, digest) if at else _split_tag(name)
    with engine.worded():
        try:
            for line in engine.api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in line:
                    raise errors.image_not_pulled(shown, str(line["error"]))
        except APIError as error:
            raise errors.image_not_pulled(shown, explain(error)) from error


def _split_tag(name: str) -> tuple[str, str]:
    before, colon, after = name.rpartition(":")
    return (before, after) if colon and "/" not in after else (name, "latest")


def read_launch(engine: Engine, image: str, *, owner: Owner, suffix: str) -> Launch | None:
    """Read what processes an image has; None where it is not ours. No process is started for it."""
    blueprint = Blueprint(app="launch", process="look.1", image=image, command=["true"], environment={})
    container = Container(engine, blueprint, name=container_name("deploy", "look.1", suffix), owner=owner)
    # Else one that came while the engine creates the container would leave it behind.
    with holding_back((*STOPPING, *FORWARDED)):
        archive = _copy_out(engine, container, _LAUNCH_FILE)
    return _parse_launch(archive) if archive is not None else None


def _copy_out(engine: Engine, container: Container, path: str) -> bytes | None:
    """Return a file of a container that is made for that alone, as an archive; None where there is no such file."""
    from docker.errors import APIError

    container.create()
    try:
        with engine.worded():
            try:
                pieces, _ = engine.api.get_archive(container.id, path)
                return b"".join(pieces)
            except APIError as error:
                # 404 is said of the container as well, where somebody removed it.
                if error.status_code != 404 or "no such container" in str(error).lower():
                    raise
                return None
    finally:
        container.remove()


def _parse_launch(archive: bytes) -> Launch | None:
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = next((tar.extractfile(one) for one in tar if one.isfile()), None)
        document = json.load(member) if member is not None else {}
    if not isinstance(document.get("processes"), dict):
        return None
    return Launch(processes=tuple(document["processes"]), formation=document.get("formation") or {})
