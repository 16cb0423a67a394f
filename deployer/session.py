"""The surroundings in which the commands build: the store, this interpreter, and today."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING

from buildpack.oci.store import Store
from buildpack.oci.store_path import find_store
from buildpack.options import OwnPython
from buildpack.progress import Observer, ignore
from buildpack.session import Session

if TYPE_CHECKING:
    from buildpack.oci.transport import Transport


def open_session(
    store: Store, environ: Mapping[str, str], *, observer: Observer = ignore, transport: Transport | None = None
) -> Session:
    """Return the session of a command that runs now, on this interpreter."""
    return Session(
        store=store,
        environ=environ,
        own_python=OwnPython(),
        today=date.today(),  # noqa: DTZ011  end-of-life dates have no time zone
        observer=observer,
        transport=transport,
    )


def open_store(environ: Mapping[str, str], *, warn: Callable[[str], object]) -> Store:
    """Return the store of this user; `warn` is called if it is not in its usual place."""
    root, warning = find_store(environ)
    if warning:
        warn(warning)
    return Store(root)
