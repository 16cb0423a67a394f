"""A client for a registry, with connections of its own."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from buildpack.oci.digest import sha256
from buildpack.oci.reference import Reference
from buildpack.oci.registry import Registry
from buildpack.oci.transport import Transport
from buildpack.oci.upload import Outcome, Source, upload


@contextmanager
def connected(
    reference: Reference, environ: Mapping[str, str], *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Registry]:
    with Transport(environ, sleep=sleep) as transport:
        yield Registry(reference, transport)


def push_blob(
    registry: Registry,
    content: bytes,
    *,
    assume_missing: bool = False,
    observe: Callable[[int], object] = lambda _sent: None,
) -> Outcome:
    source = Source(digest=sha256(content), size=len(content), open_blob=lambda: io.BytesIO(content), observe=observe)
    return upload(registry, source, assume_missing=assume_missing)
