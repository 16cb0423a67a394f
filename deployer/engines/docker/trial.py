"""Try an image out in a container engine, where nothing of the trial is left afterwards.

Web is asked from inside its container: the engine may be another machine's, or the one that runs this very container,
and then a published port is not where it seems to be. The trial takes no port of this machine either.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from buildpack.oci.engine_load import load
from buildpack.oci.reference import parse_reference
from buildpack.plan import APP_ROOT
from buildpack.progress import Progress
from buildpack.steps.test_image import with_develop
from deployer.engines.docker.client import Client
from deployer.engines.docker.container import Blueprint, Container, Exit, container_name, created
from deployer.engines.docker.ground import Containers
from deployer.engines.docker.images import find_image, pull_image
from deployer.engines.docker.inside import Inside
from deployer.engines.docker.owner import TRIALS, clear_containers, clear_networks, own_network, remove_image
from deployer.engines.engine import Candidate, Job, Service
from deployer.engines.foreground import run_quietly
from deployer.engines.ports import free_port, read_port
from deployer.errors import engines as errors
from deployer.errors.ci import service_not_pulled, service_not_ready, service_without_address
from deployer.formation import PORT
from deployer.readiness.health import Answer, wait_until_ready

_STOP_SECONDS = 5.0
"""Seconds that a process gets to end by itself: nobody waits for an answer of it any more."""
_PREFIX = "deploy-ci-"


class DockerTrial:
    """A container engine as the place to try an image out; a context manager that takes back what it put there."""

    def __init__(self, client: Client, candidate: Candidate) -> None:
        self._client, self._candidate = client, candidate
        self._app = candidate.built.app.settings.name.value
        self._network = candidate.network
        self._suffix = secrets.token_hex(6)
        self._loaded: list[str] = []
        self._services = contextlib.ExitStack()

    @property
    def where(self) -> str:
        """The engine's name."""
        return self._client.name

    def __enter__(self) -> Self:
        clear_containers(self._client)
        clear_networks(self._client)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._services.close()
        for reference in reversed(self._loaded):
            remove_image(self._client, reference)

    def run(self, job: Job) -> int:
        """Run a process in a container, with the develop packages in a layer on top."""
        ground = self._containers(
            "test" if job.develop else "boot",
            job.process,
            job.command,
            job.environment,
            quiet=True,
            read=lambda container: job.read(lambda path: container.read_archive(f"/{APP_ROOT}/{path}")),
        )
        return run_quietly(ground, write=self._candidate.write)

    def web(self, environment: Mapping[str, str]) -> Containers:
        """Return a container for web."""
        # In the machine's own network 8000 may be another program's.
        port = read_port(environment, free_port() if self._network == "host" else PORT)
        own = {**environment, "PORT": str(port), "PS": "web.1", "DYNO": "web.1"}
        return self._containers("boot", "web.1", ["web"], own)

    def _containers(
        self,
        purpose: str,
        process: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        quiet: bool = False,
        read: Callable[[Container], object] = lambda _container: None,
    ) -> Containers:
        blueprint = Blueprint(
            app=self._app,
            process=process,
            image=self._load(purpose),
            command=command,
            environment={"CI": "true", **environment},
            network=self._network,
            stop_timeout=_STOP_SECONDS,
        )
        python = self._candidate.built.stack.python.executable
        return Containers([blueprint], client=self._client, prefix=_PREFIX, python=python, quiet=quiet, read=read)

    def _load(self, purpose: str) -> str:
        """Bring the image for tests or the built one into the engine; return its name, which nothing else has."""
        candidate, built = self._candidate, self._candidate.built
        reference = f"docker.io/{TRIALS}/{self._app.rpartition('/')[2]}-{self._suffix}:{purpose}"
        if reference in self._loaded:
            return reference
        known = (*self._loaded, *candidate.built.references)
        self._loaded.append(reference)

        def bring() -> None:
            image = (
                with_develop(built.image, built.app, built.stack, candidate.session)
                if purpose == "test"
                else built.image
            )
            candidate.layers.fetch(image.layers)
            load(
                image,
                candidate.layers.open,
                [reference],
                host=self._client.endpoint,
                candidates=known,
                observer=lambda sent: candidate.session.observer(Progress(stage="load", done=sent, unit="bytes")),
            )

        candidate.layers.whole(bring)
        return reference

    # Services

    def start(self, services: Sequence[Service], *, seconds: float) -> Mapping[str, str]:
        """Start services as containers; what is started later joins their network."""
        if not services:
            return {}
        network = self._network
        if network in {None, "host"}:
            # In the machine's own network a service could meet one that runs there. Linux reaches them from it.
            own = own_network(self._client, f"{_PREFIX}{self._suffix}", app=self._app)
            network = self._services.enter_context(own)
        begun = [(service, self._start(service, network)) for service in services]
        variables = {}
        for service, server in begun:
            server.wait_until_ready(service, seconds)
            address = "127.0.0.1" if (network or "").startswith("container:") else server.container.address()
            if not address:
                raise service_without_address(service.addon, network or "")
            variables[service.variable] = service.url(address)
            self._candidate.say(f"{service.addon} is ready; {service.variable} is set")
        self._network = network if self._network is None else self._network
        return variables

    def _start(self, service: Service, network: str | None) -> _Server:
        reference = str(parse_reference(service.image))
        if find_image(self._client, reference) is None:
            self._candidate.say(f"pulling {service.image} for {service.addon}")
            pull_image(self._client, reference, failed=partial(service_not_pulled, *service.names))
        self._candidate.say(f"starting {service.image} for {service.addon}")
        blueprint = Blueprint(
            app=self._app,
            process=service.variable,
            image=reference,
            command=service.command,
            environment=service.environment,
            network=network,
            # Official images begin as root, take possession of their data, and become another user.
            confined=False,
        )
        name = container_name(f"{_PREFIX}{self._app}", service.variable, self._suffix)
        container = self._services.enter_context(created(self._client, blueprint, name=name))
        for text in container.warnings:
            self._candidate.say(f"warning: {errors.engine_warned(self._client.name, text)}")
        try:
            container.start()
        except errors.NotStartedError as error:
            raise service_not_ready(*service.names, f"does not have its program ({error.what})", "") from error
        return _Server(self._client, container)


class _Server:
    """The container of a service, which was started."""

    def __init__(self, client: Client, container: Container) -> None:
        self.container = container
        self._exit: Exit | None = None
        self._over = threading.Event()
        self._inside = Inside(client, container, self._over)
        threading.Thread(target=self._wait, name="container", daemon=True).start()

    def _wait(self) -> None:
        try:
            self._exit = self.container.wait()
        finally:
            self._over.set()

    def wait_until_ready(self, service: Service, seconds: float) -> None:
        """Wait until the service's probe succeeds; raises EngineError."""

        def ask(seconds: float) -> Answer:
            code, text = self._inside.run(service.probe, seconds=seconds) or (1, "")
            return Answer(status=200) if code == 0 and service.ready in text else Answer(problem=text)

        outcome = wait_until_ready(ask, alive=lambda: not self._over.is_set(), seconds=seconds)
        if not outcome.ready:
            log = self.container.read_log().replace(service.password, "[redacted]")
            ended = f"exited with {self._exit.code}" if self._exit else f"did not answer within {seconds:g} s"
            raise service_not_ready(*service.names, ended, log)
