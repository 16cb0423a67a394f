"""The local content-addressed store: an OCI image layout that also remembers layers and facts.

    oci-layout  index.json  blobs/sha256/<hex>     the images, as skopeo and others read them
    layers/<hash of key>.json                      layer key -> layer
    facts/<kind>/<hash of key>.json                results of look-ups
    leases/                                        running builds, and the files they rely on: `lease`
    tmp/  wheels/  bytecode/ ...                   work in progress, and folders of other modules

Blobs are named by their hash, and files in `layers` and `facts` begin with it: a damaged file counts as absent.

Several processes share the store, and any of them may be killed. A file under its final name is whole, because it was
written under another name and renamed. Only `index.json` is forced to the disk, because nothing else says which image a
reference names. A crash can shorten a blob: its size shows that, and the next build makes it again.

References are full names: `skopeo inspect oci:STORE:docker.io/library/blasto:latest` finds an image, and
`oci:STORE:blasto:latest` does not.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeVar

from buildpack.bounded import objects_in, parse_object
from buildpack.errors import oci as errors
from buildpack.oci.blobs import BlobReader, BlobWriter, parse_sealed, replace_file, seal
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import Image, Layer, Platform
from buildpack.oci.index import LAYOUT, describe, digest_of, name_of, read_image, read_index, render_index
from buildpack.oci.lease import Lease, lock_file
from buildpack.system.temporary import create_temporary, make_folder, sweep, temporary_folder

if TYPE_CHECKING:
    from buildpack.oci.index import ImageIndex

_LOCK = "index.lock"
_OURS = {"blobs", "layers", "facts"}
_Image = TypeVar("_Image", Image, "ImageIndex")


class Store:
    """The store at `root`. Nothing is created before the first write.

    A blob that does not have the expected size counts as absent. Raises MachineError if the system refuses a write.
    With `ignore_facts` it recalls only facts that were remembered through this object.
    """

    def __init__(self, root: Path, *, ignore_facts: bool = False) -> None:
        self.root = root
        self.lease = Lease(root)
        """Keeps files used through this object from being pruned, as long as the object lives."""
        self.ignore_facts = ignore_facts
        self._remembered: set[tuple[str, str]] = set()
        self._blobs = root / "blobs" / "sha256"
        self._temporary = root / "tmp"
        self._index_file = root / "index.json"
        self._prepared = False
        self._swept: set[str] = set()
        self.added: set[Digest] = set()
        """The blobs that this object added to the store."""

    # Blobs

    def path(self, digest: Digest) -> Path:
        """Return the path of this blob, present or not. Bytes read from there are not verified; see `open`."""
        return self._blobs / digest.hex

    def size(self, digest: Digest) -> int | None:
        """Return the blob's size in bytes, and count the blob as used; None if it is absent."""
        found = self.lease.use(self.path(digest))
        return None if found is None else found.st_size

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Return True if the blob is here and has this size, if one is given."""
        found = self.size(digest)
        return found is not None and size in {None, found}

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading; its bytes are hashed as they are read. Raises LostError if the blob is absent.

        Reading a damaged blob raises LostError at its end, or when the `with` block ends with an error before that. The
        blob is dropped, so that the next build makes it again.
        """

        def damaged(inode: int) -> NoReturn:
            self._drop(digest, inode)
            raise errors.blob_damaged(digest, self.root)

        try:
            descriptor = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise errors.blob_missing(digest, self.root) from None
        except OSError as error:
            raise errors.content_unreadable(self.path(digest), error) from error
        return BlobReader(descriptor, digest, damaged)

    def read(self, digest: Digest) -> bytes:
        """Return a small blob's bytes, verified; raises LostError if it is absent or damaged."""
        content = _read(self.path(digest))
        if content is None:
            raise errors.blob_missing(digest, self.root)
        if sha256(content) != digest:
            self._drop(digest, None)
            raise errors.blob_damaged(digest, self.root)
        return content

    def verify(self, digest: Digest) -> bool:
        """Return True if the blob is here and its bytes have the digest; drop a damaged blob."""
        from buildpack.errors import MachineError

        try:
            with self.open(digest) as stream:
                while stream.read(1 << 20):
                    pass
        except MachineError:
            return False
        return True

    def drop_damaged(self) -> tuple[Digest, ...]:
        """Verify every blob, which reads the whole store; drop and return the damaged ones."""
        found = [Digest(path.name) for path in self._blobs.glob("*") if len(path.name) == 64]
        return tuple(digest for digest in sorted(found, key=str) if not self.verify(digest))

    def blob(self) -> BlobWriter:
        """Return a context manager to write a blob with; `commit` trusts its digest."""
        self._prepare()
        return BlobWriter(self.root, self._temporary, self._place)

    def _place(self, digest: Digest) -> Path:
        self.added.add(digest)
        return self.path(digest)

    def scratch(self) -> BinaryIO:
        """Return an empty file on the store's file system, which disappears when it is closed."""
        self._prepare()
        with self._failures():
            descriptor, path = create_temporary(self._temporary)
            path.unlink()
        return os.fdopen(descriptor, "w+b", buffering=1 << 20)

    @contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """Make a folder on the store's file system, and remove it at the end of the block.

        Raises MachineError if the disk is full, also for a file that the block writes.
        """
        try:
            with temporary_folder(self.folder("tmp")) as path:
                yield path
        except OSError as error:
            if error.errno not in errors.DISK_FULL:
                raise
            raise errors.store_failed(self.root, error) from error

    def write(self, content: bytes) -> Digest:
        """Put a small blob into the store, unless it is there."""
        digest = sha256(content)
        if not self.has(digest, len(content)):
            self._replace(self.path(digest), content)
        return digest

    # Layers and facts

    def layer(self, key: str) -> Layer | None:
        """Return the layer remembered under this key, if its blob is here and has the right size."""
        found = parse_sealed(_read(self._layer_file(key)) or b"")
        layer = _parse_layer(found) if found else None
        return layer if layer and self.has(layer.digest, layer.size) else None

    def remember_layer(self, key: str, layer: Layer) -> None:
        """Remember the layer of this key. Each key has a file, so that builds side by side do not race (jib#848)."""
        self._replace(self._layer_file(key), seal({**layer.descriptor(), "diff_id": str(layer.diff_id)}))

    def recall(self, kind: str, key: str) -> Any | None:
        """Return the fact remembered under this key; None if there is none, or it is damaged."""
        if self.ignore_facts and (kind, key) not in self._remembered:
            return None
        path = self.fact_path(kind, key)
        found = parse_sealed(_read(path) or b"") if self.lease.use(path) else None
        return found["value"] if found and found.get("key") == key else None

    def remember(self, kind: str, key: str, value: object) -> None:
        """Remember a fact that JSON can hold; `kind` is a folder's name."""
        self._replace(self.fact_path(kind, key), seal({"key": key, "value": value}))
        self._remembered.add((kind, key))

    def fact_path(self, kind: str, key: str) -> Path:
        """Return the path of this fact, present or not; its stamp shows whether the fact changed."""
        return self.root / "facts" / kind / _name_for(key)

    def folder(self, name: str) -> Path:
        """Create and return a folder of the store for the caller's own cache.

        Temporary files and folders that dead processes left there are removed.
        """
        assert name not in _OURS, name
        self._prepare()
        path = self.root / name
        if name not in self._swept:
            with self._failures():
                make_folder(path)
                sweep(path)
            self._swept.add(name)
        return path

    # Images

    def put_image(self, image: Image | ImageIndex, references: Sequence[str]) -> bool:
        """Name this image by these references, which are full names; return True if anything was written.

        Without references the image is only kept, for an index that will name it. The layers' blobs may be absent: some
        are only in a registry (see `missing`). An image that loses its last reference leaves the index, and `prune`
        removes its blobs.
        """
        descriptors = {reference: describe(image, reference) for reference in references}
        whole = all(self.has(sha256(document), len(document)) for document in image.documents)
        if whole and descriptors.items() <= {name_of(found): found for found in self.descriptors()}.items():
            return False
        for document in image.documents:
            self.write(document)
        with self.index_lock():
            others = [found for found in self.descriptors() if name_of(found) not in descriptors]
            self.write_descriptors([*others, *descriptors.values()])
        return True

    def image(self, reference: str, platform: Platform | None = None) -> Image | None:
        """Return the image with this full name; None if its manifest or config is absent or damaged.

        If the name means an index, return the index's image for this platform.
        """
        digest = self._named(reference)
        found = read_image(digest, platform, self.read) if digest and self.has(digest) else None
        return self._used(found)

    def image_index(self, reference: str) -> ImageIndex | None:
        """Return the index with this full name; None if the name means one image or a document is absent."""
        digest = self._named(reference)
        return self._used(read_index(digest, self.read) if digest and self.has(digest) else None)

    def images(self) -> dict[str, Digest]:
        """Return every reference with the digest of its manifest, sorted by reference."""
        found = {name_of(each): digest_of(each) for each in self.descriptors()}
        return {name: digest for name, digest in sorted(found.items()) if name and digest}

    def missing(self, layers: Iterable[Layer]) -> tuple[Layer, ...]:
        """Return the layers whose blobs are absent or have a different size, each once."""
        return tuple({layer.digest: layer for layer in layers if not self.has(layer.digest, layer.size)}.values())

    # The index

    def descriptors(self) -> list[dict[str, Any]]:
        """Return the descriptors in `index.json`; none if it is absent or malformed."""
        return objects_in(parse_object(_read(self._index_file) or b"").get("manifests"))

    def write_descriptors(self, descriptors: Sequence[Mapping[str, Any]]) -> None:
        """Replace the descriptors in `index.json`; the caller holds `index_lock`."""
        self._replace(self._index_file, render_index(sorted(descriptors, key=name_of)), durable=True)

    @contextmanager
    def index_lock(self) -> Iterator[None]:
        """Hold the lock on `index.json`; the lock ends with its process."""
        self._prepare()
        with self._failures():
            lock = lock_file(self.root / _LOCK, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(lock)

    # Inside

    def _used(self, image: _Image | None) -> _Image | None:
        """Count an image's layers as used, because it may lose its name before they are read."""
        if image is not None:
            for layer in image.layers:
                self.size(layer.digest)
        return image

    def _named(self, reference: str) -> Digest | None:
        return next((digest_of(each) for each in self.descriptors() if name_of(each) == reference), None)

    def _layer_file(self, key: str) -> Path:
        return self.root / "layers" / _name_for(key)

    def _drop(self, digest: Digest, inode: int | None) -> None:
        """Drop a damaged blob, unless another process has replaced it since it was opened."""
        path = self.path(digest)
        with suppress(OSError):
            if inode is None or path.stat().st_ino == inode:
                path.unlink()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise errors.store_failed(self.root, error) from error

    def _prepare(self) -> None:
        """Create the layout, once, and sweep up after writers that died."""
        if self._prepared:
            return
        with self._failures():
            # An image holds an app's code, so only its owner may read the store. To share one, make the folder first.
            make_folder(self.root, 0o700)
            for folder in ("tmp", "blobs/sha256", "layers", "facts"):
                make_folder(self.root / folder)
            sweep(self._temporary)
            if not (self.root / "oci-layout").exists():
                replace_file(self.root / "oci-layout", LAYOUT, self._temporary, durable=False)
        self._prepared = True
        self.lease.begin()

    def _replace(self, path: Path, content: bytes, *, durable: bool = False) -> None:
        self._prepare()
        with self._failures():
            replace_file(path, content, self._temporary, durable=durable)


def _name_for(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest() + ".json"


def _read(path: Path) -> bytes | None:
    """Return a small file's bytes; None if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _parse_layer(found: Mapping[str, Any]) -> Layer:
    """Read a layer that `remember_layer` wrote; its seal has been verified."""
    return Layer(
        digest=Digest.parse(found["digest"]),
        diff_id=Digest.parse(found["diff_id"]),
        size=found["size"],
        media_type=found["mediaType"],
        annotations=found.get("annotations", {}),
    )
