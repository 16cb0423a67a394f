"""Expand process types and their counts into named processes with environments: `web.1`, `web.2`, `worker.1`."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from honcho.environ import expand_processes

from deployer.runner.defaults import own_flask_app


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process, with a `name` as in ``web.1``.

    A `command` that is text is a Procfile's; a sequence is run as it is. `env` is the whole
    environment.
    """

    name: str
    command: str | Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    cwd: str | None = None

    @property
    def type(self) -> str:
        """The process type: ``web`` of ``web.1``."""
        return self.name.rpartition(".")[0] or self.name


def expand(
    processes: Mapping[str, str],
    formation: Mapping[str, int] | None = None,
    *,
    port: int,
    env: Mapping[str, str],
    cwd: str | None = None,
    app_object: str | None = None,
    app: str = "/app",
) -> list[Process]:
    """Return the processes of a formation, web first, the others in the Procfile's order.

    Without a formation there is one of each process type but ``release``. web.1 gets `port`, web.2
    the next one; the second process type counts from `port` + 100, the third from `port` + 200.
    Types that are not started count too, so that a process has the same port every time. `env` is the
    environment all of them share; PORT, PS and DYNO are set over it. `app_object` is FLASK_APP's default in it,
    which is removed if a file in the folder `app` names another one.
    """
    counts = {name: int(name != "release") for name in processes} if formation is None else formation
    ordered = sorted(processes, key=lambda name: (name != "web", name == "release"))
    types = {"web": "", **{name: processes[name] for name in ordered}}
    concurrency = {name: counts.get(name, 0) if name in processes else 0 for name in types}
    return [
        Process(
            name=params.name,
            command=params.cmd,
            env={
                **own_flask_app(env, params.cmd, app_object=app_object, app=app),
                "PORT": params.env["PORT"],
                "PS": params.name,
                "DYNO": params.name,
            },
            cwd=cwd,
        )
        for params in expand_processes(types, concurrency, port=port)  # type: ignore[no-untyped-call]
    ]


def occupied_ports(processes: Iterable[Process]) -> list[int]:
    """Return the web processes' ports that something on this machine already listens on."""
    ports = [int(process.env["PORT"]) for process in processes if process.type == "web"]
    return [port for port in ports if not _is_free(port)]


def _is_free(port: int) -> bool:
    # Any address: a listener on one of them is in the way of gunicorn's 0.0.0.0.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except PermissionError:  # below 1024: the process may have the right to listen there
            return True
        except (OSError, OverflowError):
            return False
    return True
