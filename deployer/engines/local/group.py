"""Run processes of a laptop in the foreground, and start again what changed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import BinaryIO

from buildpack.dataclass import dataclass
from deployer.engines.foreground import Boot, Foreground, Web
from deployer.readiness.health import Answer, Outcome, ask
from deployer.readiness.question import NOBODY
from deployer.readiness.sockets import session_listeners
from deployer.runner.formation import Process
from deployer.runner.processes import Processes
from deployer.runner.supervisor import Settings

_READ_AT_START = frozenset({"Procfile", "Pipfile.lock", ".env"})
_HINT = "fix what its log says; `deploy local -- CMD` runs any command in the same environment."


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How to run: timeouts in seconds, the runner's restart policy and log format.

    `reloaded` are the processes that start again when a file changes. If there are any, a process that fails waits for
    such a change. Web processes are asked for `path`; with `strict` only 2xx and 3xx are an answer.
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


class LocalGroup(Foreground):
    """Runs processes of this machine; `on_ready` is called for each web process that answers."""

    def __init__(
        self,
        processes: Sequence[Process],
        manner: Manner,
        *,
        out: BinaryIO,
        environ: Mapping[str, str],
        on_ready: Callable[[Outcome], object] = lambda _outcome: None,
    ) -> None:
        ground = Processes(processes)
        settings = Settings(
            stop_timeout=manner.stop_timeout,
            restart=manner.restart,
            log_format=manner.log_format,
            narrate=not manner.quiet,
            holds=bool(manner.reloaded),
        )
        webs = []
        for place in ground.places:
            if place.process.type == "web":
                port = int(place.process.env["PORT"])
                webs.append(
                    Web(
                        process=place.name,
                        port=port,
                        url=f"http://localhost:{port}",
                        ask=partial(_ask_here, port, manner.path, manner.host),
                        listeners=lambda place=place: session_listeners(place.pid),  # type: ignore[misc]
                    )
                )
        boot = Boot(seconds=manner.boot_timeout, path=manner.path, host=manner.host, strict=manner.strict, hint=_HINT)
        super().__init__(ground, settings, webs=webs, boot=boot, out=out, environ=environ, on_ready=on_ready)
        self._reloaded = manner.reloaded

    def reload(self, changed: Collection[str]) -> None:
        """Start the processes again, because files changed; any thread may call it."""
        self.supervisor.ask(lambda: self._reload(changed))

    def _reload(self, changed: Collection[str]) -> None:
        lifecycle = self.supervisor.lifecycle
        if lifecycle.deadline is not None:
            return
        late = sorted(_READ_AT_START.intersection(changed))
        if late:
            lifecycle.say(f"{', '.join(late)} changed: read when `deploy local` is started again")
        code = [path for path in changed if path not in _READ_AT_START]
        if code:
            lifecycle.say(f"{_shorten(code)} changed: starting {', '.join(self._reloaded)} again")
            lifecycle.restart(self._reloaded, self.supervisor.now())


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
