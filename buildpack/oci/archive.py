"""Writes images to disk: as an OCI layout, and as one archive that every tool loads.

The archive is a hybrid: an OCI layout in a tar with a docker-archive's ``manifest.json`` beside it, so `docker load`,
`podman load` and `skopeo copy` (oci-archive: and docker-archive:) all take it. The same image gives the same bytes.
`layout.open_layout` reads them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from buildpack.bounded import parse_json
from buildpack.errors import transfer as errors
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.entry import Entry
from buildpack.oci.image import INDEX, Image, canonical_json
from buildpack.oci.tar import END, padding, render_header
from buildpack.system.temporary import make_folder

if TYPE_CHECKING:
    from buildpack.oci.index import ImageIndex

OpenBlob = Callable[[Digest], BinaryIO]
"""Opens a blob for reading; whoever calls it closes what it returns."""

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK = 1 << 20


def write_archive_file(image: Image | ImageIndex, open_blob: OpenBlob, path: Path, references: Sequence[str]) -> int:
    """Write the hybrid archive to `path`, whole or not at all; returns its size in bytes. Raises MachineError.

    To readers of a docker-archive, which knows no index, it is the first of the index's images.
    """

    def write(out: BinaryIO) -> None:
        write_archive(image, open_blob, out, references)

    if os.path.isdir(path):
        raise errors.cannot_write(str(path), "it is a folder")
    if os.path.exists(path) and not os.path.isfile(path):
        return _write_into(path, write)
    _write_whole(path, write)
    return path.stat().st_size


def write_archive(image: Image | ImageIndex, open_blob: OpenBlob, out: BinaryIO, references: Sequence[str]) -> None:
    """Write the hybrid archive; `references` are full names."""
    out.writelines(archive_member(name, body) for name, body in archive_documents(image, references))
    for layer in {layer.digest: layer for layer in image.layers}.values():
        out.write(archive_header(blob_path(layer.digest), layer.size))
        with open_blob(layer.digest) as blob:
            _copy_exactly(blob, out, layer.size, layer.digest)
        out.write(padding(layer.size))
    out.write(END)


def write_oci_dir(image: Image | ImageIndex, open_blob: OpenBlob, folder: Path, references: Sequence[str]) -> None:
    """Write the image into the OCI layout at `folder`, made where there is none.

    Other images of an existing layout stay, and so do other names of this one; only `references` move. ``oci-layout``
    comes first, so that what was cut short can be taken up again, and ``index.json`` last, each whole or not at all.
    Writers take turns at both, so that none loses another's names. Raises UsageError where `folder` holds something
    else, MachineError where it cannot be written.
    """
    if os.path.exists(folder) and not os.path.isdir(folder):
        _read_listed(folder)
    _make_folder(folder)
    with _alone(folder):
        _read_listed(folder)
        _write_whole(folder / "oci-layout", _writer(_LAYOUT))
    _make_folder(folder / "blobs" / "sha256")
    for layer in image.layers:
        target = folder / blob_path(layer.digest)
        if os.path.exists(target) and target.stat().st_size == layer.size:
            continue

        def write(out: BinaryIO, digest: Digest = layer.digest, size: int = layer.size) -> None:
            with open_blob(digest) as blob:
                _copy_exactly(blob, out, size, digest)

        _write_whole(target, write)
    for name, body in archive_documents(image, references):
        if name.startswith("blobs/"):
            _write_whole(folder / name, _writer(body))
    with _alone(folder):
        kept = [
            item
            for item in _read_listed(folder)
            if (_name_of(item) not in references if _name_of(item) else item.get("digest") != str(image.digest))
        ]
        manifests = sorted(
            kept + _index_entries(image, references), key=lambda item: (_name_of(item), str(item.get("digest")))
        )
        _write_whole(folder / "index.json", _writer(_render_index(manifests)))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock on a layout, which is one on its folder: a file for it would be no part of a layout.

    Where the file system has no such locks, go on without.
    """
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def blob_path(digest: Digest) -> str:
    """Return where a layout keeps a blob."""
    return f"blobs/sha256/{digest.hex}"


def archive_member(name: str, body: bytes) -> bytes:
    """Make one small file of an archive: header, content and padding."""
    return archive_header(name, len(body)) + body + padding(len(body))


