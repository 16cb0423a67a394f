"""Writes entries as a layer's blob: a deterministic tar in a deterministic series of gzip members.

A wheel already holds DEFLATE streams with their CRC-32. Streams of some size are spliced: each becomes a gzip member,
byte for byte. Only the bytes between them (headers, padding, small files) are compressed here, in members of at most 1
MiB of tar. Readers see one gzip stream (RFC 1952, 2.2: members "simply appear one after another"); Docker, containerd,
skopeo and umoci read it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from buildpack.errors import oci as errors
from buildpack.oci import compression
from buildpack.oci.content import LARGEST_PIECE, ContentDamagedError, Sources
from buildpack.oci.digest import Digest
from buildpack.oci.entry import Deflated, Entry, directory
from buildpack.oci.image import Layer
from buildpack.oci.tar import END, padding, render_header

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

    Sink = SupportsWrite[bytes | bytearray]

DEFLATE_VERSION = "0.9.0"
LAYER_FORMAT = f"1+deflate-{DEFLATE_VERSION}-l1"
"""Changes when the same entries would give other bytes; part of every layer's key."""

SPLICE_MIN = 4096
"""Streams with fewer compressed bytes are inflated, and compressed again with their neighbours.

Measured on the 40 wheels of a web app with pandas, 194 MB of tar: 4096 gives the smallest blobs (55.9 MB; 56.7 with
1, 56.1 with 16384), and time barely differs below it.
"""

_CHUNK = 1 << 20
_OUTBOX = 128 << 10


def write_layer(entries: Iterable[Entry], out: Sink, *, tar_out: Sink | None = None) -> Layer:
    """Write a layer of these entries, given in any order, and return it, without annotations.

    Missing parent folders are added, with root as owner and mode 0755, so that a folder is the same in every layer.
    `tar_out` also gets the uncompressed tar. Memory stays under 20 MB for all sizes. Raises AppError for a path that
    cannot be in an image, MachineError for content that cannot be read or contradicts its entry; the bytes written
    until then are useless.
    """
    _require_deflate()
    with Sources() as sources:
        writer = _Writer(out, tar_out, sources)
        for entry in _in_order(entries):
            writer.add(entry)
        return writer.finish()


def _require_deflate() -> None:
    import deflate

    if deflate.__version__ != DEFLATE_VERSION:
        raise errors.wrong_compressor(deflate.__version__, DEFLATE_VERSION)


