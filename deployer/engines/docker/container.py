"""One container, from its creation to its removal; every call waits for the engine."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from buildpack.dataclass import dataclass, field
from buildpack.errors import EngineError
from deployer.engines.docker.client import Client, explain
from deployer.engines.docker.frames import STDOUT, Demultiplexer
from deployer.engines.docker.owner import Owner, is_gone, owner_labels, parse_owner
from deployer.errors import engines as errors
from deployer.formation import Limits

APP_LABEL = "dev.deploy.app"
PROCESS_LABEL = "dev.deploy.process"
TRIALS = "deploy-ci"
"""The namespace of images that one run of `deploy ci` loads, and removes at its end."""

_LISTINGS = 10
_PROCESSES = 4096
"""Processes and threads that a container may have: more than any app needs, and a fork bomb stays in its container."""
_NOT_FOUND = re.compile(
    r'exec: "([^"]+)": (?:executable file not found|(?:stat \S+: )?no such file)'  # runc
    r"|executable file `([^`]+)` not found"  # crun
)
_NOT_EXECUTABLE = re.compile(
    r'exec: "([^"]+)": (?:permission denied|is a directory)'
    r"|the path `([^`]+)` (?:exists but it is not executable|is not a regular file)"
)

_DETACH = "ctrl-^,ctrl-@,ctrl-^,ctrl-@"
"""The keys on which an engine lets go of a terminal; by default it swallows every Ctrl-P, waiting for Ctrl-Q."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """The description from which a container is made.

    `image` is an ID or a reference; `command` are the launcher's arguments; `process` is ``web.1``. `published`
    is the port inside, with the address and port of the engine's machine. `network` is one of the engine's.
    `stop_timeout` is in seconds. A `confined` container has no capabilities, cannot gain privileges, and can have
    `_PROCESSES` processes; else the engine's own defaults hold.
    """

    app: str
    process: str
    image: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    limits: Limits = Limits()
    published: tuple[int, str, int] | None = None
    stop_timeout: float = 25.0
    confined: bool = True
    terminal: bool = False
    interactive: bool = False
    network: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a container ended."""

    code: int
    out_of_memory: bool = False


class Stream:
    """The open connection to a container's streams."""

    def __init__(self, attached: Any, *, terminal: bool) -> None:
        # The response owns the connection: it stays referenced for as long as the socket is used.
        self._attached = attached
        self._socket: socket.socket = getattr(attached, "_sock", attached)
        self._socket.settimeout(None)
        self._terminal = terminal

    def pieces(self) -> Iterator[Sequence[tuple[int, bytes]]]:
        """Yield output as it comes, each piece with the number of its stream, until container or connection end."""
        frames = Demultiplexer()
        with contextlib.suppress(OSError):
            while received := self._socket.recv(1 << 16):
                yield [(STDOUT, received)] if self._terminal else list(frames.feed(received))

    def write(self, data: bytes) -> bool:
        """Send input; False once nobody reads it."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def end_input(self) -> None:
        """End the input; output still comes."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End the connection, and every `pieces` or `write` that waits on it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        response = getattr(self._attached, "_response", None)
        owners: tuple[Any, ...] = (response, self._attached, self._socket)
        for owner in owners:
            # Each of them tries to flush a file that another owner has closed.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                owner.close()


