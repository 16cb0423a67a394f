"""Finds out what a container listens on, so that a web process that never answers can be told why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import EngineError
from deployer.engines.docker.client import Engine
from deployer.engines.docker.inside import run_inside
from deployer.readiness.health import Listener, parse_listeners

_SECONDS = 5.0
_TABLES = ("tcp", "tcp6")
_PRINT_TABLES = "for name in 'tcp', 'tcp6': print(open('/proc/net/' + name).read())"


def container_listeners(engine: Engine, identity: str) -> Sequence[Listener] | None:
    """Return the sockets that a running container listens on; None where that cannot be found out."""
    try:
        with engine.worded():
            inspected = engine.api.inspect_container(identity)
            tables = _tables_of(int(inspected["State"].get("Pid") or 0), identity)
            if tables is None:
                tables = _ask_inside(engine, identity, str((inspected["Config"].get("Entrypoint") or ["python3"])[0]))
            return [listener for listener, _inode in parse_listeners(tables)] if tables else None
    except EngineError:
        return None


def _tables_of(pid: int, identity: str) -> str | None:
    """Read the kernel's tables by the container's PID; None where that PID is another machine's."""
    process = Path(f"/proc/{pid}")
    try:
        if identity not in (process / "cgroup").read_text(encoding="utf-8", errors="replace"):
            return None
        return "".join((process / "net" / name).read_text(encoding="ascii") for name in _TABLES)
    except OSError:
        return None


def _ask_inside(engine: Engine, identity: str, python: str) -> str:
    command = [python, "-I", "-c", _PRINT_TABLES]
    done = run_inside(engine, identity, command, seconds=_SECONDS, stderr=False)
    return done[1].decode("ascii", "replace") if done is not None else ""
