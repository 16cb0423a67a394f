"""The runner's supervisor for a laptop: it says once when the web processes answer, and starts again what changed.

Everything here happens in the supervisor's own loop but the polling and the watching, whose threads leave their
findings to the loop.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import BinaryIO

from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError
from deployer.errors.readiness import boot_failed, process_ended
from deployer.interrupts import raise_dropped
from deployer.readiness.boot_log import KEPT, relevant_lines
from deployer.readiness.health import Answer, Outcome, Tail, ask, ready_text
from deployer.readiness.polling import Poll, Verdict, boot_error, poll_until_ready
from deployer.readiness.question import NOBODY
from deployer.readiness.sockets import session_listeners
from deployer.runner.child import Child
from deployer.runner.ends import end_text
from deployer.runner.formation import Process
from deployer.runner.supervisor import Event, Supervisor

_READ_AT_START = frozenset({"Procfile", "Pipfile.lock", ".env"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How to run: timeouts in seconds, the runner's restart policy and log format.

    `reloaded` are the processes that start again when a file changes; where there are any, one that fails is awaited
    until then. `path` is what web processes are asked for; with `strict` only 2xx and 3xx are an answer.
    """

    stop_timeout: float = 25.0
    boot_timeout: float = 60.0
    restart: str = "no"
    log_format: str = "text"
    quiet: bool = False
    reloaded: Sequence[str] = ()
    path: str = "/"
    host: str = ""
    strict: bool = False


class LocalGroup(Supervisor):
    """Runs processes as `Supervisor` does; `run` also raises BootError where a web process does not come up."""

    def __init__(
        self, processes: Sequence[Process], manner: Manner, *, out: BinaryIO, environ: Mapping[str, str]
    ) -> None:
        super().__init__(
            processes,
            out=out,
            environ=environ,
            log_format=manner.log_format,
            restart=manner.restart,
            stop_timeout=manner.stop_timeout,
            on_event=self._on_step,
            on_output=self._remember,
        )
        self._manner = manner
        self._ports = {process.name: int(process.env["PORT"]) for process in processes if process.type == "web"}
        self._awaited = set(self._ports)
        self._polled: set[str] = set()
        self._tails = {process.name: Tail(KEPT) for process in processes}
        self._answers: dict[str, Outcome] = {}
        self._failure: Exception | None = None
        self._died: tuple[str, int] | None = None
        self._failed: set[str] = set()
        if manner.quiet:
            # The runner has no switch for its own lines; what it says is one method.
            setattr(self._printer, "system", lambda _text: None)  # noqa: B010 - mypy takes it for a mistake

    def run(self) -> int:
        """Do as the runner's `run` does; raises BootError."""
        raise_dropped()
        code = super().run()
        if self._failure is not None:
            raise self._failure
        if self._died is not None:
            name, code = self._died
            log = relevant_lines(self._tails[name].lines())
            failure = boot_failed(name, code, told=f"it {end_text(code)}", log=log)
            failure.hint = "fix what its log says; `deploy local -- CMD` runs any command in the same environment."
            raise failure
        if self._ended is not None and self._ended[1] and code == self._ended[1]:
            name, code = self._ended
            log = relevant_lines(self._tails[name].lines())
            others = len(self._tails) > 1
            raise process_ended(name, code, told=f"it {end_text(code)}", others=others, restart=self._policy, log=log)
        return code

    def reload(self, changed: Collection[str]) -> None:
        """Start the processes again, because files changed; may be called from any thread."""
        self._ask(lambda: self._reload(changed))

    # Readiness

    def _on_step(self, event: Event) -> None:
        if event.kind == "started":
            self._failed.discard(event.process)
            self._tails[event.process] = Tail(KEPT)
            if event.process in self._awaited - self._polled:
                self._polled.add(event.process)
                poll = threading.Thread(target=self._poll, args=(event.process, event.pid), daemon=True)
                poll.start()

    def _remember(self, name: str, chunk: bytes) -> None:
        self._tails[name].add(chunk)

    def _poll(self, name: str, pid: int) -> None:
        """Ask until an answer comes, and pass the verdict to the loop."""
        port, manner = self._ports[name], self._manner
        poll = Poll(
            process=name,
            port=port,
            seconds=manner.boot_timeout,
            ask=lambda seconds: _ask_here(port, manner.path, manner.host, seconds),
            alive=lambda: self._is_expected(name),
            listeners=lambda: session_listeners(pid),
            contained=False,
            strict=manner.strict,
        )
        try:
            verdict = poll_until_ready(poll, say=lambda text: self._ask(lambda: self._on_news(text)))
        except Exception as failure:  # noqa: BLE001  raised in the main thread
            self._ask(partial(self._on_failure, failure))
        else:
            self._ask(lambda: self._on_verdict(poll, verdict))

    @property
    def _stopping(self) -> bool:
        """True after a signal, even if requests in the queue are still waited for: no verdict counts then."""
        return self._deadline is not None or self._wait_until is not None

    def _is_expected(self, name: str) -> bool:
        return not self._stopping and name not in self._failed

    def _on_news(self, text: str) -> None:
        if not self._stopping:
            self._printer.system(text)

    def _on_failure(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        self._begin_stop(failure.exit_code if isinstance(failure, BuildpackError) else 1)

    def _on_verdict(self, poll: Poll, verdict: Verdict) -> None:
        name, outcome = poll.process, verdict.outcome
        self._polled.discard(name)
        if self._stopping or outcome.died:
            return  # its exit tells more
        if outcome.ready:
            self._awaited.discard(name)
            self._answers[name] = outcome
            if not self._awaited:
                answers = [(f"http://localhost:{port}", self._answers.get(one)) for one, port in self._ports.items()]
                self._printer.system(ready_text(answers, host=self._manner.host))
            return
        log = relevant_lines(self._tails[name].lines())
        self._failure = failure = boot_error(poll, verdict, path=self._manner.path, host=self._manner.host, log=log)
        self._begin_stop(failure.exit_code)

    def _judge(self, child: Child, code: int, now: float) -> None:
        """Keep the rest running while somebody is mending the file that made one process fail."""
        if self._manner.reloaded and code and self._policy == "no" and self._deadline is None:
            self._failed.add(child.name)
            self._printer.system(f"{child.name} {end_text(code)}; it starts again when a file changes")
            return
        super()._judge(child, code, now)
        if child.delay is None and child.name in self._awaited and self._deadline is None and self._died is None:
            self._died = child.name, code

    # Reloading

    def _reload(self, changed: Collection[str]) -> None:
        if self._deadline is not None:
            return
        late = sorted(_READ_AT_START.intersection(changed))
        if late:
            self._printer.system(f"{', '.join(late)} changed: read when `deploy local` is started again")
        code = [path for path in changed if path not in _READ_AT_START]
        if code:
            names = self._manner.reloaded
            self._printer.system(f"{_shorten(code)} changed: starting {', '.join(names)} again")
            self._restart(names)

    def _done(self) -> bool:
        return super()._done() and (self._deadline is not None or not self._failed)


def _ask_here(port: int, path: str, name: str, seconds: float) -> Answer:
    """Ask where something accepts connections; ``[::1]`` counts, since a browser reaches it as localhost."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        if _accepts(family, host, port):
            return ask(port, host=host, name=name or f"localhost:{port}", path=path, seconds=seconds)
    return Answer(problem=NOBODY)


def _accepts(family: int, host: str, port: int) -> bool:
    try:
        # Closed before anything is asked: gunicorn's one worker would wait for what this connection has to say.
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            probe.connect((host, port))
            return True
    except OSError:
        return False


def _shorten(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
