"""Fetch wheels while the stack ``host`` is still being gathered: its interpreter is known long before its layers.

A gain of time and nothing else: what was fetched lies in the store, and the resolution proper finds it there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from buildpack.app.read import App
from buildpack.errors import BuildpackError
from buildpack.session import Session
from buildpack.steps.install_target import InstallTarget
from buildpack.steps.resolution import prefetch

if TYPE_CHECKING:
    from buildpack.python.target import Target
    from buildpack.stacks.find_python import HostPython

PATIENCE = 0.05
"""Seconds after which the stack is clearly not one that is known: only then is it worth looking ahead."""


class LookAhead:
    """Fetches in a thread of its own from `PATIENCE` on, unless `join` comes first.

    `needed` is asked in that thread: it may wait for an earlier image, whose layers would spare the wheels.
    """

    def __init__(
        self,
        app: App,
        *,
        python: str | None,
        session: Session,
        needed: Callable[[], bool] = lambda: True,
    ) -> None:
        self._needed = needed
        self._app = app
        self._python = python
        self._session = session
        self._target: Target | None = None
        self._failure: BuildpackError | None = None
        self._thread = threading.Timer(PATIENCE, self._run)
        self._thread.daemon = True
        self._thread.start()

    def join(self, target: Target | None = None) -> None:
        """Wait for what was begun; raises what it failed with, if it was for this target."""
        self._thread.cancel()
        self._thread.join()
        if self._failure is not None and self._target == target:
            raise self._failure

    def cancel(self) -> None:
        """Do not begin; what was begun ends with this process."""
        self._thread.cancel()

    def _run(self) -> None:
        try:
            self._fetch()
        except BuildpackError as failure:
            self._failure = failure
        except Exception:  # noqa: BLE001  a bug, which the resolution proper will meet where it can be told
            return

    def _fetch(self) -> None:
        if not self._needed():
            return
        from buildpack.stacks.find_python import find_python

        session = self._session
        own = session.own_python.executable
        host = find_python(self._python, environ=session.environ, own=own, store=session.store)
        if host is None or host.glibc is None:
            return
        self._prefetch(host)

    def _prefetch(self, host: HostPython) -> None:
        from buildpack.python.build_settings import read_settings
        from buildpack.python.target import Target
        from buildpack.python.venv import VenvLayout
        from buildpack.stacks.stack import Interpreter

        assert host.glibc is not None
        self._target = Target(version=host.version, machine=os.uname().machine, libc=host.glibc)
        target = InstallTarget(
            target=self._target,
            layout=VenvLayout(python_version=host.version, stack_python=str(host.executable)),
            identity="",
            interpreter=lambda: Interpreter(argv=(str(host.executable),), version=host.version),
            settings=read_settings(self._app, self._session.environ),
        )
        prefetch(self._app.lock, self._app.lock.packages, target, self._session, folder=self._app.folder)
