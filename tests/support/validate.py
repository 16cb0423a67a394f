"""Check a finished image against its own claims: every digest, diff_id and size, and the tars themselves.

The standard library's `tarfile` and zlib read what our own writer and libdeflate wrote.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from buildpack.errors import BuildpackError
from buildpack.oci.compression import gunzip
from buildpack.oci.digest import Digest
from buildpack.oci.image import LAYER_GZIP, LAYER_TAR, Image, Layer
from buildpack.oci.tar import END

_PIECE = 1 << 20
_SOUND: set[tuple[Digest, int, Digest, str, bool]] = set()
"""The claims of layers whose content was found sound; equal bytes need not be unpacked again."""
_OUR_TYPES = {tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE}


def validate(image: Image, open_blob: Callable[[Digest], BinaryIO]) -> list[str]:
    """Return the faults of the image, one line each; an empty list if there is none.

    Layers with a layer key are ours, and must be what `write_layer` promises: sorted, parents first, no path
    twice, no whiteouts, only files, folders and symbolic links. A stack's layers need only be readable tars whose
    digests are right. Reads every blob once, in bounded memory.
    """
    problems = [*_check_documents(image), *_check_config_blob(image, open_blob)]
    for number, layer in enumerate(image.layers, 1):
        where = f"layer {number} ({layer.digest.short})"
        claims = (layer.digest, layer.size, layer.diff_id, layer.media_type, bool(layer.key))
        try:
            if claims in _SOUND and _is_intact(layer, open_blob):
                continue
            with open_blob(layer.digest) as stream:
                found = list(_check_layer(layer, stream))
            problems += [f"{where}: {problem}" for problem in found]
            if not found:
                _SOUND.add(claims)
        except (BuildpackError, OSError) as error:
            problems.append(f"{where}: cannot be read: {str(error).splitlines()[0]}")
    return problems


def _check_documents(image: Image) -> Iterator[str]:
    """Compare manifest, config and layers with each other."""
    try:
        manifest, config = json.loads(image.manifest), json.loads(image.config)
        named = [(each["digest"], each["size"], each["mediaType"]) for each in manifest["layers"]]
        yield from _differences("schemaVersion", manifest["schemaVersion"], 2)
        yield from _differences("the config's digest", manifest["config"]["digest"], str(image.config_digest))
        yield from _differences("the config's size", manifest["config"]["size"], len(image.config))
        layers = [(str(layer.digest), layer.size, layer.media_type) for layer in image.layers]
        yield from _differences("the manifest's layers", named, layers)
        diff_ids = [str(layer.diff_id) for layer in image.layers]
        yield from _differences("the config's diff_ids", config["rootfs"]["diff_ids"], diff_ids)
        yield from _differences("rootfs.type", config["rootfs"]["type"], "layers")
        for name in ("architecture", "os"):
            if not config.get(name):
                yield f"the config names no {name}"
        if "history" in config:
            filled = [each for each in config["history"] if not each.get("empty_layer")]
            yield from _differences("the history's count of layers", len(filled), len(image.layers))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        yield f"manifest or config lacks a part, or is not JSON: {type(error).__name__}: {error}"


def _check_config_blob(image: Image, open_blob: Callable[[Digest], BinaryIO]) -> Iterator[str]:
    for what, digest, content in (
        ("the config", image.config_digest, image.config),
        ("the manifest", image.digest, image.manifest),
    ):
        try:
            with open_blob(digest) as stream:
                if stream.read() != content:
                    yield f"{what}'s blob {digest.short} holds something else"
        except (BuildpackError, OSError) as error:
            yield f"{what}'s blob cannot be read: {str(error).splitlines()[0]}"


def _differences(what: str, found: object, wanted: object) -> Iterator[str]:
    if found != wanted:
        yield f"{what}: {_shown(found)} instead of {_shown(wanted)}"


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 200 else text[:197] + "..."


def _is_intact(layer: Layer, open_blob: Callable[[Digest], BinaryIO]) -> bool:
    with open_blob(layer.digest) as stream:
        blob = _Hashing(_pieces(stream))
        blob.drain()
    return (blob.size, blob.digest) == (layer.size, layer.digest)


def _check_layer(layer: Layer, stream: BinaryIO) -> Iterator[str]:
    blob = _Hashing(_pieces(stream))
    torn: list[str] = []
    if layer.media_type == LAYER_GZIP:
        tar = _Hashing(_inflated(blob, torn))
    elif layer.media_type == LAYER_TAR:
        tar = _Hashing(_pieces(blob))
    else:
        yield f"its media type {layer.media_type} cannot be checked here"
        return
    found = list(_check_tar(tar, strict=bool(layer.key)))
    tar.drain()
    blob.drain()
    # A stream that ends early in gzip is not a whole tar either.
    yield from torn or found
    yield from _differences("size", blob.size, layer.size)
    yield from _differences("digest", str(blob.digest), str(layer.digest))
    yield from _differences("diff_id", str(tar.digest), str(layer.diff_id))


def _inflated(blob: _Hashing, torn: list[str]) -> Iterator[bytes]:
    """Inflate as far as possible, and tell in `torn` where it is not."""
    try:
        yield from gunzip(blob)
    except (zlib.error, EOFError) as error:
        torn.append(f"it is not a whole gzip stream: {error}")


def _check_tar(tar: _Hashing, *, strict: bool) -> Iterator[str]:
    try:
        with tarfile.open(fileobj=cast("Any", tar), mode="r|", bufsize=_PIECE) as archive:
            yield from _check_entries(archive, strict=strict)
            end = archive.offset
    except tarfile.TarError as error:
        yield f"it is not a readable tar: {error}"
        return
    tar.drain()
    # `tarfile` takes any bytes that are not a header for the end of the archive.
    if strict and (tar.size != end + len(END) or tar.last[-len(END) :] != END):
        yield "its tar does not end in two zero blocks behind the last entry"


def _check_entries(archive: tarfile.TarFile, *, strict: bool) -> Iterator[str]:
    previous: list[str] = []
    folders: set[str] = {""}
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # or tarfile keeps every header it has read
        if not strict:
            continue
        parts = member.name.split("/")
        if previous and _bytes(parts) <= _bytes(previous):
            yield f"{member.name} comes after {'/'.join(previous)}: out of order, or twice"
        previous = parts
        if "/".join(parts[:-1]) not in folders:
            yield f"{member.name} comes before its folder"
        if any(part in {"", ".", ".."} or part.startswith(".wh.") for part in parts):
            yield f"{member.name} is not a path for a layer"
        if member.type not in _OUR_TYPES:
            yield f"{member.name} has type {member.type!r}"
        if member.isdir():
            folders.add(member.name)


def _bytes(parts: list[str]) -> list[bytes]:
    return [part.encode("utf-8", "surrogateescape") for part in parts]


class _Hashing:
    """A readable made of an iterator of pieces, which hashes and counts what goes through."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""
        self._hash = hashlib.sha256()
        self.size = 0
        self.last = b""

    @property
    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, fewer than that only at the end, as `tarfile` wants it."""
        made = [self._left]
        length = len(self._left)
        while length < size and (piece := next(self._pieces, b"")):
            self._hash.update(piece)
            self.size += len(piece)
            self.last = self.last[-len(END) :] + piece if len(piece) < len(END) else piece
            made.append(piece)
            length += len(piece)
        joined = b"".join(made)
        self._left = joined[size:]
        return joined[:size]

    def drain(self) -> None:
        while self.read(_PIECE):
            pass


def _pieces(stream: Any) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        yield piece
