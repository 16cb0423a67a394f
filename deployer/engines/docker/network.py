"""Networks of an engine that belong to one process, and are removed after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from buildpack.errors import EngineError
from deployer.engines.docker.client import Client
from deployer.engines.docker.container import APP_LABEL
from deployer.engines.docker.owner import Owner, is_gone, owner_labels, parse_owner
from deployer.engines.docker.signals import holding_back
from deployer.runner.signals import FORWARDED, STOPPING


@contextlib.contextmanager
def own_network(client: Client, name: str, *, app: str, owner: Owner) -> Iterator[str]:
    """Create a network and remove it at the end; containers that are still in it keep it until `clear_networks`."""
    identity = ""
    try:
        # A signal that comes while the engine creates it would leave it behind.
        with holding_back((*STOPPING, *FORWARDED)), client.worded():
            created = client.api.create_network(
                name, driver="bridge", labels={APP_LABEL: app, **owner_labels(owner)}, check_duplicate=True
            )
            identity = str(created["Id"])
        yield name
    finally:
        if identity:
            _remove(client, identity)


def clear_networks(client: Client, here: Owner) -> None:
    """Remove the networks whose owner has ended, after their containers."""
    with client.worded():
        listed = client.api.networks(filters={"label": [APP_LABEL]})
        for found in listed:
            owner = parse_owner(found.get("Labels") or {})
            if owner is not None and is_gone(owner, here):
                _remove(client, str(found["Id"]))


def _remove(client: Client, identity: str) -> None:
    with contextlib.suppress(EngineError), client.worded():
        client.api.remove_network(identity)
