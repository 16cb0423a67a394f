"""This machine as a place that runs apps: processes in an environment made from the lock, and no container."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from deployer.errors.engines import local_cannot

if TYPE_CHECKING:
    from buildpack.app.read import App
    from buildpack.oci.store import Store
    from buildpack.session import Session
    from deployer.engines.engine import Candidate, Listener, Request
    from deployer.engines.local.folder_app import FolderApp
    from deployer.engines.local.trial import LocalTrial


class LocalEngine:
    """Processes of this machine; see `deployer.engines.engine.Engine` for its methods."""

    name = "local"

    def __init__(self, *, why: str) -> None:
        self.why = why

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def require(self, options: Sequence[str]) -> None:
        """Raise EngineError if there are any: they need a container engine."""
        if options:
            raise local_cannot(options, self.why)

    def offer(
        self, request: Request, *, store: Callable[[], Store], environ: Mapping[str, str], listener: Listener
    ) -> FolderApp:
        """Make the app's environment; raises BuildpackError."""
        from deployer.engines.local.folder_app import offer

        return offer(request, store=store, environ=environ, listener=listener)

    def check_tests(self, app: App, session: Session) -> bool:
        """Check the develop packages against this machine's Python, and return False."""
        from deployer.engines.local.trial import check_test_packages

        check_test_packages(app, session)
        return False

    def trial(self, candidate: Candidate) -> LocalTrial:
        """Return a trial in virtual environments."""
        from deployer.engines.local.trial import LocalTrial

        return LocalTrial(candidate, why=self.why)
