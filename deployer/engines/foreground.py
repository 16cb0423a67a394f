"""Run a formation in the foreground, wherever its places are: report once that web answers, and raise how it ended.

The supervisor's loop decides; each web process is asked in a thread, which leaves what it found out to the loop.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from buildpack.app.health_host import find_health_host
from buildpack.errors import BuildpackError
from deployer.engines.engine import Ground, Offered, Request
from deployer.errors.readiness import boot_failed, process_ended
from deployer.interrupts import keep_for_later, raise_dropped
from deployer.readiness.boot_log import Tail, relevant_lines
from deployer.readiness.health import Boot, Outcome, Web, boot_error, poll_until_ready, ready_text
from deployer.runner.signals import leave_to_the_loop
from deployer.runner.stage import Action
from deployer.runner.supervisor import Settings, Supervisor


def run_quietly(ground: Ground, *, write: Callable[[bytes], object]) -> int:
    """Run the places of a ground to their end, `write` their output as it is, and return the exit code.

    Processes that still run then, or at an interrupt, are killed. Raises the error that stopped the ground.
    """
    raise_dropped()
    with Path(os.devnull).open("wb") as nothing:
        settings = Settings(stop_timeout=0.0, narrate=False)
        supervisor = Supervisor(ground, settings, out=nothing, on_output=lambda _name, chunk: write(chunk))
        # A signal after the loop's last look at them must count, too.
        code = supervisor.run(keep_for_later)
    raise_dropped()
    if ground.failure is not None:
        raise ground.failure
    return code


class Foreground:
    """Runs the places of a ground until the first one ends or a signal comes.

    `on_ready` is called once for each web process that answers, in the loop.
    """

    def __init__(
        self,
        ground: Ground,
        settings: Settings,
        *,
        boot: Boot,
        out: BinaryIO,
        environ: Mapping[str, str],
        on_ready: Callable[[Outcome], object] = lambda _outcome: None,
    ) -> None:
        self.supervisor = Supervisor(
            ground, settings, out=out, environ=environ, on_event=self._on_event, on_output=self._remember
        )
        self._ground, self._settings, self._boot, self._on_ready = ground, settings, boot, on_ready
        self._webs = {web.process: web for web in ground.webs(boot)}
        self._awaited = set(self._webs)
        self._polled: set[str] = set()
        self._tails = {place.name: Tail() for place in ground.places}
        self._ended: set[str] = set()
        self._answers: dict[str, Outcome] = {}
        self._failure: Exception | None = None
        self._died: Action | None = None

    def run(self, stopping: Callable[[int, FrameType | None], object] = leave_to_the_loop) -> int:
        """Start everything and block until nothing is left; return the exit code.

        Raises BootError if a web process does not come up, ProcessEndedError if another one fails, and what stopped the
        ground. `stopping` is the handler of the signals that stop the run.
        """
        raise_dropped()
        code = self.supervisor.run(stopping)
        failure = self._failure or self._ground.failure
        if failure is not None:
            raise failure
        if self._died is not None:
            died = self._died
            error = boot_failed(died.place, died.number, ending=died.text, log=self._log_of(died.place))
            error.hint = self._ground.hint or error.hint
            raise error
        ended = self.supervisor.lifecycle.ended
        if ended is not None and ended.number and code == ended.number:
            raise process_ended(
                ended.place,
                code,
                ending=ended.text,
                others=len(self._tails) > 1,
                restart=self._settings.restart,
                log=self._log_of(ended.place),
            )
        return code

    def _log_of(self, name: str) -> Sequence[str]:
        return relevant_lines(self._tails[name].lines())

    def _remember(self, name: str, chunk: bytes) -> None:
        self._begin_log(name)
        self._tails[name].add(chunk)

    def _begin_log(self, name: str) -> None:
        """Forget what the process said before it was started again. An engine may report a start after its output."""
        if name in self._ended:
            self._ended.discard(name)
            self._tails[name] = Tail()

    def _on_event(self, event: Action) -> None:
        name = event.place
        if event.kind == "stopped":
            self._ended.add(name)
        elif event.kind == "started":
            self._begin_log(name)
            if name in self._awaited - self._polled:
                self._polled.add(name)
                threading.Thread(target=self._poll, args=(self._webs[name],), daemon=True).start()
        elif event.kind == "down" and name in self._awaited and self._died is None:
            self._died = event

    def _poll(self, web: Web) -> None:
        """Ask until an answer comes, and leave the outcome to the loop."""
        supervisor, lifecycle = self.supervisor, self.supervisor.lifecycle

        def say(text: str) -> None:
            if not lifecycle.stopping:
                supervisor.say(text)

        try:
            outcome = poll_until_ready(web, self._boot, alive=lambda: lifecycle.expects(web.process), say=say)
        except Exception as failure:  # noqa: BLE001  raised in the main thread
            supervisor.ask(partial(self._fail, failure))
        else:
            supervisor.ask(lambda: self._on_outcome(web, outcome))

    def _on_outcome(self, web: Web, outcome: Outcome) -> None:
        self._polled.discard(web.process)
        if self.supervisor.lifecycle.stopping or outcome.died:
            return  # its exit tells more
        if not outcome.ready:
            self._fail(boot_error(web, self._boot, outcome, log=self._log_of(web.process)))
            return
        self._awaited.discard(web.process)
        self._answers[web.process] = outcome
        if not self._awaited:
            answers = [(web.url, self._answers.get(name)) for name, web in self._webs.items()]
            self.supervisor.lifecycle.say(ready_text(answers, host=self._boot.host))
        self._on_ready(outcome)

    def _fail(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        code = failure.exit_code if isinstance(failure, BuildpackError) else 1
        self.supervisor.lifecycle.stop(code, self.supervisor.now())


def run_app(app: Offered, request: Request, *, out: BinaryIO, environ: Mapping[str, str]) -> int:
    """Run an app's formation until the first process ends or a signal comes; return the exit code.

    Raises BuildpackError.
    """
    settings = Settings(
        stop_timeout=request.stop_timeout,
        restart=request.restart,
        log_format=request.log_format,
        narrate=not request.quiet,
    )
    host = request.health_host or find_health_host(app.source, app.environment)
    boot = Boot(seconds=request.boot_timeout, host=host)
    return Foreground(app.ground(), settings, boot=boot, out=out, environ={**environ, **app.environment}).run()
