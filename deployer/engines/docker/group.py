"""Containers as the places of a formation: each has a life in threads, which report to the loop of the supervisor."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence

from buildpack.errors import BuildpackError
from deployer.engines.docker.client import Engine
from deployer.engines.docker.container import Blueprint, Container, Exit, Limits, container_name
from deployer.engines.docker.life import Life, Step
from deployer.engines.docker.listening import container_listeners
from deployer.engines.docker.owner import Owner
from deployer.engines.foreground import Web
from deployer.errors.engines import engine_warned
from deployer.readiness.health import ask
from deployer.runner.signals import FORWARDED
from deployer.runner.stage import Pace, end_text
from deployer.runner.supervisor import Ground, Supervisor

PACE = Pace(settle=0.3, drain=5.0, kills=1, kill_again=15.0, deaf=1.5, cuts=True)
"""The engine closes the output at once. The first process of a container ignores TERM until it has a handler, and the
launcher needs a moment for that. An engine that cannot deliver a container's output may not end the container."""


class ContainerPlace:
    """One process of a formation, over all the containers it goes through."""

    quiet = False

    def __init__(self, blueprint: Blueprint, ground: Containers) -> None:
        self.blueprint, self.name, self._ground = blueprint, blueprint.process, ground
        self.output: int | None = None
        self.life: Life | None = None

    def start(self) -> None:
        """Have the engine create and start a container; it reports later."""
        self.life = life = self._ground.make_life(self)
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
    """Containers of an engine; `suffix` makes the name of each container unique."""

    pace = PACE
    places: Sequence[ContainerPlace]

    def __init__(
        self,
        blueprints: Sequence[Blueprint],
        *,
        engine: Engine,
        owner: Owner,
        suffix: Callable[[], str] = lambda: secrets.token_hex(3),
    ) -> None:
        self._engine, self._owner, self._suffix = engine, owner, suffix
        self.places = [ContainerPlace(blueprint, self) for blueprint in blueprints]
        self._warned: set[str] = set()

    @contextlib.contextmanager
    def open(self, supervisor: Supervisor) -> Iterator[None]:
        """At the end remove what is left: nothing, unless the loop itself failed or the engine was given up."""
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
        name = container_name(blueprint.app, blueprint.process, self._suffix())

        def report(life: Life, step: Step) -> None:
            self._supervisor.ask(lambda: self._on_step(place, life, step))

        return Life(Container(self._engine, blueprint, name=name, owner=self._owner), report)

    def webs(self, *, address: str, shown: str, host: str) -> list[Web]:
        """Return how to ask the published processes: at an `address`, with `shown` in what people open."""
        return [self._web(place, address, shown, host) for place in self.places if place.blueprint.published]

    def _web(self, place: ContainerPlace, address: str, shown: str, host: str) -> Web:
        assert place.blueprint.published is not None
        inside, _, outside = place.blueprint.published
        name = host or f"localhost:{outside}"
        return Web(
            process=place.name,
            port=inside,
            url=f"http://{shown}:{outside}",
            ask=lambda seconds: ask(outside, host=address, name=name, seconds=seconds),
            listeners=lambda: container_listeners(self._engine, place.life.container.id if place.life else ""),
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
                    self._lifecycle.say(f"warning: {engine_warned(self._engine.name, text)}")
            self._lifecycle.started(name, now, label=f"container {life.container.name}")
        elif step.kind == "failed":
            if self.failure is None and self._lifecycle.deadline is None:
                self.failure = step.error
            code = step.error.exit_code if isinstance(step.error, BuildpackError) else 1
            self._lifecycle.refused(name, code, now)
        elif step.exit is not None:
            if (text := tell_memory(step.exit, place.blueprint.limits)) and self._lifecycle.expects(name):
                self._lifecycle.say(f"{name} {text}")
            self._lifecycle.exited(name, step.exit.code, now, told=tell_end(step.exit))
        else:
            if step.kept:
                self._lifecycle.say(f"{life.container.name} could not be removed; the next run tries again")
            place.life = None
            self._lifecycle.vacated(name, now)


def tell_end(ended: Exit) -> str:
    """Say how a container ended."""
    return "it ran out of memory" if ended.out_of_memory else f"it {end_text(ended.code)}"


def tell_memory(ended: Exit, limits: Limits) -> str:
    """Say that a container ran out of memory; empty if it did not."""
    limit = f" of {limits.memory / (1 << 20):.0f} MB (--memory)" if limits.memory else ""
    if ended.out_of_memory:
        return f"ran out of memory: its limit{limit} was reached"
    if limit and ended.code == 128 + signal.SIGKILL:  # Podman on cgroup v1 does not tell who was killed for what
        return f"was killed, most likely because its memory limit{limit} was reached"
    return ""
