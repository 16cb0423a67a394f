"""Tries an image out in a container engine, of which nothing is left there afterwards.

Web is asked from inside its container: the engine may be another machine's, or the one that runs this very container,
and then a published port is not where it seems to be. No port of anybody's is taken either.
"""

from __future__ import annotations

import contextlib
import inspect
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from buildpack.app.app_json import Script
from buildpack.bounded import parse_integer
from buildpack.oci.engine_load import load
from buildpack.oci.image import Image
from buildpack.oci.reference import parse_reference
from buildpack.pipeline import BuiltImage
from buildpack.plan import APP_ROOT
from buildpack.progress import Progress
from buildpack.session import Session
from buildpack.steps.test_image import with_develop
from deployer.ci.collecting import Collect, collect_archive
from deployer.ci.console import Console
from deployer.ci.layers import Layers
from deployer.ci.running import Running
from deployer.ci.services import Service
from deployer.ci.trial import Booted, Health, shell_command
from deployer.engines.docker.client import Engine
from deployer.engines.docker.container import (
    TRIALS,
    Blueprint,
    Container,
    Stream,
    clear_leftovers,
    container_name,
    remove_image,
)
from deployer.engines.docker.group import tell_end
from deployer.engines.docker.images import find_image, pull_image
from deployer.engines.docker.listening import container_listeners
from deployer.engines.docker.network import clear_networks, own_network
from deployer.engines.docker.owner import this_owner
from deployer.engines.docker.signals import holding_back
from deployer.engines.ports import free_port, read_port
from deployer.errors import engines as errors
from deployer.errors.ci import service_not_pulled, service_not_ready, service_without_address
from deployer.errors.readiness import boot_failed
from deployer.formation import PORT
from deployer.readiness import question
from deployer.readiness.boot_log import KEPT, relevant_lines
from deployer.readiness.health import Answer, Tail, refusal_of, wait_until_ready
from deployer.readiness.polling import Poll, boot_error, poll_until_ready
from deployer.runner.signals import FORWARDED, STOPPING

_STOP_SECONDS = 5.0
"""What web gets to end by itself: nobody is waiting for an answer of it any more."""


