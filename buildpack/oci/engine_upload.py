"""Sends an image to an engine, as much of it as possible before the image is whole.

Docker's own store unpacks an image layer by layer, each on top of the last, and finds a layer again only by the chain
below it. So an upload stays open and gets each layer when it is built. Whenever the engine is idle, the upload is ended
as an image of the layers so far, a prefix without a name, which the engine unpacks while the build continues. The last
upload has the remaining layers, the config and the names. A prefix only saves time: if anything about it fails, the
whole image is sent at the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import BinaryIO

from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError
from buildpack.errors import transfer as errors
from buildpack.oci.archive import OpenBlob, archive_documents, blob_path, copy_exactly, docker_manifest
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.engine_host import Endpoint
from buildpack.oci.engine_http import Connection, Upload
from buildpack.oci.engine_images import Known, find_image, inspect_engine, name_image, remove_image
from buildpack.oci.image import EPOCH, Image, Layer, Platform, canonical_json
from buildpack.oci.tar import END, file_header, padding, small_file
from buildpack.oci.warm_up import LOAD, WarmUp, end_empty, open_upload

PRESENT = "the engine has it already"
"""Why nothing was sent."""
WORTH_SENDING = 4 << 20
"""Bytes of layers that make a prefix worth the 40 milliseconds it costs the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The bytes and layers that were sent for an image, and the reason for that amount."""

    sent_bytes: int
    sent_layers: int
    reason: str


class EngineUpload:
    """Sends one image to one engine, for one thread at a time. `inspect` comes first, `close` last.

    `references` are the full names of the image; the engine's image with the first name, and those in `candidates`
    (references or IDs), may share layers with it. `observer` is called with the number of bytes sent. `warm_up` is
    connected to the same engine.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        references: Sequence[str],
        open_blob: OpenBlob,
        *,
        platform: Platform,
        candidates: Sequence[str] = (),
        observer: Callable[[int], object] | None = None,
        warm_up: WarmUp | None = None,
    ) -> None:
        self._warm_up = warm_up
        self._endpoint = endpoint
        self._references = tuple(references)
        self._open_blob = open_blob
        self._platform = platform
        self._candidates = candidates
        self._observer = observer
        self._connection: Connection | None = None
        self._known = Known(kind="classic")
        self._layers: list[Layer] = []
        self._names: list[str] = []
        """For each layer added so far, its file in the archives."""
        self._shared = 0
        """How many of the first layers the engine had from the beginning."""
        self._upload: Upload | None = None
        self._fresh = 0
        """Bytes of layers in the open upload."""
        self._pending: Upload | None = None
        """The upload of a prefix that is ended but not answered yet."""
        self._prefixes: list[Digest] = []
        self._failure = ""
        """Why an upload failed; after a failure nothing is sent early."""
        self._sent_bytes = self._sent_layers = 0

    @property
    def busy(self) -> bool:
        """True if there is something to `flush` once the engine is idle."""
        return self._pending is not None and self._fresh >= WORTH_SENDING

    def inspect(self) -> None:
        """Connect, and ask the engine for its images; raises EngineError."""
        kind = None
        if self._warm_up is not None:
            self._connection, self._upload, kind = self._warm_up.take()
        if self._connection is None:
            self._connection = Connection(self._endpoint)
        self._known = inspect_engine(
            self._connection,
            self._endpoint,
            self._references[0],
            self._candidates,
            open_blob=self._open_blob,
            kind=kind,
        )

    def expect(self) -> None:
        """Open an upload, so that the engine starts its unpacker."""
        if self._early and self._upload is None:
            try:
                self._begin()
            except (BuildpackError, OSError) as error:
                self._give_up(str(error))

    def add(self, layer: Layer, tar: BinaryIO | None = None) -> None:
        """Add the next layer, and send it now if that saves time and the engine cannot have it. Closes `tar`."""
        self._send_or_skip(layer, tar)
        self.flush()

    def flush(self) -> None:
        """End the open upload as a prefix, if it is large enough and the engine is idle."""
        if self._pending is not None and self._pending.answered():
            self._settle()
        if self._upload is None or self._fresh < WORTH_SENDING or self._pending is not None or not self._early:
            return
        config = self._prefix_config()
        try:
            self._end(self._upload, config, references=())
            self._pending, self._upload, self._fresh = self._upload, None, 0
            self._prefixes.append(sha256(config))
            # The engine takes 30 ms to get ready for an upload, which it can do while it unpacks.
            self._begin()
        except (BuildpackError, OSError) as error:
            self._give_up(str(error))

    def complete(self, image: Image) -> Loaded:
        """Send the rest, the config and the names, and check that the engine has the image; raises EngineError."""
        if found := self._find(image):
            return self._named(found, PRESENT)
        total = len(image.layers)
        if self._known.kind == "classic":
            failure, has = self._send_chain(image), self._shared
            tried_less = bool(self._shared or self._prefixes or self._failure)
        else:
            absent = [layer for layer in image.layers if not self._known.may_have(layer)]
            failure, has = self._send_hybrid(image, absent), total - len(absent)
            tried_less = has > 0
        reason = f"the engine has {has} of {total} layers" if has else "the engine has none of its layers"
        found = None if failure else self._find(image)
        if found is None and tried_less and not _is_disk_full(failure):
            failure, reason = self._send_hybrid(image, image.layers), "the engine took only the whole image"
            found = None if failure else self._find(image)
        if found is None:
            said = failure or "nothing, but it does not have the image"
            wording = errors.engine_disk_full if _is_disk_full(failure) else errors.engine_refused
            raise wording(str(self._endpoint), said)
        return self._named(found, reason)

    def close(self) -> None:
        """Remove prefixes and close everything; end an open upload as an archive without images."""
        try:
            if self._upload is not None:
                end_empty(self._upload)
            if self._pending is not None:
                self._pending.answer()
            for identity in self._prefixes:
                remove_image(self._link, identity)
        except (BuildpackError, OSError):
            pass
        for held in (self._upload, self._pending, self._connection):
            if held is not None:
                held.close()

    @property
    def _early(self) -> bool:
        """True if layers are sent before the end: Docker's own store unpacks them in order."""
        return self._known.kind == "classic" and not self._failure

    @property
    def _link(self) -> Connection:
        assert self._connection is not None, "inspect() comes first"
        return self._connection

    def _find(self, image: Image) -> dict[str, object] | None:
        return find_image(self._link, image, self._known.kind)

    def _send_or_skip(self, layer: Layer, tar: BinaryIO | None = None) -> None:
        at = len(self._layers)
        self._layers.append(layer)
        self._names.append(blob_path(layer.digest))
        try:
            if self._shared == at and self._has_chain():
                self._shared += 1
            elif self._early:
                self._send_early(layer, tar)
        except (BuildpackError, OSError) as error:
            self._give_up(str(error))
        finally:
            if tar is not None:
                tar.close()

    def _has_chain(self) -> bool:
        ours = tuple(str(layer.diff_id) for layer in self._layers)
        return any(chain[: len(ours)] == ours for chain in self._known.chains)

    def _begin(self) -> Upload:
        self._upload = open_upload(self._endpoint)
        return self._upload

    def _send_early(self, layer: Layer, tar: BinaryIO | None) -> None:
        upload = self._upload or self._begin()
        if tar is None:
            with self._open_blob(layer.digest) as blob:
                size = self._send_file(upload, self._names[-1], blob, layer.size)
        else:
            self._names[-1] = blob_path(layer.diff_id)
            size = self._send_file(upload, self._names[-1], tar, tar.seek(0, os.SEEK_END))
        self._fresh += size
        self._sent_layers += 1

    def _send_file(self, upload: Upload, name: str, file: BinaryIO, size: int) -> int:
        if file.seekable():
            file.seek(0)
        upload.send(file_header(name, size))
        copy_exactly(file, partial(self._send, upload), size, name)
        upload.send(padding(size))
        return size

    def _send(self, upload: Upload, piece: bytes) -> None:
        upload.send(piece)
        self._sent_bytes += len(piece)
        if self._observer is not None:
            self._observer(self._sent_bytes)

    def _end(self, upload: Upload, config: bytes, *, references: Sequence[str]) -> None:
        """End an upload as an archive of one image: the layers added so far, and this config."""
        name = blob_path(sha256(config))
        upload.send(
            small_file(name, config) + small_file("manifest.json", docker_manifest(name, self._names, references)) + END
        )
        upload.finish()

    def _prefix_config(self) -> bytes:
        """Return a config for the layers so far.

        A random comment makes the image ID unique, so that concurrent builds do not remove each other's prefix.
        """
        return canonical_json(
            {
                "architecture": self._platform.architecture,
                "os": self._platform.os,
                "created": EPOCH,
                "comment": f"the first layers of an image that is being loaded ({os.urandom(8).hex()})",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in self._layers]},
            }
        )

    def _settle(self) -> None:
        """Read the answer about a prefix."""
        assert self._pending is not None
        pending, self._pending = self._pending, None
        with closing(pending):
            failure = pending.answer().failure
        if failure:
            self._give_up(failure)

    def _give_up(self, failure: str) -> None:
        self._failure = self._failure or failure or "unknown"
        if self._upload is not None:
            self._upload.close()
            self._upload = None

    def _send_chain(self, image: Image) -> str:
        """Send the remaining layers in the open upload; return the failure or ""."""
        if [layer.diff_id for layer in self._layers] != [layer.diff_id for layer in image.layers[: len(self._layers)]]:
            self._give_up("other layers were offered")
        rest = image.layers[len(self._layers) :]
        for layer in rest[:-1]:
            self.add(layer)
        for layer in rest[-1:]:
            self._send_or_skip(layer)
        if self._pending is not None:
            self._settle()
        if self._failure:
            return self._failure
        with closing(self._upload or self._begin()) as upload:
            self._upload = None
            self._end(upload, image.config, references=self._references)
            return upload.answer().failure

    def _send_hybrid(self, image: Image, layers: Sequence[Layer]) -> str:
        """Send the archive of `archive.py` with the blobs of these layers; return the failure or ""."""
        with closing(Upload(self._endpoint, LOAD)) as upload:
            # Podman reads an OCI archive with one name only; `complete` adds the others. The archive may lack layers
            # that Podman has already.
            for name, body in archive_documents(image, self._references[:1]):
                upload.send(small_file(name, body))
            for layer in {layer.digest: layer for layer in layers}.values():
                with self._open_blob(layer.digest) as blob:
                    self._send_file(upload, blob_path(layer.digest), blob, layer.size)
                self._sent_layers += 1
            upload.send(END)
            upload.finish()
            return upload.answer().failure

    def _named(self, found: dict[str, object], reason: str) -> Loaded:
        name_image(self._link, self._endpoint, found, self._references)
        return Loaded(sent_bytes=self._sent_bytes, sent_layers=self._sent_layers, reason=reason)


def _is_disk_full(failure: str) -> bool:
    return "no space left" in failure.lower() or "disk quota exceeded" in failure.lower()
