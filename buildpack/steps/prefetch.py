"""Fetch wheels while the stack ``host`` is still being gathered: its interpreter is known long before its layers.

This only saves time. The resolution finds the wheels in the store.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from buildpack.app.read import App
from buildpack.errors import BuildpackError
from buildpack.session import Session
from buildpack.steps.install_target import target_here

if TYPE_CHECKING:
    from buildpack.python.target import Target
    from buildpack.steps.earlier_images import Lookup

PATIENCE = 0.05
"""Seconds. A stack that the store knows is resolved by then, and prefetching would be wasted."""


class Prefetch:
    """Fetches wheels in a thread that starts after `PATIENCE`, unless `join` comes first.

    `earlier` is waited for in that thread: wheels are not needed if an image has layers to take.
    """

    def __init__(self, app: App, *, python: str | None, session: Session, earlier: Lookup) -> None:
        self._earlier = earlier
        self._app = app
        self._python = python
        self._session = session
        self._target: Target | None = None
        self._failure: BuildpackError | None = None
        self._thread = threading.Timer(PATIENCE, self._run)
        self._thread.daemon = True
        self._thread.start()

    def join(self, target: Target | None = None) -> None:
        """Wait for the thread; raises its error if it fetched for this target."""
        self._thread.cancel()
        self._thread.join()
        if self._failure is not None and self._target == target:
            raise self._failure

    def cancel(self) -> None:
        """Do not start the thread. A thread that was started ends with this process."""
        self._thread.cancel()

    def _run(self) -> None:
        try:
            self._fetch()
        except BuildpackError as failure:
            self._failure = failure
        except Exception:  # noqa: BLE001  the resolution meets the same bug, where it can be reported
            return

    def _fetch(self) -> None:
        if self._earlier.result().layers:
            return
        from buildpack.python.build_settings import read_settings
        from buildpack.stacks.find_python import find_python
        from buildpack.steps.wheel_search import WheelSearch

        app, session = self._app, self._session
        own = session.own_python.executable
        host = find_python(self._python, environ=session.environ, own=own, store=session.store)
        if host is not None and host.glibc is not None and app.lock.packages:
            target = target_here(host, settings=read_settings(app, session.environ))
            self._target = target.target
            WheelSearch(app.lock, target, session, app.folder).fetch(app.lock.packages)