def archive_header(name: str, size: int) -> bytes:
    """Make the header of a file: root's, mode 0644, of 1980."""
    return render_header(Entry(path=name, kind="file", mode=0o644), size)


def docker_manifest(config: str, layers: Sequence[str], references: Sequence[str]) -> bytes:
    """Render a docker-archive's ``manifest.json`` for one image; the strings are names of files in the archive."""
    return canonical_json([{"Config": config, "RepoTags": list(references), "Layers": list(layers)}])


def archive_documents(image: Image | ImageIndex, references: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield everything but the layers: file name and content."""
    first = image.images[0]
    layers = [blob_path(layer.digest) for layer in first.layers]
    yield "oci-layout", _LAYOUT
    yield "index.json", _render_index(_index_entries(image, references))
    yield "manifest.json", docker_manifest(blob_path(first.config_digest), layers, references)
    for document in image.documents:
        yield blob_path(sha256(document)), document


def _render_index(manifests: Sequence[object]) -> bytes:
    return canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)})


def _index_entries(image: Image | ImageIndex, references: Sequence[str]) -> list[dict[str, object]]:
    entry: dict[str, object] = {
        "mediaType": image.media_type,
        "digest": str(image.digest),
        "size": len(image.manifest),
    }
    named = [{**entry, "annotations": {REF_NAME: name, CONTAINERD_NAME: name}} for name in sorted(set(references))]
    return named or [entry]


def _name_of(entry: dict[str, object]) -> str:
    annotations = entry.get("annotations")
    return str(annotations.get(REF_NAME, "")) if isinstance(annotations, dict) else ""


def _make_folder(folder: Path) -> None:
    try:
        make_folder(folder)
    except OSError as error:
        raise errors.cannot_write(str(folder), error.strerror or str(error)) from None


def _read_listed(folder: Path) -> list[dict[str, object]]:
    """Return what the layout in `folder` lists already; nothing where it is new, empty or was cut short."""
    try:
        if not any(folder.iterdir()):
            return []
        if (folder / "oci-layout").read_bytes() == _LAYOUT and not os.path.exists(folder / "index.json"):
            return []
        listed = parse_json((folder / "index.json").read_bytes())["manifests"]
    except NotADirectoryError:
        raise errors.folder_taken(str(folder)) from None
    except FileNotFoundError as error:
        if Path(str(error.filename)) == folder:
            return []
        raise errors.folder_taken(str(folder)) from None
    except (ValueError, KeyError, TypeError):
        raise errors.folder_taken(str(folder)) from None
    except OSError as error:
        raise errors.cannot_write(str(folder), error.strerror or str(error)) from None
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _writer(body: bytes) -> Callable[[BinaryIO], None]:
    def write(out: BinaryIO) -> None:
        out.write(body)

    return write


def _write_into(path: Path, write: Callable[[BinaryIO], None]) -> int:
    """Write into a device or a pipe, ``/dev/stdout``: a file put in its place would be the end of it. Count bytes."""
    size = 0

    class Counted(io.FileIO):
        def write(self, piece: Any, /) -> int:
            nonlocal size
            count = super().write(piece) or 0
            size += count
            return count

    try:
        with io.BufferedWriter(Counted(path, "wb"), _CHUNK) as out:
            write(out)
    except OSError as error:
        raise errors.cannot_write(str(path), error.strerror or str(error)) from None
    return size


def _write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file beside `path`, then move it there: a reader sees all of it or nothing."""
    beside = path.with_name(f".{path.name[:100]}.{os.urandom(6).hex()}")
    try:
        with beside.open("wb") as out:
            write(out)
            out.flush()
            os.fsync(out.fileno())
        beside.chmod(0o644)  # whatever the umask
        beside.replace(path)
    except OSError as error:
        raise errors.cannot_write(str(path), error.strerror or str(error)) from None
    finally:
        with suppress(OSError):
            beside.unlink()


def _copy_exactly(source: BinaryIO, out: BinaryIO, size: int, digest: Digest) -> None:
    """Copy `size` bytes; a blob of another length would shift everything that follows it."""
    left = size
    while left and (chunk := source.read(min(left, _CHUNK))):
        out.write(chunk)
        left -= len(chunk)
    if left or source.read(1):
        raise errors.blob_damaged("the image", str(digest), f"it is not {size} bytes long")
