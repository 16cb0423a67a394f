"""Tries an image out in a container engine, of which nothing is left there afterwards.

Web is asked from inside its container: the engine may be another machine's, or the one that runs this very container,
and then a published port is not where it seems to be. No port of anybody's is taken either.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from buildpack.app.script import Script
from buildpack.bounded import parse_integer
from buildpack.build import Built
from buildpack.develop import with_develop
from buildpack.errors import EngineError
from buildpack.oci.engine import load
from buildpack.oci.image import Image
from buildpack.oci.store import Store
from buildpack.oci.transport import Transport
from buildpack.plan import APP_ROOT
from buildpack.progress import Observer, Progress
from deployer.boot_log import KEPT, relevant_lines
from deployer.ci.collecting import Collect, collect_archive
from deployer.ci.console import Console
from deployer.ci.layers import Layers
from deployer.ci.trial import Booted, Health, shell_command
from deployer.engines import errors
from deployer.engines.client import Engine, explain
from deployer.engines.container import Blueprint, Container, Exit, Stream, clear_leftovers, container_name
from deployer.engines.frames import Demultiplexer
from deployer.engines.instance import tell_end
from deployer.engines.listening import container_listeners
from deployer.engines.owner import this_owner
from deployer.engines.ports import read_port
from deployer.engines.signals import FORWARDED, STOPPING, holding_back
from deployer.errors import boot_failed, boot_refused, boot_timed_out
from deployer.health import Answer, Outcome, Tail, compare_listeners, wait_until_ready

__all__ = ["EngineTrial"]

PORT = 8000
_REFUSALS = 5
"""Commands in a row that an engine does not run in a container that runs, before it is clear that it never will."""
_NOT_RUN = frozenset((125, 126, 127, 128, 255))
"""Exit codes that engines give for a command that they could not run; its Python runs the container, too."""
_STOP_SECONDS = 5.0
"""What web gets to end by itself: nobody is waiting for an answer of it any more."""

_ASK = """
import http.client, socket, sys
port, path, name = int(sys.argv[1]), sys.argv[2], sys.argv[3]
try:
    host = socket.gethostbyname(socket.gethostname())
except OSError:
    host = "127.0.0.1"
connection = http.client.HTTPConnection(host, port, timeout=5)
try:
    connection.connect()
except OSError:
    sys.exit("nothing accepts connections")
try:
    connection.request("GET", path, headers={"Host": name, "User-Agent": "deploy"})
    response = connection.getresponse()
    body = response.read(1 << 20) if response.status == 400 else b""
    signs = (b"DisallowedHost", b"<h1>Bad Request (400)</h1>")
    print(response.status, "DisallowedHost" if any(sign in body for sign in signs) else "")
except socket.timeout:
    sys.exit("no answer came within 5 s")
except (OSError, http.client.HTTPException) as error:
    sys.exit("its answer is no HTTP: %s" % type(error).__name__)
"""
"""Asks from inside, at the container's own address, where it is reached from outside as well."""


