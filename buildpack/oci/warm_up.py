"""Connects to the engine in the background at start-up, so that it is ready when there is something to send.

An engine needs 30 milliseconds to get ready for an upload. A build in which one line changed needs as long until it has
something to upload. So both begin at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Self

from buildpack.errors import BuildpackError
from buildpack.oci.engine_host import Endpoint, find_engine
from buildpack.oci.engine_http import Connection, Upload
from buildpack.oci.engine_images import Kind, kind_of
from buildpack.oci.tar import END, small_file

LOAD = "/images/load?quiet=1"
_NO_IMAGES = b"[]"
_FAREWELL = 2.0
"""Seconds to wait for the engine at the end."""


class WarmUp:
    """A connection to the environment's engine and, if that saves time, an open upload; a context manager.

    Errors are not reported here: the code that needs the engine meets them again and reports them.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._connection: Connection | None = None
        self._upload: Upload | None = None
        self._kind: Kind | None = None
        self._thread = threading.Thread(target=self._run, name="warm-up", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        connection, upload, _ = self.take(_FAREWELL)
        if upload is not None:
            end_empty(upload)
        for held in (connection, upload):
            if held is not None:
                held.close()

    def take(self, seconds: float | None = None) -> tuple[Connection | None, Upload | None, Kind | None]:
        """Wait, at most so long; return the connection, the upload and the engine's kind. Later calls return None."""
        self._thread.join(seconds)
        held = self._connection, self._upload, self._kind
        self._connection = self._upload = self._kind = None
        return held

    def _run(self) -> None:
        try:
            endpoint = find_engine(self._environ)
            if endpoint is None:
                return
            connection = self._connection = Connection(endpoint)
            self._kind = kind_of(connection, connection.ask("GET", "/_ping").headers)
            if self._kind == "classic":
                self._upload = open_upload(endpoint)
        except (BuildpackError, OSError):
            return


def open_upload(endpoint: Endpoint) -> Upload:
    """Begin to send an archive; its first bytes make the engine get ready."""
    upload = Upload(endpoint, LOAD)
    upload.send(small_file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'))
    return upload


def end_empty(upload: Upload) -> None:
    """End an upload as an archive without images."""
    upload.send(small_file("manifest.json", _NO_IMAGES) + END)
    upload.finish()
