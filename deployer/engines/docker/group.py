"""Runs a formation as containers: starts them, merges their output, passes signals on, stops and removes them.

The same behaviour as `deployer.runner.supervisor`, with containers in the place of process groups: one thread
decides, on one selector; whatever waits for the engine has a thread of its own.
"""

from __future__ import annotations

import random
import secrets
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from errno import EPIPE
from functools import partial
from typing import BinaryIO

from honcho.colour import get_colours

from buildpack.errors import BuildpackError
from deployer.engines.docker.client import Engine
from deployer.engines.docker.container import Blueprint, Container, Exit, container_name
from deployer.engines.docker.instance import Boot, Instance, PendingBootFailure, Settings, tell_end, tell_memory
from deployer.engines.docker.life import Life, Step
from deployer.engines.docker.listening import container_listeners
from deployer.engines.docker.owner import Owner
from deployer.engines.docker.signals import FORWARDED, STOPPING, Wakeup, catching
from deployer.errors.engines import engine_warned
from deployer.errors.readiness import process_ended
from deployer.readiness.boot_log import KEPT, relevant_lines
from deployer.readiness.health import Outcome, Tail, ask, ready_text
from deployer.readiness.polling import Poll, Verdict, boot_error, poll_until_ready
from deployer.runner.ends import others_stop
from deployer.runner.flow import Flow
from deployer.runner.outlet import OutputError
from deployer.runner.restart import decide
from deployer.runner.supervisor import OVERSLEPT

_DRAIN = 5.0
"""Seconds that output is awaited after a container has ended; the engine closes the stream at once."""
_SETTLE = 0.3
"""Seconds a clean exit waits for a failing one, which names the exit code."""
_HOPELESS_AFTER = 15.0
"""Seconds after KILL at which an engine is given up."""
_DEAF = 1.5
"""Seconds after its start in which TERM may be lost: the first process of a container ignores it until it has a
handler, and the launcher needs a moment for that. Once a container has written something that is over."""
_AGAIN = 0.5
_OUTPUT_LOST = 70


