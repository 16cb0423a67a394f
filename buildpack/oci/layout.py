"""Reads images on disk: OCI layouts, in a folder or in a tar, and archives of `docker save`.

Their writers are not trusted: documents have limits, and `fetch_blob` recomputes digests.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self

from buildpack.bounded import open_regular, parse_json
from buildpack.dataclass import dataclass
from buildpack.errors import transfer as errors
from buildpack.oci import manifest as manifests
from buildpack.oci.archive import blob_path, copy_exactly
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, MANIFEST, Image, Layer, Platform, render_manifest
from buildpack.oci.index import NAME_KEYS
from buildpack.oci.manifest import Descriptor
from buildpack.oci.reference import full_name
from buildpack.oci.tar_reader import TarIndex, open_tar

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_CHUNK = 1 << 20


class _Files(Protocol):
    """The files of a folder or a tar."""

    def size(self, name: str) -> int | None: ...
    def open(self, name: str) -> BinaryIO: ...
    def leads_out(self, name: str) -> bool: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    names: tuple[str, ...]
    descriptor: Descriptor


class DiskImages:
    """The images of a layout or an archive; `close` it. Threads may share it.

    `origin` is its name as the user wrote it, for messages. Methods raise StackError for damaged or missing parts.
    """

    def __init__(self, files: _Files, *, origin: str) -> None:
        self._files = files
        self._origin = origin
        self._aliases: dict[Digest, str] = {}
        """Names of files with a docker-archive's blobs; other blobs have the names of their digests."""
        self._made: dict[Digest, bytes] = {}
        """Manifests made for a docker-archive, which has no manifests."""
        if files.size("index.json") is not None and files.size("oci-layout") is not None:
            self._listed = self._list_index(self._read("index.json"), names=(), depth=0)
        elif files.size("manifest.json") is not None:
            self._listed = self._list_docker_archive()
        else:
            raise errors.not_an_image(origin, "it holds neither index.json and oci-layout nor manifest.json")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the archive; nothing can be read afterwards."""
        self._files.close()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the images, sorted; the digest of an image without a name."""
        return tuple(sorted({name for item in self._listed for name in item.names}))

    def image(self, platform: Platform, name: str | None = None) -> Image:
        """Return the only image for `platform`, or the image with this `name` (a tag, a reference or a digest)."""
        listed = self._listed
        if name is not None:
            listed = [
                item for item in listed if full_name(name) in map(full_name, (*item.names, str(item.descriptor.digest)))
            ]
            if not listed:
                raise errors.image_not_listed(self._origin, name, self.names)
        candidates = {item.descriptor.digest: item for item in listed}
        offered = {digest: self._platform(item.descriptor) for digest, item in candidates.items()}
        fitting = [digest for digest in candidates if manifests.serves(offered[digest], platform)]
        if not fitting:
            raise errors.no_such_platform(
                self._origin, str(platform), sorted({str(value) for value in offered.values()})
            )
        if len(fitting) > 1:
            raise errors.ambiguous_image(
                self._origin, sorted({name for digest in fitting for name in candidates[digest].names})
            )
        return self._image(candidates[fitting[0]].descriptor)

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob, unverified."""
        name = self._path(digest)
        try:
            return self._files.open(name)
        except (KeyError, FileNotFoundError):
            raise errors.blob_missing(self._origin, str(digest)) from None
        except OSError as error:
            raise errors.image_unreadable(self._origin, error.strerror or str(error)) from None

    def fetch_blob(self, digest: Digest, size: int, out: SupportsWrite[bytes]) -> None:
        """Copy one blob of `size` bytes into `out` and verify it, as `Registry.fetch_blob` does."""
        hashed = hashlib.sha256()

        def write(chunk: bytes) -> None:
            hashed.update(chunk)
            out.write(chunk)

        with self.open(digest) as blob:
            copy_exactly(blob, write, size, str(digest), origin=self._origin)
        self._check(digest, Digest(hashed.hexdigest()))

    def _check(self, digest: Digest, found: Digest) -> None:
        if found != digest:
            raise errors.blob_damaged(self._origin, str(digest), f"its bytes have the digest {found}")

    def _path(self, digest: Digest) -> str:
        return self._aliases.get(digest, blob_path(digest))

    def _read(self, name: str, limit: int = manifests.MANIFEST_LIMIT) -> bytes:
        with self._files.open(name) as file:
            return self._bounded(file, limit)

    def _bounded(self, file: BinaryIO, limit: int) -> bytes:
        raw = file.read(limit + 1)
        if len(raw) > limit:
            raise errors.manifest_too_large(self._origin, limit)
        return raw

    def _read_blob(self, digest: Digest, limit: int = manifests.MANIFEST_LIMIT) -> bytes:
        """Return a small blob, verified."""
        if digest in self._made:
            return self._made[digest]
        with self.open(digest) as blob:
            raw = self._bounded(blob, limit)
        self._check(digest, sha256(raw))
        return raw

    def _read_config(self, manifest: bytes) -> bytes:
        described = manifests.parse_manifest_config(manifest, origin=self._origin)
        return self._read_blob(described.digest, manifests.CONFIG_LIMIT)

    def _list_index(self, raw: bytes, *, names: tuple[str, ...], depth: int) -> list[_Listed]:
        """Return the images of an index and of its inner indexes, which may lack images for other platforms."""
        listed: list[_Listed] = []
        for item in manifests.parse_index(raw, origin=self._origin):
            if item.attestation or (depth and self._files.size(self._path(item.digest)) is None):
                continue
            own = tuple(dict.fromkeys(item.annotations[key] for key in NAME_KEYS if key in item.annotations)) or names
            body = self._read_blob(item.digest)
            if not manifests.is_index(body, media_type=item.media_type, origin=self._origin):
                listed.append(_Listed(names=own or (str(item.digest),), descriptor=item))
            elif depth < 2:
                listed += self._list_index(body, names=own, depth=depth + 1)
        return listed

    def _platform(self, descriptor: Descriptor) -> Platform:
        if descriptor.platform is not None:
            return descriptor.platform
        config = self._read_config(self._read_blob(descriptor.digest))
        return manifests.parse_config_platform(config, origin=self._origin)

    def _image(self, descriptor: Descriptor) -> Image:
        manifest = self._read_blob(descriptor.digest)
        image = manifests.parse_image(manifest, self._read_config(manifest), origin=self._origin)
        for layer in image.layers:
            if self._files.size(self._path(layer.digest)) is None:
                raise errors.blob_missing(self._origin, str(layer.digest))
        return image

    def _list_docker_archive(self) -> list[_Listed]:
        """Make a manifest for each image that ``manifest.json`` lists (Docker image specification 1.2)."""
        try:
            listed = parse_json(self._read("manifest.json"))
            return [
                self._adopt(str(item["Config"]), [str(name) for name in item["Layers"]], item.get("RepoTags") or [])
                for item in listed
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise errors.damaged_manifest(self._origin, "manifest.json is not what `docker save` writes") from None

    def _adopt(self, config_name: str, layer_names: list[str], tags: Sequence[Any]) -> _Listed:
        for name in (config_name, *layer_names):
            if self._files.leads_out(name) or self._files.size(name) is None:
                raise errors.blob_missing(self._origin, name)
        config = self._read(config_name, manifests.CONFIG_LIMIT)
        self._aliases[sha256(config)] = config_name
        diff_ids = [Digest.parse(text) for text in parse_json(config)["rootfs"]["diff_ids"]]
        if len(diff_ids) != len(layer_names):
            raise errors.damaged_manifest(
                self._origin, f"manifest.json has {len(layer_names)} layers, the config has {len(diff_ids)} diff_ids"
            )
        layers = [self._adopt_layer(name, diff_id) for name, diff_id in zip(layer_names, diff_ids, strict=True)]
        manifest = render_manifest(config, layers)
        self._made[sha256(manifest)] = manifest
        described = Descriptor(media_type=MANIFEST, digest=sha256(manifest), size=len(manifest))
        return _Listed(names=tuple(str(tag) for tag in tags) or (str(described.digest),), descriptor=described)

    def _adopt_layer(self, name: str, diff_id: Digest) -> Layer:
        """Return the layer in a file; a plain tar's digest is its diff_id, which is verified when it is copied."""
        with self._files.open(name) as file:
            start = file.read(4)
            if start[:2] != b"\x1f\x8b" and start != b"\x28\xb5\x2f\xfd":
                digest, media_type = diff_id, LAYER_TAR
            else:
                media_type = LAYER_GZIP if start[:2] == b"\x1f\x8b" else LAYER_ZSTD
                hashed = hashlib.sha256(start)
                while chunk := file.read(_CHUNK):
                    hashed.update(chunk)
                digest = Digest(hashed.hexdigest())
        self._aliases[digest] = name
        return Layer(digest=digest, diff_id=diff_id, size=self._files.size(name) or 0, media_type=media_type)


