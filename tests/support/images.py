"""Small real images for tests: layers written by the layer writer, blobs in a dictionary."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from buildpack.errors import oci as errors
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.entry import file
from buildpack.oci.image import Image, Layer, Platform, assemble, unpack
from buildpack.oci.layer import write_layer

_PACKED = re.compile(rb'"(z[0-9A-Za-z!#$%&()*+;<=>?@^_`{|}~-]{5,})\\*"')


def unpacked(content: bytes) -> bytes:
    """Return a file's content, and after it what a manifest in it has in packed annotations."""
    values = [content]
    for text in _PACKED.findall(content):
        with suppress(ValueError):  # it only looks like one
            values.append(json.dumps(unpack(text.decode()), ensure_ascii=False).encode())
    return b"\n".join(values)


CREATED = "1980-01-01T00:00:00Z"


@dataclass
class Blobs:
    """Blobs by digest; `open` is what a store's would be, and remembers what was opened."""

    content: dict[Digest, bytes] = field(default_factory=dict)
    opened: list[Digest] = field(default_factory=list)

    def open(self, digest: Digest) -> BinaryIO:
        self.opened.append(digest)
        if digest not in self.content:
            raise errors.blob_missing(digest, Path("the store"))
        return io.BytesIO(self.content[digest])

    def add(self, content: bytes) -> Digest:
        digest = sha256(content)
        self.content[digest] = content
        return digest

    def layer(self, files: Mapping[str, bytes], kind: str = "test") -> Layer:
        return self.layer_and_tar(files, kind)[0]

    def layer_and_tar(self, files: Mapping[str, bytes], kind: str = "test") -> tuple[Layer, bytes]:
        out, tar = io.BytesIO(), io.BytesIO()
        blob = write_layer([file(path, body) for path, body in files.items()], out, tar_out=tar)
        self.content[blob.digest] = out.getvalue()
        return replace(blob, annotations={"dev.deploy.kind": kind}), tar.getvalue()


def image_of(*layers: Layer, label: str = "", platform: Platform | None = None) -> Image:
    return assemble(
        layers,
        platform=platform or Platform(),
        created=CREATED,
        config={"Cmd": ["/none"], "Labels": {"label": label}},
        annotations={},
    )
