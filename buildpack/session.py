"""The store, the network and the variables that the steps of a build share, and listeners to its image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from buildpack.dataclass import dataclass
from buildpack.progress import Observer, ignore

if TYPE_CHECKING:
    from datetime import date

    from buildpack.oci.image import Layer, Platform
    from buildpack.oci.store import Store
    from buildpack.oci.transport import Transport
    from buildpack.options import OwnPython


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The surroundings of a build.

    `store` keeps everything that is fetched and made. `environ` are the caller's variables. `own_python` is the
    interpreter that runs this code. `today` decides which versions of Python have reached their end of life.
    `transport` connects to registries; without one the build looks for no earlier image. `observer` is called with the
    progress.
    """

    store: Store
    environ: Mapping[str, str]
    own_python: OwnPython
    today: date
    observer: Observer = ignore
    transport: Transport | None = None


def open_session(
    store: Store, environ: Mapping[str, str], *, observer: Observer = ignore, transport: Transport | None = None
) -> Session:
    """Return a session of today on the interpreter that runs this code."""
    from datetime import date

    from buildpack.options import OwnPython

    return Session(
        store=store,
        environ=environ,
        own_python=OwnPython(),
        today=date.today(),  # noqa: DTZ011  end-of-life dates have no time zone
        observer=observer,
        transport=transport,
    )


def open_store(environ: Mapping[str, str], *, warn: Callable[[str], object]) -> Store:
    """Return the store of this user; `warn` is called if the store is not in its usual place."""
    from buildpack.oci.store import Store
    from buildpack.oci.store_path import find_store

    root, warning = find_store(environ)
    if warning:
        warn(warning)
    return Store(root)


class Listener:
    """Is called while the image is built. This class does nothing: subclasses override its methods."""

    def hears(self, platform: Platform) -> bool:
        """Return True if it is to be called for the image of this platform."""
        return True

    def begin(self, references: Sequence[str], platform: Platform, stack: Sequence[Layer], *, unknown: bool) -> None:
        """Receive the stack's layers, which are in the store. `unknown`: true if one of ours must be written."""

    @property
    def wants_tars(self) -> bool:
        """True if `layer` should get the tars of layers that are written; asked after `begin`."""
        return False

    def layer(self, position: int, layer: Layer, tar: BinaryIO | None) -> None:
        """Receive our layer at this position, which is in the store; called from several threads, in any order.

        `tar` is a file with the uncompressed layer. The listener closes it.
        """


SILENT = Listener()
