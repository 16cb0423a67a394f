"""The request to a pipeline, and the values that its steps share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.dataclass import dataclass, field
from buildpack.options import Options
from buildpack.session import Session
from deployer.ci.collecting import Collect
from deployer.ci.console import Console, find_place
from deployer.ci.ledger import Counts, Ledger
from deployer.interrupts import ending_promptly
from deployer.readiness.health import Boot
from deployer.text import harmless, styled

if TYPE_CHECKING:
    from deployer.engines.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The request, as the command line says it.

    `test` is the command that tests the app, None if app.json names it, and empty for no tests. `release` is true if
    the release process runs before the boot. `environment` is for tests and web; it has nothing of this process's own.
    `boot` is how web is asked; None if nothing is tried out, tests included. `engine` is ``auto``, ``docker`` or
    ``local``. `sbom` is true if a bill of materials goes with the image. `services` are variables for the tests and the
    release process, and `service_images` replace, by add-on, the images that app.json's add-ons are started from.
    """

    app: Path
    options: Options
    push: bool = False
    sbom: bool = True
    test: str | None = None
    release: bool = False
    engine: str = "auto"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    services: Mapping[str, str] = field(default_factory=dict, repr=False)
    service_images: Mapping[str, str] = field(default_factory=dict)
    network: str | None = None
    collect: Sequence[Collect] = ()
    boot: Boot | None = Boot()


class Shared:
    """The values that the steps of one run share: its request, log and warnings, and its connection to an engine."""

    def __init__(
        self, request: Request, session: Session, console: Console, *, fit_warning: Callable[[str], str]
    ) -> None:
        self.request, self.session, self.console = request, session, console
        self.ledger = Ledger(console, count=self._count)
        self.warnings: list[str] = []
        self._fit_warning = fit_warning
        self._engine: Engine | None = None

    def warn(self, warnings: Iterable[str]) -> None:
        """Print the warnings that were not printed yet."""
        for text in map(self._fit_warning, warnings):
            if text not in self.warnings:
                self.warnings.append(text)
                self.console.say(f"{styled('warning:', 'yellow')} {harmless(text)}")
                self.console.annotate("warning", text, find_place(text))

    def engine(self) -> Engine:
        """Return the engine that the request asks for; the first call connects to it."""
        from deployer.engines.choice import choose_engine

        if self._engine is None:
            self._engine = choose_engine(self.request.engine, self.session.environ)
        return self._engine

    def close(self) -> None:
        """Close the connection to the engine."""
        if self._engine is not None:
            # A signal's exception may leave a lock of the connections taken, for which closing them then waits.
            with ending_promptly():
                self._engine.close()

    def _count(self) -> Counts:
        assert self.session.transport is not None
        traffic = self.session.transport.traffic
        return Counts(traffic.requests, traffic.sent, traffic.received)