class Group:
    """Runs blueprints until the first process ends or a signal comes; `run` must be called in the main thread.

    `clock` is monotonic, `jitter` returns a number from 0 up to 1, `suffix` what makes a container's name unique.
    """

    def __init__(
        self,
        blueprints: Sequence[Blueprint],
        *,
        engine: Engine,
        owner: Owner,
        out: BinaryIO,
        settings: Settings,
        boot: Boot,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        suffix: Callable[[], str] = lambda: secrets.token_hex(3),
    ) -> None:
        self._engine, self._owner, self._settings, self._boot = engine, owner, settings, boot
        self._now, self._jitter, self._suffix = clock, jitter, suffix
        self._instances = [Instance(blueprint) for blueprint in blueprints]
        self._named = {instance.name: instance for instance in self._instances}
        colour = settings.colour
        if colour is None:
            colour = out.isatty() and not environ.get("NO_COLOR")
        self._flow = Flow(
            out,
            log_format=settings.log_format,
            colour=colour,
            clock=clock,
            on_lost=self._on_output_lost,
            on_output=self._remember,
        )
        self._printer = self._flow.printer
        self._printer.narrates = not settings.quiet
        colours = get_colours()  # type: ignore[no-untyped-call]
        for instance in self._instances:
            self._printer.add_source(instance.name, next(colours))
        self._events: deque[Callable[[], None]] = deque()
        self._wakeup: Wakeup | None = None
        self._code = 0
        self._failure: Exception | None = None
        self._ended: tuple[Instance, Exit] | None = None
        self._answers: dict[str, Outcome] = {}
        self._stop_after: float | None = None
        self._deadline: float | None = None
        self._interrupted_at: float | None = None
        self._polled: set[str] = set()
        self._warned: set[str] = set()
        self._awaited = {i.name for i in self._instances if i.blueprint.published and boot.address}
        self._over = False

    def run(self) -> int:
        """Start everything and block until nothing is left; the exit code is as the runner's.

        Raises BootError where a web process does not come up, and EngineError where the engine refuses.
        """
        with catching((*STOPPING, *FORWARDED)) as self._wakeup:
            self._flow.listen(self._wakeup.reader, self._on_wake_up)
            try:
                self._tick(self._now())
                while not self._done():
                    due, paused = self._next_due(), self._flow.paused
                    self._flow.await_events(None if due is None else max(0.0, due - self._now()))
                    now = self._now()
                    if paused or self._flow.paused or (due is not None and now - due > OVERSLEPT):
                        self._printer.postpone_partials(now)
                    self._tick(now)
            finally:
                self._over = True
                self._remove_all()
                self._flow.close()
        if isinstance(self._failure, PendingBootFailure):
            raise self._failure.worded([])
        if self._failure is not None:
            raise self._failure
        if self._ended is not None and self._ended[1].code and self._code == self._ended[1].code:
            instance, ended = self._ended
            others = len(self._instances) > 1
            raise process_ended(
                instance.name,
                ended.code,
                told=tell_end(ended),
                others=others,
                restart=self._settings.restart,
                log=self._log_of(instance),
            )
        return self._code

    def _done(self) -> bool:
        return all(instance.settled for instance in self._instances) and not self._flow.waiting

    def _remove_all(self) -> None:
        """Remove what is left, which is nothing unless the loop itself failed or the engine was given up."""
        for instance in self._instances:
            instance.close_output()
            if instance.life is not None:
                instance.life.stop(signal.SIGKILL)
                instance.life.container.remove()

    def _next_due(self) -> float | None:
        due = [self._printer.next_partial(), self._stop_after, *(instance.next_due for instance in self._instances)]
        if self._flow.waiting and all(instance.settled for instance in self._instances):
            due.append(self._deadline)
        return min((moment for moment in due if moment is not None), default=None)

    def _tick(self, now: float) -> None:
        while self._events:
            self._events.popleft()()
        for instance in self._instances:
            self._look_after(instance, now)
        if self._stop_after is not None and self._stop_after <= now:
            self._begin_stop(0)
        self._printer.show_partials(now)
        if self._overdue(now) and all(instance.settled for instance in self._instances):
            self._flow.discard()  # it was told to stop, and nobody reads

    def _look_after(self, instance: Instance, now: float) -> None:
        if instance.start_at is not None and instance.start_at <= now and self._stop_after is None:
            self._start(instance)
            return
        if instance.term_at is not None and instance.term_at <= now:
            self._send_term(instance, now)
        if instance.kill_at is not None and instance.kill_at <= now:
            self._kill(instance, now)
        if instance.drain_until is not None and instance.drain_until <= now and instance.output is not None:
            if self._flow.paused and not self._overdue(now):
                instance.drain_until = now + _SETTLE  # it is our reader who is slow
            else:
                self._drop_output(instance)
        if instance.gone and instance.code is not None:
            self._on_gone(instance, now)

    def _overdue(self, now: float) -> bool:
        return self._deadline is not None and self._deadline <= now

    # What threads tell

    def _tell(self, life: Life, step: Step) -> None:
        self._ask(lambda: self._on_step(life, step))

    def _ask(self, action: Callable[[], None]) -> None:
        """Let the loop call `action`; for threads."""
        self._events.append(action)
        if self._wakeup is not None:
            self._wakeup.wake()

    def _remember(self, name: str, chunk: bytes) -> None:
        self._named[name].heard = True
        self._named[name].tail.add(chunk)

    def _on_step(self, life: Life, step: Step) -> None:
        instance = next((one for one in self._instances if one.life is life), None)
        if instance is None:  # given up
            return
        now = self._now()
        if step.kind == "started":
            instance.running, instance.was_started, instance.started_at = True, True, now
            for text in life.container.warnings:
                if text not in self._warned:
                    self._warned.add(text)
                    self._printer.system(f"warning: {engine_warned(self._engine.name, text)}")
            self._printer.system(f"{instance.name} started (container {life.container.name})")
            if instance.killed:  # while it was being started, so nothing was there to be killed
                life.stop(signal.SIGKILL)
            elif instance.asked_to_stop:
                instance.term_at = now + _AGAIN
            self._poll(instance)
        elif step.kind == "failed":
            self._on_failure(instance, step.error)
        elif step.exit is not None:
            self._on_exit(instance, step.exit, now)
        else:
            if step.kept:
                self._printer.system(f"{life.container.name} could not be removed; the next run tries again")
            instance.life, instance.running = None, False
            instance.code = 0 if instance.code is None else instance.code
            instance.kill_at = instance.term_at = None

    def _on_failure(self, instance: Instance, error: Exception | None) -> None:
        instance.code = error.exit_code if isinstance(error, BuildpackError) else 1
        if self._failure is None and self._deadline is None:
            self._failure = error
        self._begin_stop(instance.code)

    # Starting and ending

    def _start(self, instance: Instance) -> None:
        instance.start_at = instance.delay = instance.code = None
        instance.asked_to_stop = instance.killed = instance.heard = instance.was_started = False
        instance.tail = Tail(KEPT)
        blueprint = instance.blueprint
        name = container_name(blueprint.app, blueprint.process, self._suffix())
        life = Life(Container(self._engine, blueprint, name=name, owner=self._owner), self._tell)
        instance.life, instance.output = life, life.output
        self._flow.add(instance)
        life.begin()

    def _on_exit(self, instance: Instance, ended: Exit, now: float) -> None:
        instance.running = False
        instance.code = ended.code
        instance.kill_at = instance.term_at = None
        instance.drain_until = now + _DRAIN
        if not instance.asked_to_stop and (told := tell_memory(ended, instance.blueprint.limits)):
            self._printer.system(f"{instance.name} {told}")
        if not instance.asked_to_stop:
            self._judge(instance, ended, now)

    def _judge(self, instance: Instance, ended: Exit, now: float) -> None:
        """Decide what an exit that nobody asked for means for the process and for all."""
        uptime = now - instance.started_at
        verdict = decide(self._settings.restart, instance.history, ended.code, uptime, self._jitter)
        instance.history, instance.delay = verdict.history, verdict.delay
        if verdict.reason:
            self._printer.system(f"{instance.name} is not started again: {verdict.reason}")
        if verdict.delay is not None:
            return
        self._code = self._code or ended.code
        if instance.name in self._awaited and self._failure is None and self._deadline is None:
            self._failure = PendingBootFailure(instance.name, ended.code, tell_end(ended))
        if self._settings.restart == "no" or ended.code:
            if self._ended is None or (ended.code and not self._ended[1].code):
                self._ended = instance, ended
            self._stop_after = min(self._stop_after or now + _SETTLE, now + _SETTLE * (ended.code == 0))

    def _on_gone(self, instance: Instance, now: float) -> None:
        code, instance.code = instance.code, None
        instance.drain_until = None
        self._printer.end(instance.name)
        ended = f"stopped (rc={code})" if instance.was_started else "did not start"
        self._printer.system(f"{instance.name} {ended}")
        if isinstance(self._failure, PendingBootFailure) and self._failure.process == instance.name:
            self._failure = self._failure.worded(self._log_of(instance))
        if instance.delay is not None and self._deadline is None:
            instance.start_at = now + instance.delay
            if instance.delay:
                self._printer.system(f"{instance.name} starts again in {instance.delay:.0f} s")
        instance.delay = None

    def _drop_output(self, instance: Instance) -> None:
        instance.drain_until = None
        self._flow.end(instance)
        if instance.life is not None:
            instance.life.cut()

    # Stopping

    def _begin_stop(self, code: int) -> None:
        if self._deadline is not None:
            return
        now = self._now()
        if self._ended is not None and self._stop_after is not None:
            ended = self._ended[0]
            if any(one.running for one in self._instances if one is not ended):
                self._printer.system(others_stop(ended.name, tell_end(self._ended[1])))
        self._code = self._code or code
        self._stop_after, self._deadline = None, now + self._settings.stop_timeout
        for instance in self._instances:
            instance.start_at = instance.delay = None
            if instance.life is not None and instance.code is None and not instance.asked_to_stop:
                instance.asked_to_stop = True
                instance.kill_at = self._deadline
                self._send_term(instance, now)
                if instance.running:
                    self._printer.system(f"sending SIGTERM to {instance.name}")

    def _send_term(self, instance: Instance, now: float) -> None:
        # Only where it may be lost: a second one would end a Python that is just shutting down with 143.
        maybe_deaf = not instance.heard and now < instance.started_at + _DEAF
        instance.term_at = now + _AGAIN if maybe_deaf else None
        if instance.life is not None:
            instance.life.stop(signal.SIGTERM)

    def _kill(self, instance: Instance, now: float) -> None:
        if instance.life is None:
            return
        if instance.killed:
            self._printer.system(f"the engine does not end {instance.life.container.name}; the next run tries again")
            self._drop_output(instance)
            instance.life, instance.kill_at, instance.code = None, None, 128 + signal.SIGKILL
            return
        instance.killed, instance.kill_at, instance.term_at = True, now + _HOPELESS_AFTER, None
        self._printer.system(f"sending SIGKILL to {instance.name}")
        if self._flow.paused:
            # Nobody reads, and an engine that cannot get rid of a container's output may not get round to ending it.
            self._drop_output(instance)
        instance.life.stop(signal.SIGKILL)

    def _kill_all(self) -> None:
        now = self._deadline = self._now()
        for instance in self._instances:
            if instance.life is not None and not instance.killed:
                instance.kill_at = now

    # Signals, and output that nobody takes

    def _on_wake_up(self) -> None:
        assert self._wakeup is not None
        for number in self._wakeup.drain():
            self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        if number in STOPPING:
            self._printer.system(f"{signal.Signals(number).name} received")
            self._begin_stop(128 + number)
        if number == signal.SIGINT:
            now = self._now()
            if self._interrupted_at is None:
                self._interrupted_at = now
            elif now - self._interrupted_at >= 1.0:  # sooner it may be the same key press, sent twice
                self._kill_all()
        elif number in FORWARDED:
            for instance in self._instances:
                if instance.life is not None and instance.code is None:
                    instance.life.send(number)

    def _on_output_lost(self, error: OutputError) -> None:
        if error.errno == EPIPE:  # as with `| head`: no news to whoever closed it
            self._begin_stop(128 + signal.SIGPIPE)
            return
        print(f"error: standard output cannot be written to: {error}", file=sys.stderr)  # noqa: T201
        self._begin_stop(_OUTPUT_LOST)

    # Readiness

    def _poll(self, instance: Instance) -> None:
        published, address = instance.blueprint.published, self._boot.address
        if published is None or address is None or instance.name in self._polled:
            return
        self._polled.add(instance.name)
        inside, _, outside = published
        name = self._boot.host or f"localhost:{outside}"
        poll = Poll(
            process=instance.name,
            port=inside,
            seconds=self._boot.seconds,
            ask=lambda seconds: ask(outside, host=address, name=name, seconds=seconds),
            listeners=lambda: container_listeners(self._engine, instance.life.container.id if instance.life else ""),
            contained=True,
            alive=lambda: not (self._over or instance.asked_to_stop or instance.settled),
        )
        threading.Thread(target=self._wait_for, args=(instance, poll), name=f"poll {poll.process}", daemon=True).start()

    def _wait_for(self, instance: Instance, poll: Poll) -> None:
        try:
            verdict = poll_until_ready(poll, say=lambda text: self._ask(lambda: self._on_news(text)))
        except Exception as failure:  # noqa: BLE001  raised in the main thread
            self._ask(partial(self._on_poll_failed, failure))
        else:
            self._ask(lambda: self._on_verdict(instance, poll, verdict))

    def _on_poll_failed(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        self._begin_stop(failure.exit_code if isinstance(failure, BuildpackError) else 1)

    def _on_news(self, text: str) -> None:
        if self._deadline is None:
            self._printer.system(text)

    def _on_verdict(self, instance: Instance, poll: Poll, verdict: Verdict) -> None:
        if self._deadline is not None or verdict.outcome.died:
            return  # its exit tells more
        if verdict.outcome.ready:
            self._on_ready(instance, verdict.outcome)
        else:
            self._failure = boot_error(poll, verdict, path="/", host=self._boot.host, log=self._log_of(instance))
            self._begin_stop(self._failure.exit_code)

    def _on_ready(self, instance: Instance, outcome: Outcome) -> None:
        self._answers[instance.name] = outcome
        self._awaited.discard(instance.name)
        if not self._awaited:
            answers = [
                (f"http://{self._boot.shown}:{one.blueprint.published[2]}", self._answers.get(one.name))
                for one in self._instances
                if one.blueprint.published
            ]
            self._printer.system(ready_text(answers, host=self._boot.host))

    @staticmethod
    def _log_of(instance: Instance) -> list[str]:
        return relevant_lines(instance.tail.lines())
