"""HTTP/1.1 on a connection (RFC 9112), as engines and registries speak it: heads, and bodies as they are framed.

No HTTP library: importing one takes longer than all else that is done for a changed line (docs/decisions/0022).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from buildpack.bounded import parse_integer

if TYPE_CHECKING:
    from io import BufferedReader

_LINE_LIMIT = 64 << 10
_FIELDS_LIMIT = 256


class Lines(Protocol):
    """What a head is read from."""

    def readline(self, size: int, /) -> bytes:
        """Return a line with its end, fewer bytes at the end of all, and at most `size`."""
        ...


class CutError(ConnectionError):
    """The connection ended before the message did."""


class MalformedError(ValueError):
    """What came is no HTTP."""


class Headers(Mapping[str, str]):
    """A message's fields by name, in any case; what is repeated is joined by commas (RFC 9110, 5.2)."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: dict[str, str] = {}
        for name, value in fields:
            known = self._fields.get(name.lower())
            self._fields[name.lower()] = value if known is None else f"{known}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Head:
    """An answer's status line and fields, which took `size` bytes; `keeps` tells whether another may follow it."""

    __slots__ = ("headers", "keeps", "reason", "size", "status")

    def __init__(self, status: int, reason: str, headers: Headers, *, size: int, keeps: bool) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.size = size
        self.keeps = keeps


def read_head(file: Lines) -> Head:
    """Read up to the empty line, interim answers (1xx) left out; raises CutError, MalformedError, OSError."""
    size = 0
    while True:
        line = file.readline(_LINE_LIMIT)
        if not line:
            raise CutError("the connection was closed")
        version, _, rest = line.decode("latin-1").rstrip("\r\n").partition(" ")
        code, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdecimal():
            raise MalformedError("what answers does not speak HTTP")
        size += len(line)
        headers, read = _read_fields(file)
        size += read
        if not code.startswith("1"):
            break
    wish = headers.get("Connection", "").lower()
    keeps = "keep-alive" in wish if version == "HTTP/1.0" else "close" not in wish
    return Head(int(code), reason, headers, size=size, keeps=keeps)


def _read_fields(file: Lines) -> tuple[Headers, int]:
    fields: list[tuple[str, str]] = []
    size = 0
    while True:
        line = file.readline(_LINE_LIMIT)
        size += len(line)
        if not line.endswith(b"\n"):
            raise CutError("the connection was cut") if len(line) < _LINE_LIMIT else MalformedError("a line has no end")
        if not line.rstrip(b"\r\n"):
            return Headers(fields), size
        if len(fields) == _FIELDS_LIMIT:
            raise MalformedError("its head does not end")
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            fields.append((name.strip(), value.strip()))


class Framed:
    """The body that follows a head, read from `file` as far as it goes and no further."""

    def __init__(self, file: BufferedReader, head: Head, *, method: str = "GET") -> None:
        """Raises MalformedError for a head that does not say how long the body is."""
        self._file = file
        self._left: int | None = None
        self._chunked = False
        length = head.headers.get("Content-Length", "")
        if method == "HEAD" or head.status in {204, 304}:
            self._left = 0
        elif coding := head.headers.get("Transfer-Encoding", "").lower():
            if coding != "chunked":
                raise MalformedError(f"it sends what was not asked for: {coding[:40]!r}")
            self._chunked = True
            self._left = 0
        elif length:
            self._left = parse_integer(length.partition(",")[0].strip())
            if self._left is None:
                raise MalformedError(f"it promises {length[:40]!r} bytes")
        self.size = None if self._chunked else self._left
        """Bytes; None if the head does not say."""
        self.delimited = self._left is not None
        """Whether the body ends before the connection does."""
        self.ended = self._left == 0 and not self._chunked
        """Whether all of it was read, and the connection stands before the next head."""

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer than `size` only where the body ends; raises CutError, MalformedError, OSError.

        The bytes that came before a cut are returned first.
        """
        pieces: list[bytes] = []
        while size > 0 and not self.ended:
            try:
                piece = self._read_chunked(size) if self._chunked else self._read_plain(size)
            except OSError:
                if not pieces:
                    raise
                break
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_plain(self, size: int) -> bytes:
        """Return some of what is left; nothing where only the connection's end could tell that there is no more."""
        piece = self._file.read1(size if self._left is None else min(size, self._left))
        if self._left is not None:
            if not piece:
                raise CutError("the connection was cut")
            self._left -= len(piece)
        self.ended = self._left == 0 or not piece
        return piece

    def _read_chunked(self, size: int) -> bytes:
        """Return some of this chunk or the next; nothing after the last one (RFC 9112, 7.1)."""
        assert self._left is not None
        if self._left == 0:
            line = self._file.readline(_LINE_LIMIT)
            if not line.endswith(b"\n"):
                raise CutError("the connection was cut")
            self._left = parse_integer(line.partition(b";")[0].strip().decode("latin-1"), base=16)
            if self._left is None:
                raise MalformedError("a part of unknown length")
            if self._left == 0:
                _read_fields(self._file)
                self.ended = True
                return b""
        piece = self._file.read1(min(size, self._left))
        if not piece:
            raise CutError("the connection was cut")
        self._left -= len(piece)
        if self._left == 0:
            self._file.readline(_LINE_LIMIT)
        return piece
