"""What the steps of a build share: the store, the network, the variables, and who hears of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    `store` keeps what is fetched and made; `environ` are the caller's variables; `own_python` is the interpreter that
    runs this. `today` tells which versions of Python have reached their end of life. Registries are reached through
    `transport`; without one no registry is asked for an earlier image. `observer` hears of the progress.
    """

    store: Store
    environ: Mapping[str, str]
    own_python: OwnPython
    today: date
    observer: Observer = ignore
    transport: Transport | None = None


class Listener:
    """Hears of the image while it is built; the default does nothing."""

    def begin(self, references: Sequence[str], platform: Platform, stack: Sequence[Layer], *, unknown: bool) -> None:
        """Hear that the stack's layers are in the store and ours follow; `unknown`: at least one is not written yet."""

    @property
    def wants_tars(self) -> bool:
        """True if `layer` should get the tars of layers that are written; asked after `begin`."""
        return False

    def layer(self, position: int, layer: Layer, tar: BinaryIO | None) -> None:
        """Hear that our layer at this position is in the store; called from several threads, in any order.

        `tar` is the layer uncompressed, in a file that the listener closes.
        """


SILENT = Listener()
