"""A container engine, Docker or Podman, as a place that runs apps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from buildpack.app.read import App
from buildpack.oci.store import Store
from buildpack.session import Session
from deployer.engines.docker.client import Client
from deployer.engines.docker.image_app import ImageApp, offer
from deployer.engines.docker.trial import DockerTrial
from deployer.engines.engine import Candidate, Listener, Request


class DockerEngine:
    """A connection to a container engine; see `deployer.engines.engine.Engine` for its methods."""

    def __init__(self, client: Client, *, why: str) -> None:
        self.name, self.why = client.name, why
        self._client = client

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def require(self, options: Sequence[str]) -> None:
        """Accept every option."""

    def offer(
        self, request: Request, *, store: Callable[[], Store], environ: Mapping[str, str], listener: Listener
    ) -> ImageApp:
        """Get the image into the engine; raises BuildpackError."""
        return offer(self._client, request, store=store(), environ=environ, listener=listener)

    def check_tests(self, app: App, session: Session) -> bool:
        """Return True: the develop packages go into a layer, which the build checks."""
        return True

    def trial(self, candidate: Candidate) -> DockerTrial:
        """Return a trial in containers."""
        return DockerTrial(self._client, candidate)