class EngineTrial:
    """A container engine as the place to try an image out; a context manager that takes back what it put there."""

    def __init__(
        self,
        engine: Engine,
        built: BuiltImage,
        session: Session,
        *,
        layers: Layers,
        console: Console,
        network: str | None = None,
    ) -> None:
        self._network = network
        self._engine, self._built = engine, built
        self._session, self._layers, self._console = session, layers, console
        self._suffix = secrets.token_hex(6)
        self._loaded: list[str] = []
        self._services = contextlib.ExitStack()

    @property
    def where(self) -> str:
        """The engine's name."""
        return self._engine.name

    def __enter__(self) -> Self:
        clear_leftovers(self._engine, this_owner())
        clear_networks(self._engine, this_owner())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._services.close()
        for reference in reversed(self._loaded):
            remove_image(self._engine, reference)

    def start(self, services: Sequence[Service], *, seconds: float) -> Mapping[str, str]:
        """Start services that stay until the end, and wait until each answers; returns the variables of their URLs.

        What is started later joins their network. Raises EngineError.
        """
        if not services:
            return {}
        app = self._built.app.settings.name.value
        network = self._network
        if network in {None, "host"}:
            # In the machine's own network a service could meet one that runs there. Linux reaches them from it.
            own = own_network(self._engine, f"deploy-ci-{self._suffix}", app=app, owner=this_owner())
            network = self._services.enter_context(own)
        begun = [(service, self._start(service, network)) for service in services]
        variables = {}
        for service, running in begun:
            self._await_service(service, running, seconds)
            variables[service.variable] = service.url(self._address(service, running.container))
            self._console.say(f"{service.addon} is ready; {service.variable} is set")
        self._network = self._network or network
        return variables

    def _start(self, service: Service, network: str | None) -> Running:
        reference = str(parse_reference(service.image))
        if find_image(self._engine, reference) is None:
            self._console.say(f"pulling {service.image} for {service.addon}")
            pull_image(self._engine, reference, failed=partial(service_not_pulled, *service.names))
        self._console.say(f"starting {service.image} for {service.addon}")
        blueprint = Blueprint(
            app=self._built.app.settings.name.value,
            process=service.variable,
            image=reference,
            command=service.command,
            environment=service.environment,
            network=network,
            # Official images begin as root, take possession of their data, and become another user.
            confined=False,
        )
        container = self._services.enter_context(self._made(blueprint))
        try:
            container.start()
        except errors.NotStartedError as error:
            raise service_not_ready(*service.names, f"does not have its program ({error.what})", "") from error
        running = Running(self._engine, container)
        running.watch()
        return running

    def _await_service(self, service: Service, running: Running, seconds: float) -> None:
        def ask(seconds: float) -> Answer:
            code, text = running.run(service.probe, seconds=seconds) or (1, "")
            return Answer(status=200) if code == 0 and service.ready in text else Answer(problem=text)

        outcome = wait_until_ready(ask, alive=lambda: running.alive, seconds=seconds)
        if not outcome.ready:
            log = running.container.read_log().replace(service.password, "[redacted]")
            ended = f"exited with {running.exit.code}" if running.exit else f"did not answer within {seconds:g} s"
            raise service_not_ready(*service.names, ended, log)

    def _address(self, service: Service, container: Container) -> str:
        if (self._network or "").startswith("container:"):
            return "127.0.0.1"
        address = container.address()
        if not address:
            raise service_without_address(service.addon, self._network or "")
        return address

    def test(self, script: Script, collect: Sequence[Collect] = ()) -> int:
        """Run the tests in a container of the image, with the develop packages in a layer on top."""
        reference = self._load("test", self._with_develop)
        return self._run(self._blueprint(reference, "test.1", shell_command(script), script.environment), collect)

    def _with_develop(self) -> Image:
        return with_develop(self._built.image, self._built.app, self._built.stack, self._session)

    def release(self, environment: Mapping[str, str]) -> int:
        """Run the release process in a container of the image."""
        own = {**environment, "PS": "release.1", "DYNO": "release.1"}
        return self._run(self._blueprint(self._load("boot"), "release.1", ["release"], own))

    def _run(self, blueprint: Blueprint, collect: Sequence[Collect] = ()) -> int:
        with self._container(blueprint) as (container, stream):
            container.start()
            self._pass_on(stream, self._console.write)
            code = container.wait().code
            for each in collect:
                collect_archive(each, container.read_archive(f"/{APP_ROOT}/{each.path}"), tell=self._console.say)
            return code

    def boot(self, health: Health) -> Booted:
        """Start web in a container, and ask it from inside."""
        reference = self._load("boot")
        # In the machine's own network 8000 may be somebody's.
        port = read_port(health.environment, free_port() if self._network == "host" else PORT)
        environment = {**health.environment, "PORT": str(port), "PS": "web.1", "DYNO": "web.1"}
        blueprint = self._blueprint(reference, "web.1", ["web"], environment)
        with self._container(blueprint) as (container, stream):
            booting = _Boot(self._engine, container, python=self._built.stack.python.executable)
            poll = Poll(
                process="web.1",
                port=port,
                seconds=health.seconds,
                ask=lambda seconds: booting.ask(port, health.path, health.host or f"localhost:{port}", seconds=seconds),
                alive=lambda: booting.alive,
                listeners=lambda: container_listeners(self._engine, container.id),
                contained=True,
                strict=health.strict,
            )
            tail = Tail(KEPT)

            def hear(chunk: bytes) -> None:
                tail.add(chunk)
                self._console.write(chunk)

            container.start()
            pump = threading.Thread(target=self._pass_on, args=(stream, hear), name="boot output", daemon=True)
            pump.start()
            booting.watch()
            verdict = poll_until_ready(poll, say=self._console.say)
            outcome = verdict.outcome
            if booting.exit is not None:
                pump.join(_STOP_SECONDS)
            if not outcome.ready:
                log = relevant_lines(tail.lines())
                if booting.exit is not None:
                    raise boot_failed("web.1", booting.exit.code, told=tell_end(booting.exit), log=log)
                raise boot_error(poll, verdict, path=health.path, host=health.host, log=log)
            booting.stop()
            pump.join(_STOP_SECONDS)
        assert outcome.status is not None
        return Booted(status=outcome.status, seconds=outcome.seconds, reason=outcome.reason)

    def _load(self, purpose: str, make: Callable[[], Image] | None = None) -> str:
        """Bring what `make` makes, else the built image, into the engine; return its name, which nobody else has."""
        name = self._built.app.settings.name.value.rpartition("/")[2]
        reference = f"docker.io/{TRIALS}/{name}-{self._suffix}:{purpose}"
        if reference in self._loaded:
            return reference
        candidates = (*self._loaded, *self._built.references)
        self._loaded.append(reference)

        def bring() -> None:
            image = make() if make else self._built.image
            self._layers.fetch(image.layers)
            load(
                image,
                self._layers.open,
                [reference],
                host=self._engine.endpoint,
                candidates=candidates,
                observer=lambda sent: self._session.observer(Progress(stage="load", done=sent, unit="bytes")),
            )

        self._layers.whole(bring)
        return reference

    def _blueprint(self, image: str, process: str, command: Sequence[str], environment: Mapping[str, str]) -> Blueprint:
        return Blueprint(
            app=self._built.app.settings.name.value,
            process=process,
            image=image,
            command=command,
            environment={"CI": "true", **environment},
            network=self._network,
            stop_timeout=_STOP_SECONDS,
        )

    @contextlib.contextmanager
    def _container(self, blueprint: Blueprint) -> Iterator[tuple[Container, Stream]]:
        """Make a container, connected to and not yet started; it is removed in any case."""
        with self._made(blueprint) as container:
            stream = container.attach()
            try:
                yield container, stream
            finally:
                stream.cut()
                stream.close()

    @contextlib.contextmanager
    def _made(self, blueprint: Blueprint) -> Iterator[Container]:
        """Make a container, not yet started; it is removed in any case."""
        name = container_name(f"deploy-ci-{blueprint.app}", blueprint.process, self._suffix)
        container = Container(self._engine, blueprint, name=name, owner=this_owner())
        try:
            # Else a signal that came while the engine creates it would leave it behind.
            with holding_back((*STOPPING, *FORWARDED)):
                container.create()
            for text in container.warnings:
                self._console.say(f"warning: {errors.engine_warned(self._engine.name, text)}")
            yield container
        finally:
            container.remove()

    @staticmethod
    def _pass_on(stream: Stream, take: Callable[[bytes], None]) -> None:
        for pieces in stream.pieces():
            for _, piece in pieces:
                take(piece)


class _Boot(Running):
    """Web's container, as it comes up."""

    def __init__(self, engine: Engine, container: Container, *, python: str) -> None:
        super().__init__(engine, container)
        self._python = python

    def ask(self, port: int, path: str, name: str, *, seconds: float) -> Answer:
        """Send one GET from inside, at the address where others reach the container; `name` is the Host header."""
        asking = [self._python, "-I", "-c", inspect.getsource(question), str(port), path, name, str(seconds)]
        said = self.run(asking, seconds=seconds)
        if said is None:
            return Answer(problem="no answer came")
        code, text = said
        status, _, body = text.partition("\n")
        number = parse_integer(status, most=999) if code == 0 else None
        if number is None:
            return Answer(problem=text or "it gave no answer")
        return Answer(status=number, reason=refusal_of(number, body.encode()))

    def stop(self) -> None:
        """Ask it to end, and give it a moment."""
        self.container.signal(signal.SIGTERM)
        self.over.wait(_STOP_SECONDS)
