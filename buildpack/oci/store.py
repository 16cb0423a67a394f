"""The local content-addressed store: an OCI image layout, with a memory of layers and facts beside it.

    oci-layout  index.json  blobs/sha256/<hex>     what skopeo and others read
    layers/<hash of key>.json                      layer key -> layer
    facts/<kind>/<hash of key>.json                whatever had to be looked up
    leases/                                        running builds, and what they rely on: `lease`
    tmp/  wheels/  bytecode/ ...                   work in progress, and others' folders

Blobs are named by their hash, and what is in `layers` and `facts` begins with it: a damaged file counts as absent.

Several processes share it, and any of them may be killed: what stands under its final name is whole, because it
was written under another and renamed. Only `index.json` is forced to the disk, since nothing else could tell which
image a reference means; a blob lost in a crash is short, found by its size, and made again.

A reference is written in full, so `skopeo inspect oci:STORE:docker.io/library/blasto:latest` finds an image, and
`oci:STORE:blasto:latest` does not.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeVar

from buildpack.bounded import parse_json
from buildpack.errors import oci as errors
from buildpack.oci.blobs import BlobReader, BlobWriter, VerifiedFile, create_file, parse_sealed, replace_file, seal
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import INDEX, Image, Layer, Platform, canonical_json
from buildpack.oci.lease import Lease
from buildpack.oci.stored import describe, digest_of, parse_layer, read_image, read_index, reference_of
from buildpack.system.temporary import create_temporary, make_folder, sweep

if TYPE_CHECKING:
    from buildpack.oci.index import ImageIndex

_LAYOUT = canonical_json({"imageLayoutVersion": "1.0.0"})
_LOCK = "index.lock"
_OURS = {"blobs", "layers", "facts"}
_Image = TypeVar("_Image", Image, "ImageIndex")


class Store:
    """The store at `root`. Nothing is created before the first write.

    Blobs are told apart by digest and nothing else; what has another size than expected counts as absent. Raises
    MachineError where the system refuses a write.
    """

    def __init__(self, root: Path, *, doubting: bool = False) -> None:
        self.root = root
        self.lease = Lease(root)
        """Keeps what is used through this object from being pruned, as long as the object lives."""
        self.doubting = doubting
        """Whether only those facts are recalled that were remembered through this object."""
        self._told: set[tuple[str, str]] = set()
        self._blobs = root / "blobs" / "sha256"
        self._temporary = root / "tmp"
        self._index_file = root / "index.json"
        self._prepared = False
        self._swept: set[str] = set()
        self.added: set[Digest] = set()
        """The blobs that came into the store through this object."""

    # Blobs

    def path(self, digest: Digest) -> Path:
        """Return where this blob lies, or would lie. Whoever reads there verifies nothing; see `open`."""
        return self._blobs / digest.hex

    def size(self, digest: Digest) -> int | None:
        """Return the blob's size in bytes, None where it is absent; whoever asks counts as using it."""
        found = self.lease.use(self.path(digest))
        return None if found is None else found.st_size

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Tell whether the blob is here, with this size where one is given."""
        found = self.size(digest)
        return found is not None and size in {None, found}

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading. It is hashed on the way.

        A damaged one raises LostError at its end, or at the end of the `with` block if that fails before. It is
        dropped, so that the next build makes it again. Raises LostError if the blob is absent.
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
        return BlobReader(VerifiedFile(descriptor, digest, damaged), 1 << 18)

    def read(self, digest: Digest) -> bytes:
        """Return a small blob's bytes, verified; raises as `open` does."""
        content = _read(self.path(digest))
        if content is None:
            raise errors.blob_missing(digest, self.root)
        if sha256(content) != digest:
            self._drop(digest, None)
            raise errors.blob_damaged(digest, self.root)
        return content

    def verify(self, digest: Digest) -> bool:
        """Tell whether the blob is here and its bytes are the digest's; a damaged one is dropped."""
        from buildpack.errors import MachineError

        try:
            with self.open(digest) as stream:
                while stream.read(1 << 20):
                    pass
        except MachineError:
            return False
        return True

    def drop_damaged(self) -> tuple[Digest, ...]:
        """Verify every blob, which reads the whole store, and drop those that are damaged; returns these."""
        found = [Digest(path.name) for path in self._blobs.glob("*") if len(path.name) == 64]
        return tuple(digest for digest in sorted(found, key=str) if not self.verify(digest))

    def blob(self, *, hashed: bool = True) -> BlobWriter:
        """Return a context manager to write a blob with.

        With `hashed=False` the bytes are not hashed here and `commit` believes the digest it is given: for writers
        that hash anyway, as `write_layer` does.
        """
        self._prepare()
        return BlobWriter(self.root, self._temporary, self._place, hashed=hashed)

    def _place(self, digest: Digest) -> Path:
        self.added.add(digest)
        return self.path(digest)

    def scratch(self) -> BinaryIO:
        """Return an empty file on the store's file system, to write and read; closing it is the end of it."""
        self._prepare()
        with self._failures():
            descriptor, path = create_temporary(self._temporary)
            path.unlink()
        return os.fdopen(descriptor, "w+b", buffering=1 << 20)

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
        layer = parse_layer(found, found["diff_id"]) if found else None
        return layer if layer and self.has(layer.digest, layer.size) else None

    def remember_layer(self, key: str, layer: Layer) -> None:
        """Remember which layer this key stands for. One file per key: builds side by side do not race (jib#848)."""
        self._replace(self._layer_file(key), seal({**layer.descriptor(), "diff_id": str(layer.diff_id)}))

    def recall(self, kind: str, key: str) -> Any | None:
        """Return the fact remembered under this key, as it was; None where there is none, or a damaged one."""
        if self.doubting and (kind, key) not in self._told:
            return None
        path = self.fact_path(kind, key)
        found = parse_sealed(_read(path) or b"") if self.lease.use(path) else None
        return found["value"] if found and found.get("key") == key else None

    def remember(self, kind: str, key: str, value: object) -> None:
        """Remember a fact that JSON can hold; `kind` is a folder's name."""
        self._replace(self.fact_path(kind, key), seal({"key": key, "value": value}))
        self._told.add((kind, key))

    def fact_path(self, kind: str, key: str) -> Path:
        """Return where this fact lies, or would lie: whoever waits for it to change may look there."""
        return self.root / "facts" / kind / _name_for(key)

    def folder(self, name: str) -> Path:
        """Return a folder of the store for other cached things, and create it; what is in it is its user's.

        Only what dead processes left there of `temporary` files and folders is removed.
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
        """Make these references, full names all, mean this image; tell whether anything was written.

        Without references it is only kept, for an index that is to name it.

        The layers' blobs are not looked at: some may be in a registry only (see `missing`). An image that loses its
        last reference leaves the index; `prune` takes its blobs.
        """
        descriptors = {reference: describe(image, reference) for reference in references}
        whole = all(self.has(sha256(document), len(document)) for document in image.documents)
        if whole and descriptors.items() <= {reference_of(found): found for found in self.descriptors()}.items():
            return False
        for document in image.documents:
            self.write(document)
        with self.index_lock():
            others = [found for found in self.descriptors() if reference_of(found) not in descriptors]
            self.write_descriptors([*others, *descriptors.values()])
        return True

    def image(self, reference: str, platform: Platform | None = None) -> Image | None:
        """Return the image that this full name means, None where its manifest or config is absent or damaged.

        Where the name means an index, it is the one for this platform.
        """
        digest = self._named(reference)
        found = read_image(digest, platform, self.read) if digest and self.has(digest) else None
        return self._used(found)

    def image_index(self, reference: str) -> ImageIndex | None:
        """Return the index that this full name means, None where it means one image or something is absent."""
        digest = self._named(reference)
        return self._used(read_index(digest, self.read) if digest and self.has(digest) else None)

    def images(self) -> dict[str, Digest]:
        """Return every reference with the digest of its manifest, sorted by reference."""
        found = {reference_of(each): digest_of(each) for each in self.descriptors()}
        return {name: digest for name, digest in sorted(found.items()) if name and digest}

    def missing(self, image: Image) -> tuple[Layer, ...]:
        """Return the layers whose blobs are absent or have another size."""
        return tuple(layer for layer in image.layers if not self.has(layer.digest, layer.size))

    # The index

    def descriptors(self) -> list[dict[str, Any]]:
        """Return what `index.json` lists; nothing where it is absent or nonsense."""
        found = _read_json(self._index_file)
        manifests = found.get("manifests") if isinstance(found, dict) else None
        return [each for each in manifests if isinstance(each, dict)] if isinstance(manifests, list) else []

    def write_descriptors(self, descriptors: Sequence[Mapping[str, Any]]) -> None:
        """Replace what `index.json` lists; for whoever holds `index_lock`."""
        merged = sorted(descriptors, key=reference_of)
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": merged}
        self._replace(self._index_file, canonical_json(index), durable=True)

    @contextmanager
    def index_lock(self) -> Iterator[None]:
        """Hold the lock on `index.json`; a process that dies lets go of it."""
        self._prepare()
        with self._failures():
            lock = os.open(self.root / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self._failures():
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    # Inside

    def _used(self, image: _Image | None) -> _Image | None:
        """Count what is here of an image's layers as used: it may lose its name before they are read."""
        if image is not None:
            for layer in image.layers:
                self.size(layer.digest)
        return image

    def _named(self, reference: str) -> Digest | None:
        return next((digest_of(each) for each in self.descriptors() if reference_of(each) == reference), None)

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
            # An image holds an app's code, so the store is its owner's alone; whoever shares one makes the folder.
            make_folder(self.root, 0o700)
            for folder in ("tmp", "blobs/sha256", "layers", "facts"):
                make_folder(self.root / folder)
            sweep(self._temporary)
            for name, content in ((_LOCK, b""), ("oci-layout", _LAYOUT)):
                if not (self.root / name).exists():
                    create_file(self.root / name, content, self._temporary)
        self._prepared = True
        self.lease.begin()

    def _replace(self, path: Path, content: bytes, *, durable: bool = False) -> None:
        self._prepare()
        with self._failures():
            replace_file(path, content, self._temporary, durable=durable)


def _name_for(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest() + ".json"


def _read(path: Path) -> bytes | None:
    """Return a small file's bytes, None where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _read_json(path: Path) -> Any:
    """Return what a small file says, None where it is absent or was damaged."""
    content = _read(path)
    try:
        return parse_json(content) if content else None
    except ValueError:
        return None
