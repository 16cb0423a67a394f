"""A stack on disk: ``oci:DIR``, an OCI layout, or ``archive:FILE``, which `docker save` or skopeo wrote.

Either may end in ``:NAME`` if it holds several images.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from buildpack.oci.image import Layer, Platform
from buildpack.oci.layout import DiskImages, open_layout, split_name
from buildpack.oci.store import Store
from buildpack.stacks.image_stack import Base


@contextmanager
def open_base(value: str, platform: Platform, store: Store) -> Iterator[Base]:
    """Open the image that this folder or file holds for `platform`; it is read again for each build, so never stale.

    Raises StackError if it cannot be read.
    """
    path, name = _split(value)
    with _open(path, value, store) as images:
        image = images.image(platform, name)
        yield Base(
            image=image,
            name=value,
            reference=f"{value}@{image.digest}",
            platform=platform,
            fetch=lambda layers: _copy(images, layers, store),
            witnesses=tuple(_witnesses(value)),
        )


def copy_layers(value: str, layers: Sequence[Layer], store: Store) -> None:
    """Copy the blobs that the store lacks, verified; raises StackError."""
    path, _ = _split(value)
    with _open(path, value, store) as images:
        _copy(images, layers, store)


def _split(value: str) -> tuple[Path, str | None]:
    return split_name(value.partition(":")[2])


def _witnesses(value: str) -> list[str]:
    """List the paths whose change makes another stack: the archive, or the layout's files with all blobs."""
    found = [value.partition(":")[2]]
    # The longest path that exists counts; the rest is an image's name.
    while not os.path.exists(found[-1]) and ":" in found[-1]:
        found.append(found[-1].rpartition(":")[0])
    path = Path(found[-1])
    if os.path.isdir(path):
        blobs = path / "blobs" / "sha256"
        found += [str(path / name) for name in ("index.json", "oci-layout", "manifest.json")]
        found += [str(blobs), *(str(blob) for blob in sorted(blobs.iterdir()))] if os.path.isdir(blobs) else []
    return found


def _open(path: Path, value: str, store: Store) -> DiskImages:
    return open_layout(path, scratch=store.folder("tmp"), origin=value)


def _copy(images: DiskImages, layers: Sequence[Layer], store: Store) -> None:
    for layer in layers:
        if not store.has(layer.digest, layer.size):
            with store.blob(hashed=False) as blob:
                images.fetch_blob(layer.digest, layer.size, blob)
                blob.commit(layer.digest)
