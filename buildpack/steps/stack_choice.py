"""Resolve the stack that an app asks for, on the platform of the image."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from buildpack.app.python_version import HOST_DEFAULT, newer
from buildpack.app.read import App
from buildpack.dataclass import replace
from buildpack.errors import BuildpackError, StackError, UsageError
from buildpack.errors import build as errors
from buildpack.oci.image import Platform
from buildpack.options import Options
from buildpack.session import Session
from buildpack.stacks.find_python import candidate_witnesses
from buildpack.stacks.platforms import choose_platform, native_platform, parse_platforms
from buildpack.stacks.resolve import resolve_stack
from buildpack.stacks.stack import Stack, StackRequest
from buildpack.steps.earlier_images import Lookup
from buildpack.steps.install_target import target_here, target_of

if TYPE_CHECKING:
    from buildpack.python.target import Target

PATIENCE = 0.05
"""Seconds. A stack that the store knows is resolved by then, and prefetching would be wasted."""


def choose_stack(app: App, earlier: Lookup, options: Options, session: Session) -> Stack:
    """Resolve the requested stack; the default is the slim image of the app's Python.

    `earlier` images may know the base already. Raises StackError.
    """
    asked = app.settings.stack.value if app.settings.stack else ""
    version = app.python.version if app.python else None
    ahead = None
    if asked == "host" and not options.no_cache:
        ahead = Prefetch(app, python=version, session=session, earlier=earlier)
    try:
        stack = resolve_stack(
            StackRequest(
                name=asked or f"python:{version}-slim",
                python=version,
                platform=platform_of(app, session),
                pull=options.pull or options.no_cache,
                own=session.own_python.executable,
            ),
            store=session.store,
            environ=session.environ,
            known_facts=lambda digest: earlier.result().facts(digest),
            # Earlier layers of the host are enough unless all layers are wanted in the store.
            known_layers=None if options.whole else lambda key: earlier.result().host_layers(key, gone=options.gone),
            transport=session.transport,
        )
    except BaseException as error:
        if ahead is not None:
            ahead.cancel()
        if isinstance(error, UsageError) and app.settings.stack and not app.settings.stack.origin.startswith("--"):
            raise errors.bad_stack(app.settings.stack.origin, error) from error
        if isinstance(error, StackError) and not asked and not options.pushed:
            raise errors.default_stack(f"python:{version}-slim", error, linux=sys.platform == "linux") from error
        raise
    if ahead is not None:
        ahead.join(target_of(stack))
    if app.python is not None and app.python.origin == HOST_DEFAULT:
        # If a newer interpreter is installed later, the next build chooses it.
        own, environ = session.own_python.executable, session.environ
        places = (candidate_witnesses(one, environ=environ, own=own) for one in newer(version or ""))
        stack = replace(stack, witnesses=(*stack.witnesses, *(path for each in places for path in each)))
    return stack


def sibling_of(stack: Stack, app: App, session: Session) -> Stack | None:
    """Resolve the same stack for this machine; None if it is for this machine already, or if there is none."""
    native = native_platform(session.own_python.machine)
    if stack.platform == native:
        return None
    with suppress(BuildpackError):
        version = app.python.version if app.python else None
        request = StackRequest(name=stack.name, python=version, platform=native)
        return resolve_stack(request, store=session.store, environ=session.environ, transport=session.transport)
    return None


def platform_of(app: App, session: Session) -> Platform:
    """Return the platform to build for. If the settings name several, it is this machine's, else the first."""
    native = native_platform(session.own_python.machine)
    asked = app.settings.platform
    return choose_platform(parse_platforms(asked.value), native) if asked else native


def asks_for_several(app: App) -> bool:
    """Return True if the app asks for several platforms. Then its name is reserved for their index."""
    asked = app.settings.platform
    return asked is not None and len(parse_platforms(asked.value)) > 1


class Prefetch:
    """Fetches wheels while the stack ``host`` is still being gathered: its interpreter is known long before its layers.

    This only saves time: the resolution finds the wheels in the store. The thread starts after `PATIENCE`, unless
    `join` comes first. `earlier` is waited for in it: wheels are not needed if an image has layers to take.
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
