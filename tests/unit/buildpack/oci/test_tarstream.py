from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.errors import StackError
from buildpack.oci.tarstream import Member, read_members

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=150).filter(
    lambda name: name not in {".", ".."}
)
FORMATS = st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


def read(content: bytes, size: int = 700) -> list[tuple[Member, bytes]]:
    return [(member, b"".join(body)) for member, body in read_members(cut(content, size), origin="it")]


@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=2000), st.integers(0, 0o7777), st.integers(0, 1 << 34)), max_size=5),
    FORMATS,
    st.integers(1, 2000),
)
def test_it_reads_what_tarfile_writes(files, style, size):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=style) as archive:
        for name, body, mode, mtime in files:
            header = tarfile.TarInfo(f"app/{name}")
            header.size, header.mode, header.mtime, header.uid = len(body), mode, mtime, 1 << 22
            archive.addfile(header, io.BytesIO(body))
    found = read(out.getvalue(), size)
    assert [(m.path, body, m.mode, float(m.mtime), m.uid, m.size) for m, body in found] == [
        (f"app/{name}", body, mode, float(mtime), 1 << 22, len(body)) for name, body, mode, mtime in files
    ]


def test_kinds_and_targets():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, target in (
            ("./d/", tarfile.DIRTYPE, ""),
            ("d/s", tarfile.SYMTYPE, "t" * 150),
            ("/d/h", tarfile.LNKTYPE, "d/s"),
            ("d/f", tarfile.FIFOTYPE, ""),
            ("d/c", tarfile.CHRTYPE, ""),
        ):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, target
            archive.addfile(header)
    assert [(m.path, m.kind, m.target) for m, _ in read(out.getvalue())] == [
        ("d", "directory", ""),
        ("d/s", "symlink", "t" * 150),
        ("d/h", "hardlink", "d/s"),
        ("d/f", "special", ""),
        ("d/c", "special", ""),
    ]


def test_what_is_not_taken_is_skipped():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("a", "b", "c"):
            header = tarfile.TarInfo(name)
            header.size = 5000
            archive.addfile(header, io.BytesIO(name.encode() * 5000))
    paths = []
    for member, body in read_members(cut(out.getvalue(), 333), origin="it"):
        paths.append(member.path)
        if member.path == "b":
            assert next(body)[:1] == b"b"
    assert paths == ["a", "b", "c"]


def header_of(name: str = "a", **fields: bytes) -> bytearray:
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    for field, value in fields.items():
        at = {"mode": 100, "size": 124, "kind": 156}[field]
        block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return block


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"x" * 512, "The file cannot be read as a tar archive: a header's checksum is wrong."),
        (b"x" * 100, "It ends inside a header."),
        (bytes(header_of(size=b"00000001000")) + b"x" * 20, "It ends inside a file."),
        (bytes(header_of(mode=b"zzzzzzz\0")), "The header of 'a' holds no numbers."),
        (bytes(header_of(kind=b"x", size=b"77777777777")), "The extended header 'a' is 8589934591 bytes long."),
        (bytes(header_of(kind=b"x", size=b"00000000004")) + b"nil\n" + bytes(508), "An extended header is malformed."),
    ],
)
def test_what_is_no_tar_is_told(content, why):
    with pytest.raises(StackError) as caught:
        read(content)
    assert caught.value.why == why


def test_numbers_without_end_are_not_read():
    record = b"size=" + b"9" * 5000 + b"\n"
    body = b"%d %b" % (len(record) + 5, record)
    block = header_of(kind=b"x", size=b"%011o" % len(body))
    tar = bytes(block) + body + bytes(-len(body) % 512) + bytes(header_of("b")) + bytes(1024)
    assert [(m.path, m.size) for m, _ in read(tar)] == [("b", 0)]
