"""One container, from its creation to its removal; every call waits for the engine."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence

from buildpack.dataclass import dataclass, field
from buildpack.errors import EngineError
from deployer.engines.docker.client import Client, explain
from deployer.engines.docker.owner import (
    APP_LABEL,
    PROCESS_LABEL,
    holding_back,
    owner_labels,
    remove_container,
    this_owner,
)
from deployer.engines.docker.streams import Stream
from deployer.errors import engines as errors
from deployer.formation import Limits

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


class Container:
    """A container of this process; all methods raise EngineError unless they say otherwise."""

    def __init__(self, client: Client, blueprint: Blueprint, *, name: str) -> None:
        self._client, self._api = client, client.api
        self.blueprint, self.name = blueprint, name
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
                    **owner_labels(this_owner()),
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

    def read_log(self) -> str:
        """Return the last lines that it printed."""
        with self._client.worded():
            printed: bytes = self._api.logs(self.id, tail=20)
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
        return not self.id or remove_container(self._client, self.id)


@contextlib.contextmanager
def created(client: Client, blueprint: Blueprint, *, name: str) -> Iterator[Container]:
    """Create a container, without starting it, and remove it at the end. A signal waits until it is created."""
    container = Container(client, blueprint, name=name)
    try:
        with holding_back():
            container.create()
        yield container
    finally:
        container.remove()


def explain_start(message: str) -> None:
    """Raise an error that says more than the engine's refusal, if there is one."""
    if re.search(r"port is already allocated|address already in use|[Pp]ermission denied.*(bind|port)", message):
        raise errors.port_refused(message)
    for pattern, code in ((_NOT_FOUND, 127), (_NOT_EXECUTABLE, 126)):
        if match := pattern.search(message):
            raise errors.container_not_started(match[1] or match[2], message, code=code)


def container_name(app: str, process: str, suffix: str) -> str:
    """Name a container: ``blasto-web-1-3f9a``."""
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", f"{app}-{process.replace('.', '-')}-{suffix}")
