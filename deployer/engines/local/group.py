"""Run processes of a laptop in the foreground, and start again what changed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from deployer.engines.foreground import Boot, Foreground, Web
from deployer.readiness.health import Answer, Outcome, ask
from deployer.readiness.question import NOBODY
from deployer.readiness.sockets import session_listeners
from deployer.runner.formation import Process
from deployer.runner.processes import Processes, ProcessPlace
from deployer.runner.supervisor import Settings

_READ_AT_START = frozenset({"Procfile", "Pipfile.lock", ".env"})
_HINT = "fix what its log says; `deploy local -- CMD` runs any command in the same environment."


class LocalGroup(Foreground):
    """Runs processes of this machine.

    `reloaded` are those that start again when a file changes. If there are any, a process that fails waits for such a
    change. `on_ready` is called for each web process that answers.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        settings: Settings,
        boot: Boot,
        *,
        out: BinaryIO,
        environ: Mapping[str, str],
        reloaded: Sequence[str] = (),
        on_ready: Callable[[Outcome], object] = lambda _outcome: None,
    ) -> None:
        ground = Processes(processes)
        super().__init__(
            ground,
            replace(settings, holds=bool(reloaded)),
            webs=[_web(place, boot) for place in ground.places if place.process.type == "web"],
            boot=replace(boot, hint=_HINT),
            out=out,
            environ=environ,
            on_ready=on_ready,
        )
        self._reloaded = reloaded

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


def _web(place: ProcessPlace, boot: Boot) -> Web:
    port = int(place.process.env["PORT"])
    return Web(
        process=place.name,
        port=port,
        url=f"http://localhost:{port}",
        ask=partial(_ask_here, port, boot.path, boot.host),
        listeners=lambda: session_listeners(place.pid),
    )


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
