"""Loads an image into an engine, starting with its first layers while the later ones are still being built.

A build holds a `Loading`; `engine_upload.EngineUpload` does the work, in a thread. `load` loads a whole image.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import BinaryIO, Self

from buildpack.oci.archive import OpenBlob
from buildpack.oci.engine_host import Endpoint
from buildpack.oci.engine_upload import EngineUpload, Loaded
from buildpack.oci.image import Image, Layer

_TICK = 0.01
"""Seconds between two looks at an engine that is busy with a prefix."""
_FAREWELL = 2.0
"""Seconds to let the thread clean up; it is a daemon thread, so an engine that hangs does not block the exit."""


_Step = Callable[[], Loaded | None]
"""One step of the work in the thread; returns the result of the last step."""


class Loading:
    """Loads one image into one engine: `offer` its layers from the bottom up, then `finish`.

    Only `result` and `finish` wait; a thread does the work of `upload`. If this context ends before the image is
    complete, the parts that were loaded are removed.
    """

    def __init__(self, upload: EngineUpload) -> None:
        self._upload = upload
        self._steps: queue.SimpleQueue[_Step | None] = queue.SimpleQueue()
        self._tars: list[BinaryIO] = []
        self._done = threading.Event()
        self._loaded: Loaded | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.put(None)
        self._thread.join(_FAREWELL)

    def expect(self) -> None:
        """Announce a layer that the engine cannot have, so that it gets ready, which takes 30 milliseconds."""
        self._steps.put(self._upload.expect)

    def offer(self, layer: Layer, tar: BinaryIO | None = None) -> None:
        """Add the next layer; its blob can be opened from now on.

        `tar` is the uncompressed layer in a seekable file, which this object closes: the engine need not inflate it.
        """
        if tar is not None:
            self._tars.append(tar)
        self._steps.put(partial(self._upload.add, layer, tar))
        if self._done.is_set():
            self._close_tars()

    def send(self, image: Image) -> None:
        """Send the missing parts of the image, without waiting; layers need not have been offered."""
        self._steps.put(partial(self._upload.complete, image))

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

    def _run(self) -> None:
        try:
            self._upload.inspect()
            while self._loaded is None and (step := self._next_step()) is not None:
                self._loaded = step()
        except BaseException as failure:  # noqa: BLE001 - raised again by `result`
            self._failure = failure
        finally:
            self._upload.close()
            self._done.set()
            self._close_tars()

    def _next_step(self) -> _Step | None:
        """Wait for the next step; meanwhile send a prefix whenever the engine is idle."""
        while True:
            try:
                return self._steps.get(timeout=_TICK if self._upload.busy else None)
            except queue.Empty:
                self._upload.flush()

    def _close_tars(self) -> None:
        """Close the files of layers that will not be sent."""
        for tar in self._tars:
            tar.close()


def load(
    image: Image,
    open_blob: OpenBlob,
    references: Sequence[str],
    *,
    host: Endpoint,
    candidates: Sequence[str] = (),
    observer: Callable[[int], object] | None = None,
) -> Loaded:
    """Load a whole image under `references`, sending only what the engine lacks; raises EngineError."""
    upload = EngineUpload(
        host, references, open_blob, platform=image.platform, candidates=candidates, observer=observer
    )
    with Loading(upload) as loading:
        return loading.finish(image)
