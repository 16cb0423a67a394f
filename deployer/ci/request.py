"""The request to a pipeline, and the values that its steps share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.dataclass import dataclass, field
from buildpack.options import Options
from buildpack.session import Session
from deployer.ci.collecting import Collect
from deployer.readiness.polling import Boot

if TYPE_CHECKING:
    from deployer.ci.console import Console
    from deployer.ci.ledger import Ledger
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The values that the steps share. `engine` connects to the engine when it is called first."""

    request: Request
    session: Session
    console: Console
    ledger: Ledger
    warn: Callable[[Iterable[str]], None]
    engine: Callable[[], Engine]
