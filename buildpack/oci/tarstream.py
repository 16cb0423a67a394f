"""The entries of a tar as it streams by, from somebody nobody vouches for, in bounded memory.

As `tarindex`, which needs a file to jump about in, and unlike `tarfile`, it holds no extended header larger than
`_EXTENDED_LIMIT`. ustar, pax and GNU's long names are understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from buildpack.bounded import parse_integer
from buildpack.dataclass import dataclass, replace
from buildpack.errors import transfer as errors
from buildpack.oci.tarindex import parse_header, parse_number, parse_pax, parse_text

_BLOCK = 512
_EXTENDED_LIMIT = 1 << 20
_MEMBERS_LIMIT = 1_000_000
_PIECE = 1 << 20

Kind = Literal["file", "directory", "symlink", "hardlink", "special"]
_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"5": "directory",
    b"2": "symlink",
    b"1": "hardlink",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry; `path` begins and ends without a slash, `mtime` is as it was written: seconds, or a fraction.

    `absolute` tells that the path was written with a slash before it.
    """

    path: str
    absolute: bool
    kind: Kind
    size: int
    mode: int
    uid: int
    gid: int
    mtime: str
    target: str


def read_members(pieces: Iterator[bytes], *, origin: str) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Yield each entry with its content; what of that is not taken before the next entry is skipped.

    What follows the end of the archive stays in `pieces`. Raises StackError for what is no tar.
    """
    source = _Source(pieces, origin)
    long_name, long_link, pax = "", "", dict[str, str]()
    for _ in range(_MEMBERS_LIMIT):
        block = source.take(_BLOCK)
        if not block or block == bytes(_BLOCK):
            return
        if len(block) < _BLOCK:
            raise errors.archive_damaged(origin, "it ends inside a header")
        header = parse_header(block, origin)
        size = _decimal(pax, "size", header.size)
        if header.kind in b"LKxg":
            body = source.extended(size, header.name)
            if header.kind == b"L":
                long_name = parse_text(body)
            elif header.kind == b"K":
                long_link = parse_text(body)
            elif header.kind == b"x":
                pax = parse_pax(body, origin)
            continue
        member = _member(block, header.kind, size, pax, origin, name=long_name or header.name)
        if member.kind in {"symlink", "hardlink"}:
            member = replace(member, target=pax.get("linkpath") or long_link or header.link)
        long_name, long_link, pax = "", "", {}
        content = source.content(member.size)
        yield member, content
        for _ in content:
            pass
        source.take(-member.size % _BLOCK)
    raise errors.archive_damaged(origin, f"it has more than {_MEMBERS_LIMIT} members")


def _member(block: bytes, kind: bytes, size: int, pax: dict[str, str], origin: str, *, name: str) -> Member:
    try:
        mode, uid, gid, mtime = (parse_number(block[at : at + length]) for at, length in _NUMBERS)
    except ValueError:
        raise errors.archive_damaged(origin, f"the header of {name[:200]!r} holds no numbers") from None
    known = _KINDS.get(kind, "special")
    return Member(
        path=_clean(pax.get("path") or name),
        absolute=(pax.get("path") or name).startswith("/"),
        kind=known,
        size=size if known == "file" else 0,
        mode=mode & 0o7777,
        uid=_decimal(pax, "uid", uid),
        gid=_decimal(pax, "gid", gid),
        mtime=pax.get("mtime") or str(mtime),
        target="",
    )


_NUMBERS = ((100, 8), (108, 8), (116, 8), (136, 12))
"""Where mode, uid, gid and mtime stand, and how long they are."""


def _decimal(pax: dict[str, str], name: str, otherwise: int) -> int:
    number = parse_integer(pax.get(name, ""))
    return otherwise if number is None else number


def _clean(name: str) -> str:
    """Write a path the usual way; ``..`` stays, for whoever compares to see."""
    return "/".join(part for part in name.split("/") if part not in {"", "."})


class _Source:
    """Takes as many bytes as wanted from pieces of any length."""

    def __init__(self, pieces: Iterator[bytes], origin: str) -> None:
        self._pieces = pieces
        self._origin = origin
        self._piece = b""
        self._taken = 0

    def take(self, size: int) -> bytes:
        """Return `size` bytes, fewer at the end."""
        made = []
        while size and (piece := self._next(size)):
            made.append(piece)
            size -= len(piece)
        return b"".join(made)

    def content(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._next(min(size, _PIECE))
            if not piece:
                raise errors.archive_damaged(self._origin, "it ends inside a file")
            size -= len(piece)
            yield piece

    def extended(self, size: int, name: str) -> bytes:
        if size > _EXTENDED_LIMIT:
            raise errors.archive_damaged(self._origin, f"the extended header {name!r} is {size} bytes long")
        body = self.take(size)
        self.take(-size % _BLOCK)
        return body

    def _next(self, most: int) -> bytes:
        if self._taken == len(self._piece):
            self._piece, self._taken = next(self._pieces, b""), 0
        begin = self._taken
        self._taken = min(begin + most, len(self._piece))
        return self._piece[begin : self._taken]
