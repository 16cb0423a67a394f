"""Writes blobs and small files into the store, and verifies them as they are read."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self

from buildpack.errors import LostError
from buildpack.errors import oci as errors
from buildpack.oci.digest import Digest
from buildpack.oci.image import canonical_json
from buildpack.system.temporary import create_temporary, make_folder

_PIECE = 1 << 20
_BEGIN, _END = b'{"sha256":"', b'",'
_LENGTH = len(_BEGIN) + 64 + len(_END)


def write_all(descriptor: int, piece: bytes | bytearray | memoryview) -> None:
    """Write all bytes: one call of the system may stop early, at 2 GiB or on a disk that is almost full."""
    done = os.write(descriptor, piece)
    if done < len(piece):
        rest = memoryview(piece)
        while done < len(rest):
            done += os.write(descriptor, rest[done:])


def replace_file(path: Path, content: bytes, temporary: Path, *, durable: bool) -> None:
    """Write a small file in the folder `temporary`, and rename it to `path`; `durable` forces it to the disk."""
    descriptor, made = create_temporary(temporary)
    try:
        write_all(descriptor, content)
        if durable:
            os.fsync(descriptor)
        try:
            made.replace(path)
        except FileNotFoundError:
            make_folder(path.parent)
            made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


class BlobWriter:
    """A blob that is being written to a temporary file; `commit` moves it into the store.

    A `with` block that ends without `commit` removes the file. The bytes are not hashed here, because every writer
    hashes them anyway.
    """

    def __init__(self, root: Path, temporary: Path, destination: Callable[[Digest], Path]) -> None:
        self._root = root
        self._destination = destination
        try:
            self._descriptor, path = create_temporary(temporary)
        except OSError as error:
            raise errors.store_failed(root, error) from error
        self._path: Path | None = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._path is not None:
            os.close(self._descriptor)
            self._path.unlink(missing_ok=True)
            self._path = None

    def write(self, piece: bytes | bytearray | memoryview, /) -> int:
        """Write all these bytes; raises MachineError if the disk is full."""
        try:
            write_all(self._descriptor, piece)
        except OSError as error:
            raise errors.store_failed(self._root, error) from error
        return len(piece)

    def reopen(self) -> BinaryIO:
        """Return a file with the bytes that were written."""
        assert self._path is not None, "a blob is read before it is committed"
        return self._path.open("rb")

    def commit(self, digest: Digest) -> None:
        """Move the blob into the store under the digest of its bytes.

        No fsync: a crash may shorten the blob, but its size shows that, and the next build makes it again.
        """
        assert self._path is not None, "a blob is committed once"
        try:
            self._path.replace(self._destination(digest))
        except OSError as error:
            raise errors.store_failed(self._root, error) from error
        self._path = None
        os.close(self._descriptor)


class BlobReader(io.BufferedReader):
    """A blob's stream; raises what `damaged` raises, with the inode, at the end of bytes without the digest.

    If its reader fails, it reads on: the gzip or tar reader of a damaged layer fails long before the last byte, and
    would report a bad image. OSError passes unchanged: a network that fails says nothing about the blob.
    """

    def __init__(self, descriptor: int, digest: Digest, damaged: Callable[[int], NoReturn]) -> None:
        super().__init__(_VerifiedFile(descriptor, digest, damaged), 1 << 18)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception) and not isinstance(error, (LostError, OSError)):
                self.seek(0)
                while self.read(_PIECE):
                    pass
        finally:
            super().__exit__(kind, error, trace)


class _VerifiedFile(io.FileIO):
    """A blob's file, hashed as it is read; `damaged` is called with its inode if the bytes do not have the digest.

    The file owns `descriptor`. Bytes are hashed in order, so a reader that skips some of them gets no verification.
    """

    # The methods of FileIO would not call `readinto`.
    read = io.RawIOBase.read  # type: ignore[assignment]  # typeshed: FileIO takes None, too
    readall = io.RawIOBase.readall

    def __init__(self, descriptor: int, digest: Digest, damaged: Callable[[int], NoReturn]) -> None:
        super().__init__(descriptor)
        self._size = os.fstat(descriptor).st_size
        self._digest = digest
        self._damaged = damaged
        self._hash = hashlib.sha256()
        self._hashed = 0

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # Buffer is 3.12's
        position = self.tell()
        count = super().readinto(buffer) or 0
        end = position + count
        if position <= self._hashed < end or self._hashed == self._size == end:
            self._hash.update(memoryview(buffer)[self._hashed - position : count])
            self._hashed = end
            if end >= self._size and Digest(self._hash.hexdigest()) != self._digest:
                self._damaged(os.fstat(self.fileno()).st_ino)
        return count


def seal(value: Mapping[str, object]) -> bytes:
    """Render a JSON object that is not empty; the result begins with the hash of its rest, which shows any damage."""
    body = canonical_json(value)[1:]
    return _begin(body) + body


def parse_sealed(content: bytes) -> dict[str, Any] | None:
    """Read an object that `seal` rendered; None if a single bit differs."""
    if content[:_LENGTH] != _begin(content[_LENGTH:]):
        return None
    found = json.loads(content)
    assert isinstance(found, dict)
    return found


def _begin(body: bytes) -> bytes:
    return _BEGIN + hashlib.sha256(body).hexdigest().encode() + _END
