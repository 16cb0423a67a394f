"""Writes images to disk: as an OCI layout, and as one archive that every tool loads.

The archive is a tar of an OCI layout that also has a docker-archive's ``manifest.json``, so `docker load`, `podman
load` and `skopeo copy` (oci-archive: and docker-archive:) all accept it. The same image gives the same bytes.
`layout.open_layout` reads both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from buildpack.bounded import objects_in, parse_json
from buildpack.errors import transfer as errors
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import Image, canonical_json
from buildpack.oci.index import LAYOUT, ImageIndex, describe, name_of, render_index
from buildpack.oci.tar import END, file_header, padding, small_file
from buildpack.system.temporary import alone, make_folder

OpenBlob = Callable[[Digest], BinaryIO]
"""Opens a blob for reading; the caller closes the result."""

_CHUNK = 1 << 20


def write_archive_file(image: Image | ImageIndex, open_blob: OpenBlob, path: Path, references: Sequence[str]) -> int:
    """Write the archive to `path`, whole or not at all; return its size in bytes. Raises MachineError.

    A device or a pipe such as ``/dev/stdout`` is written into. A docker-archive has no index: its readers get the first
    of the index's images.
    """
    if os.path.isdir(path):
        raise errors.cannot_write(str(path), "it is a folder")
    if os.path.exists(path) and not os.path.isfile(path):
        with _worded(path), path.open("wb", _CHUNK) as out:
            return write_archive(image, open_blob, out, references)
    with _whole(path) as out:
        return write_archive(image, open_blob, out, references)


def write_archive(image: Image | ImageIndex, open_blob: OpenBlob, out: BinaryIO, references: Sequence[str]) -> int:
    """Write the archive; `references` are full names. Return its size in bytes."""
    size = 0

    def write(piece: bytes) -> None:
        nonlocal size
        out.write(piece)
        size += len(piece)

    for name, body in archive_documents(image, references):
        write(small_file(name, body))
    for layer in {layer.digest: layer for layer in image.layers}.values():
        write(file_header(blob_path(layer.digest), layer.size))
        with open_blob(layer.digest) as blob:
            copy_exactly(blob, write, layer.size, str(layer.digest))
        write(padding(layer.size))
    write(END)
    return size


def write_oci_dir(image: Image | ImageIndex, open_blob: OpenBlob, folder: Path, references: Sequence[str]) -> None:
    """Write the image into the OCI layout at `folder`, which is made if it is missing.

    Other images in the layout stay, and so do this image's other names; only `references` move. ``oci-layout`` is
    written first, so that a later call can complete an interrupted one, and ``index.json`` last. Each file appears
    whole or not at all. Writers take turns at both files, so that none loses another's names. Raises UsageError if
    `folder` holds something else, MachineError if it cannot be written.
    """
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise errors.folder_taken(str(folder))
    with _worded(folder):
        make_folder(folder)
    with alone(folder):
        _read_listed(folder)
        _write(folder / "oci-layout", LAYOUT)
    with _worded(folder / "blobs" / "sha256"):
        make_folder(folder / "blobs" / "sha256")
    for layer in image.layers:
        target = folder / blob_path(layer.digest)
        if not os.path.exists(target) or target.stat().st_size != layer.size:
            with _whole(target) as out, open_blob(layer.digest) as blob:
                copy_exactly(blob, out.write, layer.size, str(layer.digest))
    for name, body in archive_documents(image, references):
        if name.startswith("blobs/"):
            _write(folder / name, body)
    with alone(folder):
        kept = [
            item
            for item in _read_listed(folder)
            if (name_of(item) not in references if name_of(item) else item.get("digest") != str(image.digest))
        ]
        listed = sorted(kept + _index_entries(image, references), key=lambda item: (name_of(item), str(item["digest"])))
        _write(folder / "index.json", render_index(listed))


def blob_path(digest: Digest) -> str:
    """Return the path of a blob in a layout."""
    return f"blobs/sha256/{digest.hex}"


def docker_manifest(config: str, layers: Sequence[str], references: Sequence[str]) -> bytes:
    """Render a docker-archive's ``manifest.json`` for one image; the strings are names of files in the archive."""
    return canonical_json([{"Config": config, "RepoTags": list(references), "Layers": list(layers)}])


def archive_documents(image: Image | ImageIndex, references: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file except the layers."""
    first = image.images[0]
    layers = [blob_path(layer.digest) for layer in first.layers]
    yield "oci-layout", LAYOUT
    yield "index.json", render_index(_index_entries(image, references))
    yield "manifest.json", docker_manifest(blob_path(first.config_digest), layers, references)
    for document in image.documents:
        yield blob_path(sha256(document)), document


def _index_entries(image: Image | ImageIndex, references: Sequence[str]) -> list[dict[str, Any]]:
    return [describe(image, name) for name in sorted(set(references))] or [describe(image)]


def _read_listed(folder: Path) -> list[dict[str, Any]]:
    """Return the descriptors that the layout in `folder` lists; none if it is new, empty or incomplete."""
    try:
        if not any(folder.iterdir()):
            return []
        if (folder / "oci-layout").read_bytes() == LAYOUT and not os.path.exists(folder / "index.json"):
            return []
        listed = parse_json((folder / "index.json").read_bytes())["manifests"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise errors.folder_taken(str(folder)) from None
    except OSError as error:
        raise errors.cannot_write(str(folder), error.strerror or str(error)) from None
    return objects_in(listed)


@contextmanager
def _worded(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.cannot_write(str(path), error.strerror or str(error)) from None


def _write(path: Path, body: bytes) -> None:
    with _whole(path) as out:
        out.write(body)


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file in the folder of `path`, and move it there at the end: readers see all of it or nothing."""
    beside = path.with_name(f".{path.name[:100]}.{os.urandom(6).hex()}")
    try:
        with _worded(path):
            with beside.open("wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            beside.chmod(0o644)  # independent of the umask
            beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink()


def copy_exactly(
    source: BinaryIO, write: Callable[[bytes], object], size: int, name: str, *, origin: str = "the image"
) -> None:
    """Copy `size` bytes; raises StackError for a blob of another length, which would shift everything after it."""
    left = size
    while left and (chunk := source.read(min(left, _CHUNK))):
        write(chunk)
        left -= len(chunk)
    if left or source.read(1):
        raise errors.blob_damaged(origin, name, f"it is not {size} bytes long")
