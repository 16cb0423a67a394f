"""Loads an image into an engine, starting with its first layers while the later ones are still being built.

A build holds a `Loading`; `engine_upload.EngineUpload` does the work, in a thread. `load` loads a whole image.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, BinaryIO, Self

from buildpack.dataclass import dataclass
from buildpack.oci.archive import OpenBlob
from buildpack.oci.engine_host import Endpoint, parse_host
from buildpack.oci.engine_upload import EngineUpload, Loaded
from buildpack.oci.image import Image, Layer, Platform

if TYPE_CHECKING:
    from buildpack.oci.warm_up import WarmUp

_TICK = 0.01
"""Seconds between two looks at an engine that is busy with a prefix."""
_FAREWELL = 2.0
"""Seconds to let the thread clean up; it is a daemon thread, so an engine that hangs does not block the exit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    layer: Layer
    tar: BinaryIO | None


class Loading:
    """Loads one image into one engine: `offer` its layers from the bottom up, then `finish`.

    Only `ready`, `result` and `finish` wait; a thread does the work. `references` are the full names of the image; the
    engine's image with the first name, and those in `candidates` (references or IDs), may share layers with it.
    `observer` is called in the thread with the number of bytes sent. `warm_up` is connected to the same engine.
    """

    def __init__(
        self,
        host: Endpoint | str,
        references: Sequence[str],
        open_blob: OpenBlob,
        *,
        platform: Platform,
        candidates: Sequence[str] = (),
        observer: Callable[[int], object] | None = None,
        warm_up: WarmUp | None = None,
    ) -> None:
        endpoint = parse_host(host, source="the engine's host") if isinstance(host, str) else host
        self._upload = EngineUpload(
            endpoint,
            references,
            open_blob,
            platform=platform,
            candidates=candidates,
            observer=observer,
            warm_up=warm_up,
        )
        self._events: queue.SimpleQueue[_Offer | Image | str] = queue.SimpleQueue()
        self._met = threading.Event()
        self._done = threading.Event()
        self._loaded: Loaded | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def ready(self) -> None:
        """Wait until the engine has answered; raises EngineError if it does not."""
        self._met.wait()
        if self._failure is not None:
            raise self._failure

    def expect(self) -> None:
        """Announce a layer that the engine cannot have, so that it gets ready, which takes 30 milliseconds."""
        self._events.put("expect")

    def offer(self, layer: Layer, tar: BinaryIO | None = None) -> None:
        """Add the next layer; its blob can be opened from now on.

        `tar` is the uncompressed layer in a seekable file, which this object closes: the engine need not inflate it.
        """
        self._events.put(_Offer(layer=layer, tar=tar))
        if self._done.is_set():
            self._drain()

    def send(self, image: Image) -> None:
        """Send the missing parts of the image, without waiting; layers need not have been offered."""
        self._events.put(image)

    def result(self) -> Loaded:
        """Wait until the image of `send` is loaded; raises EngineError."""
        self._done.wait()
        if self._failure is not None:
            raise self._failure
        assert self._loaded is not None, "nothing was sent"
        return self._loaded

    def finish(self, image: Image) -> Loaded:
        """Send the missing parts of the image, and wait; raises EngineError."""
        self.send(image)
        return self.result()

    def abandon(self) -> None:
        """Stop, and remove the parts that were loaded; after `result` nothing is removed."""
        self._events.put("abandon")
        self._thread.join(_FAREWELL)

    def _run(self) -> None:
        try:
            self._upload.inspect()
            self._met.set()
            self._loaded = self._follow()
        except BaseException as failure:  # noqa: BLE001 - raised again by `ready` and `result`
            self._failure = failure
        finally:
            self._upload.close()
            self._done.set()
            self._met.set()
            self._drain()

    def _follow(self) -> Loaded | None:
        while True:
            try:
                event = self._events.get(timeout=_TICK if self._upload.busy else None)
            except queue.Empty:
                self._upload.flush()
                continue
            if isinstance(event, Image):
                return self._upload.complete(event)
            if isinstance(event, _Offer):
                self._upload.add(event.layer, event.tar)
            elif event == "expect":
                self._upload.expect()
            else:
                return None

    def _drain(self) -> None:
        """Close the files of layers that will not be sent."""
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, _Offer) and event.tar is not None:
                event.tar.close()


def load(
    image: Image,
    open_blob: OpenBlob,
    references: Sequence[str],
    *,
    host: Endpoint | str,
    candidates: Sequence[str] = (),
    observer: Callable[[int], object] | None = None,
) -> Loaded:
    """Load a whole image under `references`, sending only what the engine lacks; raises EngineError. See `Loading`."""
    with Loading(
        host, references, open_blob, platform=image.platform, candidates=candidates, observer=observer
    ) as loading:
        return loading.finish(image)
