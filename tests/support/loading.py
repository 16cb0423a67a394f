"""Loading images into an engine at a given address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from buildpack.oci.archive import OpenBlob
from buildpack.oci.engine_host import Endpoint, parse_host
from buildpack.oci.engine_load import Loading
from buildpack.oci.engine_upload import EngineUpload
from buildpack.oci.image import Platform


def at(host: str) -> Endpoint:
    return parse_host(host, source="a test")


def loading_into(host: str, references: Sequence[str], open_blob: OpenBlob, **settings: Any) -> Loading:
    return Loading(EngineUpload(at(host), references, open_blob, platform=Platform(), **settings))
