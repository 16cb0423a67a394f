"""HTTP/1.1 on a connection (RFC 9112), for registries and engines.

`http.client` is not used because its import is too slow for an unchanged build (docs/decisions/0022).
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Self

from buildpack.bounded import parse_integer
from buildpack.net.pace import Pace

if TYPE_CHECKING:
    from io import BufferedReader

_LINE_LIMIT = 64 << 10
_FIELDS_LIMIT = 256
_DECODED_LIMIT = 1 << 20


class CutError(ConnectionError):
    """The connection ended before the message did."""


class MalformedError(ValueError):
    """The bytes received are not HTTP, or a request cannot be written as HTTP."""


class Headers(Mapping[str, str]):
    """A message's fields by name, upper or lower case; repeated fields are joined by commas (RFC 9110, 5.2)."""

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


class Response:
    """An answer whose body is not read yet; a context manager.

    When the body has been read or the response is closed, it calls `release`, with True if the connection can take
    another request.
    """

    def __init__(
        self,
        file: BufferedReader,
        *,
        method: str = "GET",
        url: str = "",
        release: Callable[[bool], object] | None = None,
    ) -> None:
        """Read the head and skip interim answers (1xx); raises CutError, MalformedError, OSError."""
        self.method = method
        self.url = url
        self._file = file
        self._release = release
        self.request_size = 0
        """Bytes of the request's head."""
        self.head_size = 0
        """Bytes of the answer's head and of interim answers."""
        code = "1"
        while code.startswith("1"):
            version, code, self.reason = self._read_status()
            self.headers = self._read_fields()
        self.status = int(code)
        wish = self.headers.get("Connection", "").lower()
        self.keeps = "keep-alive" in wish if version == "HTTP/1.0" else "close" not in wish
        """True if another answer may follow on the connection."""
        self._chunked = False
        self._left = self._body_size()
        self.size = None if self._chunked else self._left
        """Bytes of the body; None if the head does not say."""
        self.ended = self._left == 0 and not self._chunked
        """True once the body was read to its end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection, which can take another request only if the body was read to its end."""
        release, self._release = self._release, None
        if release is not None:
            release(self.ended and self.keeps and self._left is not None)

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes of the body as they were sent, fewer only at its end; raises OSError.

        If the connection is cut, the bytes before the cut are returned first.
        """
        pieces: list[bytes] = []
        while size > 0 and not self.ended:
            try:
                piece = self._read_piece(size)
            except OSError:
                if not pieces:
                    raise
                break
            pieces.append(piece)
            size -= len(piece)
        if self.ended:
            self.close()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_decoded(self, limit: int) -> bytes:
        """Return at most `limit` bytes of the body, inflated if the server compressed it unasked; raises OSError."""
        raw = self.read(limit)
        if self.headers.get("Content-Encoding", "").lower() not in {"gzip", "deflate"}:
            return raw
        import zlib

        try:
            return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(raw, _DECODED_LIMIT)
        except zlib.error as error:
            raise CutError(str(error)) from None

    def _read_status(self) -> tuple[str, str, str]:
        line = self._file.readline(_LINE_LIMIT)
        if not line:
            raise CutError("the connection was closed")
        self.head_size += len(line)
        version, _, rest = line.decode("latin-1").rstrip("\r\n").partition(" ")
        code, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdecimal():
            raise MalformedError("the answer is not HTTP")
        return version, code, reason

    def _read_fields(self) -> Headers:
        fields: list[tuple[str, str]] = []
        while True:
            line = self._file.readline(_LINE_LIMIT)
            self.head_size += len(line)
            if not line.endswith(b"\n"):
                if len(line) < _LINE_LIMIT:
                    raise CutError("the connection was cut")
                raise MalformedError("a line of the answer has no end")
            if not line.rstrip(b"\r\n"):
                return Headers(fields)
            if len(fields) == _FIELDS_LIMIT:
                raise MalformedError("the head of the answer does not end")
            name, colon, value = line.decode("latin-1").partition(":")
            if colon:
                fields.append((name.strip(), value.strip()))

    def _body_size(self) -> int | None:
        """Return the bytes that can be read now: all, 0 before the first chunk, None for all up to the end."""
        if self.method in {"HEAD", "CONNECT"} or self.status in {204, 304}:
            return 0
        if coding := self.headers.get("Transfer-Encoding", "").lower():
            if coding != "chunked":
                raise MalformedError(f"it sends an encoding that was not requested: {coding[:40]!r}")
            self._chunked = True
            return 0
        length = self.headers.get("Content-Length", "")
        size = parse_integer(length.partition(",")[0].strip())
        if length and size is None:
            raise MalformedError(f"it promises {length[:40]!r} bytes")
        return size

    def _read_piece(self, size: int) -> bytes:
        """Return bytes of the body, or of one of its chunks (RFC 9112, 7.1), that have arrived; empty at its end."""
        if self._chunked and self._left == 0:
            self._left = self._next_chunk()
            if self._left == 0:
                self.ended = True
                return b""
        piece = self._file.read1(size if self._left is None else min(size, self._left))
        if self._left is None:
            self.ended = not piece
            return piece
        if not piece:
            raise CutError("the connection was cut")
        self._left -= len(piece)
        if self._left == 0 and self._chunked:
            self._file.readline(_LINE_LIMIT)
        self.ended = self._left == 0 and not self._chunked
        return piece

    def _next_chunk(self) -> int:
        line = self._file.readline(_LINE_LIMIT)
        if not line.endswith(b"\n"):
            raise CutError("the connection was cut")
        size = parse_integer(line.partition(b";")[0].strip().decode("latin-1"), base=16)
        if size is None:
            raise CutError("a chunk has no valid length")
        if size == 0:
            try:
                self._read_fields()
            except MalformedError as error:
                raise CutError(str(error)) from None
        return size


class Connection:
    """Sends requests on a socket and reads the answers, one at a time."""

    __slots__ = ("_file", "socket")

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        self._file = opened.makefile("rb")

    def close(self) -> None:
        """Close the socket."""
        self._file.close()
        self.socket.close()

    def has_input(self) -> bool:
        """Return True if an answer or the end of the connection can be read."""
        try:
            poller = select.poll()
            poller.register(self.socket, select.POLLIN)
            return bool(poller.poll(0))
        except (OSError, ValueError):
            return True

    def send(self, head: bytes, body: Iterable[bytes] = ()) -> OSError | None:
        """Send a request; return the error if the server hangs up, because its answer may say why."""
        pieces = iter(body)
        # Sends the head with the first bytes, so that a small request is one packet.
        for piece in chain([head + next(pieces, b"")], pieces):
            try:
                self.socket.sendall(piece)
            except (BrokenPipeError, ConnectionResetError) as error:
                return error
        return None

    def answer(
        self, pace: Pace, *, method: str = "GET", url: str = "", release: Callable[[bool], object] | None = None
    ) -> Response:
        """Read an answer's head and start the time of its body; raises CutError, MalformedError, OSError."""
        response = Response(self._file, method=method, url=url, release=release)
        pace.answered(response.size)
        return response


def render_head(method: str, target: str, fields: Mapping[str, str]) -> bytes:
    """Return a request's head; raises MalformedError if a field would end a line."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if any(character in line for line in lines for character in "\r\n\0"):
        raise MalformedError("a field of the request holds a line break")
    try:
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
    except UnicodeEncodeError:
        raise MalformedError("its address has characters that are not ASCII") from None