class _Folder:
    """Files of a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def size(self, name: str) -> int | None:
        path = self._root / name
        return path.stat().st_size if os.path.isfile(path) else None

    def open(self, name: str) -> BinaryIO:
        return open_regular(self._root / name)

    def leads_out(self, name: str) -> bool:
        return not os.path.realpath(self._root / name).startswith(os.path.realpath(self._root).rstrip("/") + "/")

    def close(self) -> None:
        """Do nothing: no file is open."""


def open_layout(path: Path, *, scratch: Path, origin: str = "") -> DiskImages:
    """Open the OCI layout in a folder, or an archive of either kind, compressed or not.

    `scratch` is a folder for the content of a compressed archive, which is removed when the result is closed.
    """
    origin = origin or f"{'oci' if os.path.isdir(path) else 'archive'}:{path}"
    check_image(path, origin)
    files: _Folder | TarIndex = _Folder(path) if os.path.isdir(path) else open_tar(path, scratch=scratch, origin=origin)
    try:
        return DiskImages(files, origin=origin)
    except OSError as error:
        files.close()
        raise errors.image_unreadable(origin, error.strerror or str(error)) from None
    except BaseException:
        files.close()
        raise


def check_image(path: Path, origin: str) -> None:
    """Raise StackError unless this is a folder or a regular file."""
    if not (os.path.isdir(path) or os.path.isfile(path)):
        missing = not os.path.exists(path)
        raise errors.image_unreadable(
            origin, "there is no such file or folder" if missing else "it is neither a regular file nor a folder"
        )


def split_name(value: str) -> tuple[Path, str | None]:
    """Split ``DIR:NAME`` or ``FILE:NAME``; a path that exists may have colons itself."""
    path, colon, name = value, "", ""
    while not os.path.exists(path):
        shorter, colon, last = path.rpartition(":")
        if not colon or not shorter:
            return Path(value), None
        path, name = shorter, f"{last}:{name}" if name else last
    return Path(path), name or None
