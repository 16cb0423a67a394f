"""Commands in a container that runs: how a trial asks web and services from inside.

From outside, a published port is not always where it seems to be: the engine may be another machine's, or the one that
runs this very container.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Sequence
from pathlib import Path

from buildpack.bounded import parse_integer
from buildpack.errors import EngineError
from deployer.engines.docker.client import Client, explain
from deployer.engines.docker.container import Container
from deployer.errors import engines as errors
from deployer.readiness import question
from deployer.readiness.health import Answer, refusal_of
from deployer.readiness.sockets import Listener, parse_listeners

_START_SECONDS = 10.0
"""Seconds that an engine may take to start a command, in addition to those of the command."""
_REFUSALS = 5
"""Refusals in a row after which it is clear that an engine runs no commands in containers that run."""
_NOT_RUN = frozenset((125, 126, 127, 128, 255))
"""Exit codes that engines give for a command that they could not run."""


class Inside:
    """The inside of a container that runs; `over` is set once it has ended."""

    def __init__(self, client: Client, container: Container, over: threading.Event) -> None:
        self._client, self._container, self._over = client, container, over
        self._refused = 0
        """How often in a row the engine ran no command in the running container."""

    def run(self, command: Sequence[str], *, seconds: float) -> tuple[int, str] | None:
        """Run a command; return its exit code and output. None if the container is about to end, or the command hangs.

        The command itself should end after `seconds`; an app can stop it. Raises EngineError if the engine runs no
        commands there.
        """
        from docker.errors import APIError

        try:
            with self._client.worded():
                done = run_inside(self._client, self._container.id, command, seconds=seconds)
        except EngineError as error:
            if not isinstance(error.__cause__, APIError):
                raise
            self._on_refusal(explain(error.__cause__))
            return None
        if done is None:
            return None
        code, output = done
        text = output.decode("utf-8", "replace").strip()
        if code in _NOT_RUN:
            self._on_refusal(" ".join(text.split()) or f"exit code {code}")
            return None
        self._refused = 0
        return code, text

    def _on_refusal(self, message: str) -> None:
        """Assume that the container is about to end; raise EngineError if it does not."""
        self._refused += 1
        if not self._over.wait(0.5) and self._refused >= _REFUSALS:
            raise errors.exec_failed(self._client.name, message)

    def ask(self, port: int, *, path: str, name: str, python: str, seconds: float) -> Answer:
        """Send one GET at the address where others reach the container; `name` is the Host header."""
        asking = [python, "-I", "-c", inspect.getsource(question), str(port), path, name, str(seconds)]
        done = self.run(asking, seconds=seconds)
        if done is None:
            return Answer(problem="no answer came")
        code, text = done
        status, _, body = text.partition("\n")
        number = parse_integer(status, most=999) if code == 0 else None
        if number is None:
            return Answer(problem=text or "it gave no answer")
        return Answer(status=number, reason=refusal_of(number, body.encode()))


def run_inside(
    client: Client, identity: str, command: Sequence[str], *, seconds: float, stderr: bool = True
) -> tuple[int, bytes] | None:
    """Run a command that should end after `seconds`; return its exit code and output. None if it does not end.

    Raises what the engine's client raises.
    """
    done: list[tuple[int, bytes] | Exception] = []

    def run() -> None:
        try:
            done.append(_run(client, identity, command, stderr=stderr))
        except Exception as error:  # noqa: BLE001  raised below
            done.append(error)

    # A read from an engine ends only with the container.
    running = threading.Thread(target=run, name="command in a container", daemon=True)
    running.start()
    running.join(seconds + _START_SECONDS)
    if not done:
        return None
    if isinstance(done[0], Exception):
        raise done[0]
    return done[0]


def _run(client: Client, identity: str, command: Sequence[str], *, stderr: bool) -> tuple[int, bytes]:
    asked = client.api.exec_create(identity, list(command), stderr=stderr)
    output: bytes = client.api.exec_start(asked["Id"])
    return int(client.api.exec_inspect(asked["Id"])["ExitCode"]), output


_SECONDS = 5.0
_TABLES = ("tcp", "tcp6")
_PRINT_TABLES = "for name in 'tcp', 'tcp6': print(open('/proc/net/' + name).read())"


def container_listeners(client: Client, identity: str) -> Sequence[Listener] | None:
    """Return the sockets that a running container listens on; None if that cannot be found out."""
    try:
        with client.worded():
            inspected = client.api.inspect_container(identity)
            tables = _tables_of(int(inspected["State"].get("Pid") or 0), identity)
            if tables is None:
                tables = _ask_inside(client, identity, str((inspected["Config"].get("Entrypoint") or ["python3"])[0]))
            return [listener for listener, _inode in parse_listeners(tables)] if tables else None
    except EngineError:
        return None


def _tables_of(pid: int, identity: str) -> str | None:
    """Read the kernel's tables by the container's PID; None if that PID is another machine's."""
    process = Path(f"/proc/{pid}")
    try:
        if identity not in (process / "cgroup").read_text(encoding="utf-8", errors="replace"):
            return None
        return "".join((process / "net" / name).read_text(encoding="ascii") for name in _TABLES)
    except OSError:
        return None


def _ask_inside(client: Client, identity: str, python: str) -> str:
    command = [python, "-I", "-c", _PRINT_TABLES]
    done = run_inside(client, identity, command, seconds=_SECONDS, stderr=False)
    return done[1].decode("ascii", "replace") if done is not None else ""
