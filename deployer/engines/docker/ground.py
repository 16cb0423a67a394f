"""Containers as the places of a formation. Each has a life in threads, which report to the supervisor's loop."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence

from buildpack.errors import BuildpackError
from deployer.engines.docker.client import Client
from deployer.engines.docker.container import Blueprint, Container, Exit, container_name
from deployer.engines.docker.inside import Inside, container_listeners
from deployer.engines.docker.life import Life, Step
from deployer.engines.engine import Ground
from deployer.errors.engines import engine_warned
from deployer.formation import Limits
from deployer.readiness.health import Answer, Boot, Web, ask
from deployer.runner.signals import FORWARDED
from deployer.runner.stage import Pace, end_text
from deployer.runner.supervisor import Supervisor

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  where to ask for them, not what to bind

PACE = Pace(settle=0.3, drain=5.0, kills=1, kill_again=15.0, deaf=1.5, cuts=True)
"""The engine closes the output at once. The first process of a container ignores TERM until it has a handler, and the
launcher needs a moment for that. An engine that cannot deliver a container's output may not end the container."""


class ContainerPlace:
    """The place of one process of a formation, over all the containers that run it."""

    def __init__(self, blueprint: Blueprint, ground: Containers) -> None:
        self.quiet = ground.quiet
        self.blueprint, self.name, self._ground = blueprint, blueprint.process, ground
        self.output: int | None = None
        self.life: Life | None = None
        self.inside: Inside | None = None

    @property
    def identity(self) -> str:
        """The ID of its container; empty if there is none."""
        return self.life.container.id if self.life else ""

    def start(self) -> None:
        """Have the engine create and start a container; it reports later."""
        self.life = life = self._ground.make_life(self)
        self.inside = Inside(self._ground.client, life.container, life.over)
        self.output = life.output
        life.begin()

    def signal(self, number: int) -> None:
        """Send a signal to its first process; TERM and KILL also keep a container from starting."""
        if self.life is not None:
            send = self.life.send if number in FORWARDED else self.life.stop
            send(number)

    def abandon(self) -> str:
        """Give up a container that the engine does not end."""
        assert self.life is not None
        name = self.life.container.name
        self.life.cut()
        self.life = None
        return f"the engine does not end {name}; the next run tries again"

    def close_output(self) -> None:
        """Close the pipe, and the connection to the container's streams."""
        if self.output is not None:
            os.close(self.output)
            self.output = None
        if self.life is not None:
            self.life.cut()

    def end(self) -> None:
        """Do nothing: each start has a container of its own."""


class Containers(Ground):
    """Containers of an engine. Their names begin with `prefix`.

    Web is asked at its published port, or from inside its container, on the image's `python`, if it has none. With
    `quiet` only those who listen to the loop get the output. `read` is called, in a thread, with each container that
    has ended, before its removal.
    """

    pace = PACE
    places: Sequence[ContainerPlace]

    def __init__(
        self,
        blueprints: Sequence[Blueprint],
        *,
        client: Client,
        prefix: str = "",
        python: str = "",
        quiet: bool = False,
        read: Callable[[Container], object] = lambda _container: None,
    ) -> None:
        self.client, self._prefix, self._python = client, prefix, python
        self.quiet, self._read = quiet, read
        self.places = [ContainerPlace(blueprint, self) for blueprint in blueprints]
        self._warned: set[str] = set()

    @contextlib.contextmanager
    def open(self, supervisor: Supervisor) -> Iterator[None]:
        """At the end remove what is left, which is nothing unless the loop failed or gave the engine up."""
        self._supervisor, self._lifecycle = supervisor, supervisor.lifecycle
        try:
            yield
        finally:
            for place in self.places:
                place.close_output()
                if place.life is not None:
                    place.life.stop(signal.SIGKILL)
                    place.life.container.remove()

    def make_life(self, place: ContainerPlace) -> Life:
        """Return the life of a new container for a place."""
        blueprint = place.blueprint
        name = container_name(f"{self._prefix}{blueprint.app}", blueprint.process, secrets.token_hex(3))

        def report(life: Life, step: Step) -> None:
            self._supervisor.ask(lambda: self._on_step(place, life, step))

        return Life(Container(self.client, blueprint, name=name), report, read=self._read)

    def webs(self, boot: Boot) -> list[Web]:
        """Return how to ask the web processes; none if they are published where only another machine reaches them."""
        return [
            web
            for place in self.places
            if place.blueprint.command == ["web"]
            for web in [self._published(place, boot) if place.blueprint.published else self._inside(place, boot)]
            if web is not None
        ]

    def _published(self, place: ContainerPlace, boot: Boot) -> Web | None:
        assert place.blueprint.published is not None
        inside, host, outside = place.blueprint.published
        remote = self.client.remote
        address = remote or _ANY.get(host, host)
        if remote is not None and host in {"127.0.0.1", "::1"}:
            return None
        shown = f"[{address}]" if ":" in address else address
        name = boot.host or f"localhost:{outside}"
        return Web(
            process=place.name,
            port=inside,
            url=f"http://{'localhost' if shown == '127.0.0.1' else shown}:{outside}",
            ask=lambda seconds: ask(outside, host=address, name=name, path=boot.path, seconds=seconds),
            listeners=lambda: container_listeners(self.client, place.identity),
            contained=True,
        )

    def _inside(self, place: ContainerPlace, boot: Boot) -> Web:
        port = int(place.blueprint.environment["PORT"])
        name = boot.host or f"localhost:{port}"

        def ask_inside(seconds: float) -> Answer:
            assert place.inside is not None, "asked after its start"
            return place.inside.ask(port, path=boot.path, name=name, python=self._python, seconds=seconds)

        return Web(
            process=place.name,
            port=port,
            url=f"{place.name} on port {port}",
            ask=ask_inside,
            listeners=lambda: container_listeners(self.client, place.identity),
            contained=True,
        )

    def _on_step(self, place: ContainerPlace, life: Life, step: Step) -> None:
        if place.life is not life:  # given up
            return
        name, now = place.name, self._supervisor.now()
        if step.kind == "started":
            for text in life.container.warnings:
                if text not in self._warned:
                    self._warned.add(text)
                    self._lifecycle.say(f"warning: {engine_warned(self.client.name, text)}")
            self._lifecycle.started(name, now, label=f"container {life.container.name}")
        elif step.kind == "failed":
            if self.failure is None and self._lifecycle.deadline is None:
                self.failure = step.error
            code = step.error.exit_code if isinstance(step.error, BuildpackError) else 1
            self._lifecycle.refused(name, code, now)
        elif step.exit is not None:
            if (text := _memory_text(step.exit, place.blueprint.limits)) and self._lifecycle.expects(name):
                self._lifecycle.say(f"{name} {text}")
            ending = "ran out of memory" if step.exit.out_of_memory else end_text(step.exit.code)
            self._lifecycle.exited(name, step.exit.code, now, told=f"it {ending}")
        else:
            if step.kept:
                self._lifecycle.say(f"{life.container.name} could not be removed; the next run tries again")
            place.life = None
            self._lifecycle.vacated(name, now)


def _memory_text(ended: Exit, limits: Limits) -> str:
    """Say that a container ran out of memory; empty if it did not."""
    limit = f" of {limits.memory / (1 << 20):.0f} MB (--memory)" if limits.memory else ""
    if ended.out_of_memory:
        return f"ran out of memory: its limit{limit} was reached"
    if limit and ended.code == 128 + signal.SIGKILL:  # Podman on cgroup v1 reports no reason
        return f"was killed, most likely because its memory limit{limit} was reached"
    return ""
