"""The layers of an image that are in a registry only: fetched when the image is tried out, and not before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO, TypeVar

from buildpack.oci.digest import Digest
from buildpack.oci.image import Layer
from buildpack.oci.store import Store
from buildpack.oci.transport import Transport
from buildpack.steps.built import BuiltImage
from buildpack.steps.earlier_images import Taken, pull_taken
from deployer.errors import ci as errors

_T = TypeVar("_T")


class Layers:
    """Brings a built image's layers here, each verified to the last byte.

    `heal` calls what it is given, once more after what turned out damaged was made again.
    """

    def __init__(
        self,
        built: BuiltImage,
        store: Store,
        transport: Transport,
        *,
        heal: Callable[[Callable[[], object]], object],
    ) -> None:
        self._built, self._store, self._transport = built, store, transport
        self._heal = heal

    def whole(self, attempt: Callable[[], _T]) -> _T:
        """Return what `attempt` returns, which reads layers; it is called again if the store had damaged ones."""
        made: list[_T] = []
        self._heal(lambda: made.append(attempt()))
        return made[-1]

    def fetch(self, layers: Sequence[Layer]) -> None:
        """Fetch those that the store lacks, several at a time; raises StackError."""
        wanted = {
            str(layer.digest): Taken(layer=layer, reference=self._built.elsewhere[layer.digest])
            for layer in layers
            if layer.digest in self._built.elsewhere
        }
        if reasons := pull_taken(wanted, self._store, self._transport):
            raise errors.layers_out_of_reach(reasons)

    def open(self, digest: Digest) -> BinaryIO:
        """Open a layer that was fetched, or never had to be; raises as the store does."""
        return self._store.open(digest)
