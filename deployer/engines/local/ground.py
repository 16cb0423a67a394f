"""Processes of this machine as the places of a formation, which start again when a file changes."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from buildpack.system.processes import User
from buildpack.system.unprivileged import give
from deployer.engines.engine import Ground
from deployer.engines.local.watch import Scope, Watcher
from deployer.readiness.health import Answer, Boot, Web, ask
from deployer.readiness.question import NOBODY
from deployer.readiness.sockets import session_listeners
from deployer.runner.defaults import runtime_folder
from deployer.runner.formation import Process
from deployer.runner.processes import Processes, ProcessPlace
from deployer.runner.supervisor import Supervisor

_READ_AT_START = frozenset({"Procfile", "Pipfile.lock", ".env"})
_HINT = "fix what its log says; `deploy local -- CMD` runs any command in the same environment."


class LocalGround(Processes, Ground):
    """Processes of this machine.

    `reloaded` are those that start again when a file in `scope` changes. If there are any, a process that fails waits
    for such a change. With `quiet` only those who listen to the loop get the output. The folders `temporary` are
    removed at the end.
    """

    hint = _HINT

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        reloaded: Sequence[str] = (),
        scope: Scope | None = None,
        quiet: bool = False,
        temporary: Sequence[str] = (),
    ) -> None:
        super().__init__(processes)
        for place in self.places:
            place.quiet = quiet
        self._reloaded, self._scope, self._temporary = reloaded, scope, temporary
        self.holds = bool(reloaded)

    @contextlib.contextmanager
    def open(self, supervisor: Supervisor) -> Iterator[None]:
        """Watch the files during the run, and remove the temporary folders at its end."""
        self._supervisor = supervisor
        watcher = Watcher(self._scope, self.reload) if self._scope else None
        try:
            with super().open(supervisor):
                if watcher is not None:
                    watcher.start()
                yield
        finally:
            if watcher is not None:
                watcher.stop()
            for path in self._temporary:
                shutil.rmtree(path, ignore_errors=True)

    def webs(self, boot: Boot) -> list[Web]:
        """Return how to ask the web processes on this machine."""
        return [_web(place, boot) for place in self.places if place.process.type == "web"]

    def reload(self, changed: Collection[str]) -> None:
        """Start the processes again, because files changed; any thread may call it."""
        self._supervisor.ask(lambda: self._reload(changed))

    def _reload(self, changed: Collection[str]) -> None:
        lifecycle = self._supervisor.lifecycle
        if lifecycle.deadline is not None:
            return
        late = sorted(_READ_AT_START.intersection(changed))
        if late:
            lifecycle.say(f"{', '.join(late)} changed: read when `deploy local` is started again")
        code = [path for path in changed if path not in _READ_AT_START]
        if code:
            lifecycle.say(f"{_shorten(code)} changed: starting {', '.join(self._reloaded)} again")
            lifecycle.restart(self._reloaded, self._supervisor.now())


def with_runtime_folder(process: Process, made: list[str], user: User | None = None) -> Process:
    """Give a process a folder that only it may use; append its path to `made`. The folder belongs to `user`."""
    variables = runtime_folder(process.env)
    for path in variables.values():
        give(Path(path), user)
    made.extend(variables.values())
    return replace(process, env={**process.env, **variables})


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
    """Ask at the address that accepts connections; ``[::1]`` counts, since a browser reaches it as localhost."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        if _accepts(family, host, port):
            return ask(port, host=host, name=name or f"localhost:{port}", path=path, seconds=seconds)
    return Answer(problem=NOBODY)


def _accepts(family: int, host: str, port: int) -> bool:
    try:
        # Closed before the question: gunicorn's one worker would wait for a request on this connection.
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            probe.connect((host, port))
            return True
    except OSError:
        return False


def _shorten(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
