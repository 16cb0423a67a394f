"""Loads an image into a Docker-compatible engine, for those who have it whole; `Loading` is for those who build it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from buildpack.oci.archive import OpenBlob
from buildpack.oci.engine_host import Endpoint
from buildpack.oci.engine_load import Loading
from buildpack.oci.engine_upload import Loaded
from buildpack.oci.image import Image
from buildpack.oci.manifest import parse_config_platform


def load(
    image: Image,
    open_blob: OpenBlob,
    references: Sequence[str],
    *,
    host: Endpoint | str,
    candidates: Sequence[str] = (),
    observer: Callable[[int], object] | None = None,
) -> Loaded:
    """Load an image under `references` (full names), sending only what the engine lacks; raises EngineError.

    What it has is found by the first reference, by `candidates` (references or IDs), or by other tags of the same
    repository. `observer` is called with the bytes sent so far, from another thread.
    """
    platform = parse_config_platform(image.config, origin=references[0])
    with Loading(host, references, open_blob, platform=platform, candidates=candidates, observer=observer) as loading:
        return loading.finish(image)
