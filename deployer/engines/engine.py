"""The seam: what `deploy` asks of a place that runs apps, whether it is a container engine or this machine.

`deploy run` offers an app or an image and runs it in the foreground. `deploy ci` tries a built image out. Both put
the places they get into the same loop (`foreground`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from buildpack.app.read import App
from buildpack.app.source import SourceTree
from buildpack.dataclass import dataclass, field
from buildpack.oci.digest import Digest
from buildpack.oci.image import Layer
from buildpack.oci.store import Store
from buildpack.options import Options
from buildpack.progress import Observer, ignore
from buildpack.session import Session
from buildpack.steps.built import BuiltImage
from buildpack.steps.earlier_images import pull_layers
from deployer.errors import ci as errors
from deployer.formation import PORT, Limits
from deployer.readiness.health import Boot, Web
from deployer.runner import supervisor

LARGEST_READ = 1 << 30
"""Bytes that are read of a file or folder. Reports and coverage of large apps have some 10 MB."""


class TooLargeError(Exception):
    """Raised for a file or folder of more than `LARGEST_READ` bytes."""


ReadFile = Callable[[str], Iterable[bytes] | None]
"""Returns a file or folder of the app as the pieces of a tar, by its path in the app's folder; None if it is missing.

Raises TooLargeError."""


class Ground(supervisor.Ground):
    """Places of one kind, whose web processes can be asked."""

    hint = ""
    """The hint if web ends before it answers; empty for the usual one."""

    def webs(self, boot: Boot) -> Sequence[Web]:
        """Return how to ask each web process that can be asked from here; by default there is none."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An app or an image to run in the foreground, as the command line names it. Times are in seconds.

    `shown` is how messages name it; `reference` is an image's, None for the app in `folder`. `named` has the process
    types of the command line; `command` runs instead of them. `assignments` are the operands of -e. `port` is the one
    of -p, and `default_port` applies if nobody names another. `again` is the command that runs the same app or image;
    a process type can be added to it.

    Only containers use `host`, `limits`, `confined` (no privileges), `build` (false: run what is there) and
    `terminal`. Only processes of this machine use `venv`, `dev` and `reload`. `venv` is None for an environment made
    from the lock, empty for the one that is there, else a path.
    """

    folder: Path
    shown: str
    reference: str | None = None
    named: Mapping[str, int] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    assignments: Sequence[str] = field(default=(), repr=False)
    env_files: Sequence[Path] = ()
    port: int | None = None
    default_port: int = PORT
    options: Options = Options()
    stop_timeout: float = 25.0
    boot_timeout: float = 60.0
    health_host: str = ""
    restart: str = "no"
    log_format: str = "text"
    quiet: bool = False
    again: str = "deploy run"
    host: str = "127.0.0.1"
    limits: Limits = Limits()
    confined: bool = True
    build: bool = True
    terminal: bool = False
    venv: str | None = None
    dev: bool = False
    reload: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Callbacks for people: `progress` of long work, and lines of text to `say` and to `warn` of."""

    progress: Observer = ignore
    say: Callable[[str], None] = lambda _text: None
    warn: Callable[[str], None] = lambda _text: None


class Offered(Protocol):
    """An app or an image that an engine is ready to run."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that its processes share."""

    @property
    def source(self) -> SourceTree | None:
        """The app's files; None if only the image is known."""

    def ground(self) -> Ground:
        """Return the places of its formation. Raises UsageError, and MachineError if a port is taken."""

    def attach(self) -> int:
        """Run the request's command with this process's terminal, and return its exit code."""


class Layers:
    """Brings a built image's layers here, each verified to the last byte; a registry's only if they are needed.

    `whole` calls a function that reads layers, once more after layers that it found damaged were made again.
    """

    def __init__(self, built: BuiltImage, session: Session, whole: Callable[[Callable[[], object]], None]) -> None:
        self._built, self._session, self.whole = built, session, whole

    def fetch(self, layers: Sequence[Layer]) -> None:
        """Fetch those that the store lacks, several at a time; raises StackError."""
        transport = self._session.transport
        assert transport is not None
        elsewhere = self._built.elsewhere
        wanted = [(layer, elsewhere[layer.digest]) for layer in layers if layer.digest in elsewhere]
        if reasons := pull_layers(wanted, self._session.store, transport):
            raise errors.layers_out_of_reach(reasons)

    def open(self, digest: Digest) -> BinaryIO:
        """Open a layer that was fetched, or never had to be; raises as the store does."""
        return self._session.store.open(digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A built image to try out. `layers` fetches what only a registry has.

    The trial prints lines of its own with `say` and `warn`, and the output of processes with `write`.

    `network` is one of the engine's, which the containers join.
    """

    built: BuiltImage
    session: Session
    layers: Layers
    say: Callable[[str], object]
    warn: Callable[[str], object]
    write: Callable[[bytes], object]
    network: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A server that the tests need, and the variable that has its URL. It is ready once `probe` prints `ready`."""

    addon: str
    variable: str
    image: str
    probe: Sequence[str]
    ready: str
    command: Sequence[str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    password: str = field(repr=False)
    url_pattern: str = field(repr=False)

    @property
    def names(self) -> tuple[str, str, str]:
        """The add-on, the variable and the image, which messages name."""
        return self.addon, self.variable, self.image

    def url(self, address: str) -> str:
        """Return its URL; `address` is the container's."""
        return self.url_pattern.replace("{address}", address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A process that runs once: `process` is its name, as in ``test.1``, and `command` a command or a process type.

    With `develop` the lock's develop packages and the files that only tests need are there too. `read` is called once
    the process has ended, while its files are still there.
    """

    process: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    develop: bool = False
    read: Callable[[ReadFile], object] = lambda _read: None


class Trial(Protocol):
    """A built image on an engine, to be tested and booted. Nothing of it is left there afterwards."""

    @property
    def where(self) -> str:
        """The place, as the end of a sentence."""

    def start(self, services: Sequence[Service], *, seconds: float) -> Mapping[str, str]:
        """Start services that stay until the end, and return the variables of their URLs.

        Wait up to `seconds` for each. Raises EngineError.
        """

    def run(self, job: Job) -> int:
        """Run a job to its end, and return its exit code; raises BuildpackError."""

    def web(self, environment: Mapping[str, str]) -> Ground:
        """Return a place for one web process. Raises BuildpackError."""


class Engine(Protocol):
    """A place that runs apps: a container engine, or this machine."""

    name: str
    """Its product and version, as in ``Docker 20.10.24``; ``local`` for this machine."""
    why: str
    """Why it was chosen, as the end of a sentence."""

    def close(self) -> None:
        """Close its connections."""

    def require(self, options: Sequence[str]) -> None:
        """Raise EngineError if it lacks what any of these options needs."""

    def offer(
        self, request: Request, *, store: Callable[[], Store], environ: Mapping[str, str], listener: Listener
    ) -> Offered:
        """Get an app or an image ready to run: build it, fetch it, or make its environment. Raises BuildpackError."""

    def check_tests(self, app: App, session: Session) -> bool:
        """Return True if the build has to check that the develop packages can be installed, else check it here.

        Raises BuildpackError if they cannot be.
        """

    def trial(self, candidate: Candidate) -> AbstractContextManager[Trial]:
        """Return a trial of a built image."""