def _in_order(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries sorted by the parts of their paths, parents before children; add missing parents."""
    # "/" sorts after "-" and "."; NUL sorts before everything and occurs in no path, so a folder's children follow it.
    keyed = sorted(((_checked(entry).replace(b"/", b"\0"), entry) for entry in entries), key=lambda pair: pair[0])
    folders = {""}
    previous = Entry(path="", kind="directory", mode=0o755)
    for _, entry in keyed:
        if entry.path == previous.path:
            raise errors.path_twice(entry.path)
        parent = entry.path.rpartition("/")[0]
        if parent not in folders:
            for missing in _missing_parents(parent, folders):
                if missing == previous.path:
                    raise errors.parent_is_no_folder(entry.path, missing)
                yield directory(missing)
        if entry.kind == "directory":
            folders.add(entry.path)
        yield entry
        previous = entry


def _missing_parents(parent: str, folders: set[str]) -> list[str]:
    missing = []
    while parent not in folders:
        missing.append(parent)
        folders.add(parent)
        parent = parent.rpartition("/")[0]
    return missing[::-1]


def _checked(entry: Entry) -> bytes:
    """Return the path's bytes; raises AppError for an entry that cannot be in a layer."""
    path = entry.path
    try:
        encoded = path.encode()
        entry.target.encode()
    except UnicodeEncodeError:
        raise errors.bad_path(path, "its name, or its link's target, is not UTF-8") from None
    framed = f"/{path}/"
    if "//" in framed or "/./" in framed or "/../" in framed:
        raise errors.bad_path(path, 'it is empty, absolute, or has an empty, "." or ".." part')
    if "/.wh." in framed:
        raise errors.bad_path(path, "in a layer a name that begins with .wh. means a deletion")
    if "\0" in path or "\0" in entry.target:
        raise errors.bad_path(path, "it holds a NUL byte")
    if (entry.kind == "symlink") != bool(entry.target):
        raise errors.bad_path(path, "a symbolic link, and nothing else, has a target")
    if (entry.content is not None) != (entry.kind == "file"):
        raise errors.bad_path(path, "a regular file, and nothing else, has content")
    return encoded


class _Writer:
    """Collects tar bytes in `pending`, at most a chunk, and compressed bytes in `outbox`; hashes both streams."""

    def __init__(self, out: Sink, tar_out: Sink | None, sources: Sources) -> None:
        self.out = out
        self.tar_out = tar_out
        self.sources = sources
        self.pending = bytearray()
        self.outbox = bytearray()
        self.blob_hash = hashlib.sha256()
        self.tar_hash = hashlib.sha256()
        self.size = 0

    def add(self, entry: Entry) -> None:
        content = entry.content
        self._append(render_header(entry, content.size if content else 0))
        try:
            if isinstance(content, Deflated) and content.compressed >= SPLICE_MIN and content.size:
                self._splice(content)
            elif content is not None and (content.size or (isinstance(content, Deflated) and content.compressed)):
                for piece in self.sources.pieces(content):
                    self._append(piece)
        except ContentDamagedError as error:
            raise error.as_machine_error() from None
        self._append(padding(content.size if content else 0))

    def finish(self) -> Layer:
        self._append(END)
        self._flush()
        self._send(b"", drain=True)
        blob, tar = Digest(self.blob_hash.hexdigest()), Digest(self.tar_hash.hexdigest())
        return Layer(digest=blob, diff_id=tar, size=self.size)

    def _append(self, piece: bytes | bytearray) -> None:
        """Add tar bytes to compress; compress whole chunks at once."""
        self.pending += piece
        while len(self.pending) >= _CHUNK:
            chunk = self.pending[:_CHUNK]
            del self.pending[:_CHUNK]
            self._hash_tar(chunk)
            self._send(compression.member(chunk))

    def _flush(self) -> None:
        """Compress the pending bytes, so that the next piece begins a new member."""
        if self.pending:
            self._hash_tar(self.pending)
            self._send(compression.member(self.pending))
            self.pending.clear()

    def _hash_tar(self, piece: bytes | bytearray) -> None:
        self.tar_hash.update(piece)
        if self.tar_out is not None:
            self.tar_out.write(piece)

    def _send(self, piece: bytes | bytearray, *, drain: bool = False) -> None:
        """Add compressed bytes; small pieces are hashed and written together."""
        if len(piece) < _OUTBOX:
            self.outbox += piece
            piece = b""
        if self.outbox and (piece or drain or len(self.outbox) >= _OUTBOX):
            self._write(self.outbox)
            self.outbox = bytearray()
        if piece:
            self._write(piece)

    def _write(self, piece: bytes | bytearray) -> None:
        self.blob_hash.update(piece)
        self.out.write(piece)
        self.size += len(piece)

    def _splice(self, content: Deflated) -> None:
        """Make the stream a member; a small stream is checked in one call of libdeflate."""
        import deflate

        if max(content.size, content.compressed) > LARGEST_PIECE:
            self._splice_in_pieces(content)
            return
        stream = self.sources.stream(content)
        end = compression.footer(content.crc32, content.size)
        spliced = b"".join((compression.HEADER, stream, end))
        del stream
        try:
            body = deflate.gzip_decompress(spliced, content.size)
        except deflate.DeflateError:
            raise ContentDamagedError(content) from None
        # libdeflate finds the footer right after the stream's last block, and accepts bytes after it. So the stream has
        # no trailing bytes if the footer occurs only at the end.
        if len(body) != content.size or spliced.find(end, len(compression.HEADER)) != len(spliced) - compression.FOOTER:
            raise ContentDamagedError(content)
        self._flush()
        self._hash_tar(body)
        self._send(spliced)

    def _splice_in_pieces(self, content: Deflated) -> None:
        """Make a large stream a member, in bounded memory."""
        self._flush()
        self._send(compression.HEADER)
        for body in self.sources.pieces(content, compressed=self._send):
            self._hash_tar(body)
        self._send(compression.footer(content.crc32, content.size))
