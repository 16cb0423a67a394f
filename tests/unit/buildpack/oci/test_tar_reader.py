from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.errors import MachineError, StackError
from buildpack.oci import tar_reader
from buildpack.oci.tar_reader import Member, open_tar, read_members

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
def test_archives_of_tarfile_are_read(files, style, size):
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


def test_kinds_and_targets_are_read():
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


def test_content_that_is_not_read_is_skipped():
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
def test_a_file_that_is_not_a_tar_is_an_error(content, why):
    with pytest.raises(StackError) as caught:
        read(content)
    assert caught.value.why == why


def test_numbers_with_too_many_digits_are_refused():
    record = b"size=" + b"9" * 5000 + b"\n"
    body = b"%d %b" % (len(record) + 5, record)
    block = header_of(kind=b"x", size=b"%011o" % len(body))
    tar = bytes(block) + body + bytes(-len(body) % 512) + bytes(header_of("b")) + bytes(1024)
    assert [(m.path, m.size) for m, _ in read(tar)] == [("b", 0)]


def test_a_global_header_changes_no_entry():
    """Engines ignore it, so it must not give a file another name or size here."""
    body = b"20 path=global/name\n"
    tar = bytes(header_of(kind=b"g", size=b"%011o" % len(body))) + body.ljust(512, b"\0")
    assert [(m.path, m.size) for m, _ in read(tar + bytes(header_of("a")) + bytes(1024))] == [("a", 0)]


def test_damage_after_the_first_entry_is_an_error():
    with pytest.raises(StackError):
        read(bytes(header_of("a")) + b"x" * 512 + bytes(header_of("b")) + bytes(1024))


def test_an_entry_of_an_unknown_kind_is_skipped_with_its_content():
    unknown = bytes(header_of("a", kind=b"V", size=b"00000001000")) + b"x" * 512
    found = read(unknown + bytes(header_of("b")) + bytes(1024))
    assert [(m.path, m.kind) for m, _ in found] == [("a", "special"), ("b", "file")]


def test_a_link_with_a_size_has_no_content():
    """In POSIX a link or a folder may have a size, but has no content."""
    tar = b"".join(
        bytes(header_of("abc"[number], kind=b"%d" % kind, size=b"00000001000")) for number, kind in enumerate((1, 2, 5))
    )
    assert [(m.path, m.size) for m, _ in read(tar + bytes(1024))] == [("a", 0), ("b", 0), ("c", 0)]


def test_a_folder_of_the_oldest_format_is_read():
    assert [(m.path, m.kind) for m, _ in read(bytes(header_of("a/", kind=b"\0")) + bytes(1024))] == [("a", "directory")]


# At random


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, link
    return member.tobuf(tarfile.GNU_FORMAT)


def refusal(path: Path) -> str:
    with pytest.raises(StackError) as caught:
        open_tar(path, scratch=path.parent, origin="archive:x")
    return str(caught.value)


def test_links_are_followed_inside_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(
        header("a/file", 3) + b"abc".ljust(512, b"\0")
        + header("b/soft", 0, tarfile.SYMTYPE, "../a/file")
        + header("hard", 0, tarfile.LNKTYPE, "a/file")
        + header("outside", 0, tarfile.SYMTYPE, "/etc/passwd")
        + header("above", 0, tarfile.SYMTYPE, "../../../etc/passwd")
        + header("circle", 0, tarfile.SYMTYPE, "circle")
        + header("pipe", 0, tarfile.FIFOTYPE)
        + bytes(1024)
    )  # fmt: skip
    index = open_tar(path, scratch=tmp_path, origin="archive:x")
    for name in ("a/file", "./a/../a/file", "b/soft", "hard"):
        with index.open(name) as file:
            assert file.read() == b"abc"
    for name in ("outside", "above", "circle", "pipe", "/etc/passwd", "none"):
        assert index.size(name) is None
        with pytest.raises(KeyError):
            index.open(name)
    index.close()


def test_two_readers_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(header("a", 4) + b"1234".ljust(512, b"\0") + header("b", 4) + b"5678".ljust(512, b"\0"))
    index = open_tar(path, scratch=tmp_path, origin="archive:x")
    with index.open("a") as one, index.open("b") as two:
        assert [one.read(2), two.read(2), one.read(), two.read()] == [b"12", b"56", b"34", b"78"]
    index.close()


def test_a_file_of_many_gigabytes_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    size = 9 << 30
    with path.open("wb") as out:
        out.write(header("large", size))
        out.truncate(512 + size)
    index = open_tar(path, scratch=tmp_path, origin="archive:x")
    assert index.size("large") == size
    index.close()


def test_an_extended_header_of_a_gigabyte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as out:
        out.write(header("pax", 1 << 30, tarfile.XHDTYPE))
        out.truncate(1 << 31)
    assert refusal(path) == (
        "archive:x is damaged\n\nThe extended header 'pax' is 1073741824 bytes long.\n\nhint: write it again."
    )


def test_a_malformed_extended_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(header("pax", 12, tarfile.XHDTYPE) + b"99 path=evil".ljust(512, b"\0") + bytes(1024))
    assert refusal(path) == "archive:x is damaged\n\nAn extended header is malformed.\n\nhint: write it again."


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_reader, "_INDEXED_LIMIT", 10)
    path = tmp_path / "x"
    path.write_bytes(header("a", 0) * 11)
    assert refusal(path) == "archive:x is damaged\n\nIt has more than 10 members.\n\nhint: write it again."


def test_a_missing_scratch_folder_is_an_error(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "x"
    path.write_bytes(gzip.compress(header("a", 0)))
    with pytest.raises(MachineError) as caught:
        open_tar(path, scratch=tmp_path / "none", origin="archive:x")
    assert str(caught.value) == (
        f"{tmp_path / 'none'} cannot be written\n\nNo such file or directory.\n\n"
        "hint: make the folder first, or name another place."
    )