class Container:
    """A container of this process; all methods raise EngineError unless they say otherwise."""

    def __init__(self, client: Client, blueprint: Blueprint, *, name: str, owner: Owner) -> None:
        self._client, self._api = client, client.api
        self.blueprint, self.name, self._owner = blueprint, name, owner
        self.id = ""
        self.warnings: tuple[str, ...] = ()
        """Warnings of the engine from the creation of the container: for example that it ignores a limit."""

    def create(self) -> None:
        """Create it, without starting it."""
        blueprint, limits = self.blueprint, self.blueprint.limits
        ports, bindings = [], {}
        if blueprint.published is not None:
            inside, address, outside = blueprint.published
            ports, bindings = [inside], {inside: (address, outside)}
        with self._client.worded():
            created = self._api.create_container(
                blueprint.image,
                list(blueprint.command),
                name=self.name,
                environment=[f"{key}={value}" for key, value in blueprint.environment.items()],
                labels={
                    APP_LABEL: blueprint.app,
                    PROCESS_LABEL: blueprint.process,
                    **owner_labels(self._owner),
                },
                ports=ports,
                tty=blueprint.terminal,
                stdin_open=blueprint.interactive,
                stop_timeout=round(blueprint.stop_timeout),
                host_config=self._api.create_host_config(
                    port_bindings=bindings,
                    mem_limit=limits.memory,
                    # No swap on top: a limit is a limit, and an app that swaps answers nobody.
                    memswap_limit=limits.memory,
                    nano_cpus=limits.nano_cpus,
                    log_config={"Type": "json-file", "Config": {"max-size": "10m"}},
                    cap_drop=["ALL"] if blueprint.confined else None,
                    security_opt=["no-new-privileges"] if blueprint.confined else None,
                    pids_limit=_PROCESSES if blueprint.confined else None,
                    network_mode=blueprint.network,
                ),
            )
            self.id = str(created["Id"])
            # Nobody asked for the limit of processes: an engine without it, often one without root, always warns.
            said = (" ".join(str(text).split()) for text in created.get("Warnings") or ())
            self.warnings = tuple(text for text in said if "pids limit" not in text.lower())

    def attach(self) -> Stream:
        """Connect to its streams; call it before the start, so that nothing is missed. Raises as `start` does.

        Podman makes the container ready to run here already.
        """
        asked: dict[str, object] = {"stdout": 1, "stderr": 1, "stream": 1, "stdin": int(self.blueprint.interactive)}
        if self.blueprint.terminal:
            asked["detachKeys"] = _DETACH
        with self._explained():
            return Stream(self._api.attach_socket(self.id, asked), terminal=self.blueprint.terminal)

    def start(self) -> None:
        """Start it; raises also MachineError for a taken port, NotStartedError for a command that cannot be run."""
        with self._explained():
            self._api.start(self.id)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        from docker.errors import APIError

        with self._client.worded():
            try:
                yield
            except APIError as error:
                explain_start(explain(error))
                raise

    def wait(self) -> Exit:
        """Wait until it has ended; a container that another program removed counts as killed."""
        from docker.errors import NotFound

        code, out_of_memory = 128 + signal.SIGKILL, False
        with self._client.worded(), contextlib.suppress(NotFound):
            code = self._await_code()
            out_of_memory = bool(self._api.inspect_container(self.id)["State"].get("OOMKilled"))
        return Exit(code=code, out_of_memory=out_of_memory)

    def _await_code(self) -> int:
        if self._client.libpod is None:
            return int(self._api.wait(self.id)["StatusCode"])
        # Podman 4.3 answers Docker's question by polling without a pause, which takes half a processor.
        address = f"{self._api.base_url}/v{self._client.libpod}/libpod/containers/{self.id}/wait"
        asked = {"condition": ["stopped", "exited"], "interval": "100ms"}
        answer = self._api.post(address, params=asked, timeout=None)
        self._api._raise_for_status(answer)
        return int(answer.text)

    def read_archive(self, path: str) -> Iterable[bytes] | None:
        """Return a file or folder of it as the pieces of a tar; None if the path is missing."""
        from docker.errors import NotFound

        with self._client.worded():
            try:
                pieces: Iterable[bytes] = self._api.get_archive(self.id, path)[0]
            except NotFound:
                return None
        return pieces

    def address(self) -> str:
        """Return its IP address in the network that it joined; empty if it has none."""
        with self._client.worded():
            networks = self._api.inspect_container(self.id)["NetworkSettings"].get("Networks") or {}
            return next((str(each["IPAddress"]) for each in networks.values() if each.get("IPAddress")), "")

    def read_log(self, lines: int = 20) -> str:
        """Return the last lines that it printed."""
        with self._client.worded():
            printed: bytes = self._api.logs(self.id, tail=lines)
        return printed.decode("utf-8", "replace").strip()

    def signal(self, number: int) -> None:
        """Send a signal to its first process; do nothing if it has ended or the engine does not answer."""
        with contextlib.suppress(EngineError), self._client.worded():
            self._api.kill(self.id, number)

    def resize(self, rows: int, columns: int) -> bool:
        """Set the size of its terminal; False if it is not running yet, or not any more."""
        try:
            with self._client.worded():
                self._api.resize(self.id, rows, columns)
        except EngineError:
            return False
        return True

    def remove(self) -> bool:
        """Remove it, running or not; False if the engine refuses."""
        if not self.id:
            return True
        return _remove(self._client, self.id)


def explain_start(message: str) -> None:
    """Raise an error that says more than the engine's refusal, if there is one."""
    if re.search(r"port is already allocated|address already in use|[Pp]ermission denied.*(bind|port)", message):
        raise errors.port_refused(message)
    for pattern, code in ((_NOT_FOUND, 127), (_NOT_EXECUTABLE, 126)):
        if match := pattern.search(message):
            raise errors.container_not_started(match[1] or match[2], message, code=code)


def _remove(client: Client, identity: str) -> bool:
    from docker.errors import NotFound

    try:
        with client.worded(), contextlib.suppress(NotFound):
            client.api.remove_container(identity, force=True, v=True)
    except EngineError as error:
        return "is already in progress" in str(error)
    return True


def container_name(app: str, process: str, suffix: str) -> str:
    """Name a container: ``blasto-web-1-3f9a``."""
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", f"{app}-{process.replace('.', '-')}-{suffix}")


def clear_leftovers(client: Client, here: Owner) -> list[str]:
    """Remove the containers of every app whose owner has ended, and images that were made for these alone.

    Returns the names of the containers. A container that the engine is removing stays with the engine. If the removal
    failed, Docker lists the container until it restarts, and answers any question about it with 404.
    """
    listed = _list_ours(client)
    cleared = []
    with client.worded():
        for found in listed:
            owner = None if found.get("State") == "removing" else parse_owner(found.get("Labels") or {})
            if owner is not None and is_gone(owner, here) and _remove(client, str(found["Id"])):
                cleared.append(str((found.get("Names") or [found["Id"][:12]])[0]).lstrip("/"))
                if (image := str(found.get("Image"))).removeprefix("docker.io/").startswith(f"{TRIALS}/"):
                    remove_image(client, image)
    return cleared


def remove_image(client: Client, reference: str) -> None:
    """Remove a name of an image, and the image if it has no other; it stays if the engine refuses."""
    with contextlib.suppress(EngineError), client.worded():
        client.api.remove_image(reference, force=True)


def _list_ours(client: Client) -> list[dict[str, Any]]:
    from docker.errors import APIError

    for _ in range(_LISTINGS):
        with client.worded():
            try:
                found: list[dict[str, Any]] = client.api.containers(all=True, filters={"label": [PROCESS_LABEL]})
            except APIError as error:
                # Podman fails to list containers while one of them is being removed.
                if "no such container" not in str(error):
                    raise
            else:
                return found
        time.sleep(0.1)
    return []