class EngineTrial:
    """A container engine as the place to try an image out; a context manager that takes back what it put there."""

    def __init__(
        self,
        engine: Engine,
        built: Built,
        *,
        store: Store,
        layers: Layers,
        transport: Transport,
        environ: Mapping[str, str],
        console: Console,
        observer: Observer,
        network: str | None = None,
    ) -> None:
        self._network = network
        self._engine, self._built = engine, built
        self._store, self._layers, self._environ = store, layers, environ
        self._transport = transport
        self._console, self._observer = console, observer
        self._suffix = secrets.token_hex(6)
        self._loaded: list[str] = []

    @property
    def where(self) -> str:
        """The engine's name."""
        return self._engine.name

    def __enter__(self) -> Self:
        clear_leftovers(self._engine, this_owner())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        from docker.errors import DockerException
        from requests import RequestException

        for reference in reversed(self._loaded):
            with contextlib.suppress(DockerException, RequestException):
                self._engine.api.remove_image(reference, force=True)

    def test(self, script: Script, collect: Sequence[Collect] = ()) -> int:
        """Run the tests in a container of the image, with the develop packages in a layer on top."""
        image = with_develop(
            self._built,
            store=self._store,
            environ=self._environ,
            observer=self._observer,
            transport=self._transport,
        )
        blueprint = self._blueprint(self._load(image, "test"), "test.1", shell_command(script), script.environment)
        return self._run(blueprint, collect)

    def release(self, environment: Mapping[str, str]) -> int:
        """Run the release process in a container of the image."""
        own = {**environment, "PS": "release.1", "DYNO": "release.1"}
        return self._run(self._blueprint(self._load(self._built.image, "boot"), "release.1", ["release"], own))

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
        reference = self._load(self._built.image, "boot")
        # In the machine's own network 8000 may be somebody's.
        usual = _free_port() if self._network == "host" else PORT
        port = read_port(health.environment.get("PORT") or str(usual))
        environment = {**health.environment, "PORT": str(port), "PS": "web.1", "DYNO": "web.1"}
        blueprint = self._blueprint(reference, "web.1", ["web"], environment)
        with self._container(blueprint) as (container, stream):
            booting = _Boot(self._engine, container, python=self._built.stack.python.executable)
            tail = Tail(KEPT)

            def hear(chunk: bytes) -> None:
                tail.add(chunk)
                self._console.write(chunk)

            container.start()
            pump = threading.Thread(target=self._pass_on, args=(stream, hear), name="boot output", daemon=True)
            pump.start()
            booting.watch()
            outcome = booting.await_answer(port, health)
            if booting.exit is not None:
                pump.join(_STOP_SECONDS)
            self._judge(booting, outcome, port, health, tail)
            booting.stop()
            pump.join(_STOP_SECONDS)
        assert outcome.status is not None
        return Booted(status=outcome.status, seconds=outcome.seconds, reason=outcome.reason)

    def _judge(self, booting: _Boot, outcome: Outcome, port: int, health: Health, tail: Tail) -> None:
        if outcome.ready:
            return
        log = relevant_lines(tail.lines())
        if booting.exit is not None:
            ended = booting.exit
            raise boot_failed("web.1", ended.code, told=tell_end(ended), log=log)
        if outcome.status is not None:
            host = health.host or f"localhost:{port}"
            raise boot_refused("web.1", outcome.status, path=health.path, host=host, reason=outcome.reason, log=log)
        cause, heard = compare_listeners(container_listeners(self._engine, booting.container.id), port, contained=True)
        raise boot_timed_out(
            "web.1", port=port, cause=cause, heard=heard, problem=outcome.problem, seconds=health.seconds, log=log
        )

    def _load(self, image: Image, purpose: str) -> str:
        """Bring an image into the engine, under a name that nobody else has; the name."""
        name = self._built.app.settings.name.value.rpartition("/")[2]
        reference = f"docker.io/deploy-ci/{name}-{self._suffix}:{purpose}"
        if reference in self._loaded:
            return reference
        self._layers.fetch(image.layers)
        self._loaded.append(reference)
        load(
            image,
            self._layers.open,
            [reference],
            host=self._engine.endpoint,
            candidates=[*self._loaded[:-1], *self._built.references],
            observer=lambda sent: self._observer(Progress(stage="load", done=sent, unit="bytes")),
        )
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
        name = container_name(f"deploy-ci-{blueprint.app}", blueprint.process, self._suffix)
        container = Container(self._engine, blueprint, name=name, owner=this_owner())
        try:
            # Else a signal that came while the engine creates it would leave it behind.
            with holding_back((*STOPPING, *FORWARDED)):
                container.create()
            for text in container.warnings:
                self._console.say(f"warning: {errors.engine_warned(self._engine.name, text)}")
            stream = container.attach()
            try:
                yield container, stream
            finally:
                stream.cut()
                stream.close()
        finally:
            container.remove()

    @staticmethod
    def _pass_on(stream: Stream, take: Callable[[bytes], None]) -> None:
        frames = Demultiplexer()
        while received := stream.read():
            for _, piece in frames.feed(received):
                take(piece)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Boot:
    """A container that is coming up; `exit` is set once it has ended."""

    def __init__(self, engine: Engine, container: Container, *, python: str) -> None:
        self.container = container
        self.exit: Exit | None = None
        self._engine = engine
        self._python = python
        self._over = threading.Event()
        self._refused = 0
        """How often in a row the engine ran no command in the running container."""

    def watch(self) -> None:
        """Wait for its end, in a thread."""
        threading.Thread(target=self._wait, name="boot", daemon=True).start()

    def _wait(self) -> None:
        try:
            self.exit = self.container.wait()
        finally:
            self._over.set()

    def await_answer(self, port: int, health: Health) -> Outcome:
        """Ask until it answers, has ended, or the time is over."""
        return wait_until_ready(
            lambda: self._ask(port, health.path, health.host or f"localhost:{port}"),
            alive=lambda: not self._over.is_set(),
            strict=health.strict,
            seconds=health.seconds,
        )

    def _ask(self, port: int, path: str, name: str) -> Answer:
        from docker.errors import APIError

        try:
            with self._engine.worded():
                asked = self._engine.api.exec_create(
                    self.container.id, [self._python, "-I", "-c", _ASK, str(port), path, name]
                )
                said: bytes = self._engine.api.exec_start(asked["Id"])
                code = self._engine.api.exec_inspect(asked["Id"])["ExitCode"]
        except EngineError as error:
            if not isinstance(error.__cause__, APIError):
                raise
            return self._on_refusal(explain(error.__cause__))
        text = said.decode("utf-8", "replace").strip()
        if code in _NOT_RUN:
            return self._on_refusal(" ".join(text.split()) or f"exit code {code}")
        self._refused = 0
        status, _, reason = text.partition(" ")
        number = parse_integer(status, most=999) if code == 0 else None
        return Answer(problem=text or "it gave no answer") if number is None else Answer(status=number, reason=reason)

    def _on_refusal(self, message: str) -> Answer:
        """Take it that the container is not running any more, which `_wait` finds out; raise EngineError if it is."""
        self._refused += 1
        if not self._over.wait(0.5) and self._refused >= _REFUSALS:
            raise errors.exec_failed(self._engine.name, message)
        return Answer(problem="nothing accepts connections")

    def stop(self) -> None:
        """Ask it to end, and give it a moment."""
        self.container.signal(signal.SIGTERM)
        self._over.wait(_STOP_SECONDS)
