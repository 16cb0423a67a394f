from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from buildpack.errors import MachineError, StackError
from buildpack.oci import tarindex
from buildpack.oci.tarindex import open_tar


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


def test_file_of_many_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    size = 9 << 30
    with path.open("wb") as out:
        out.write(header("large", size))
        out.truncate(512 + size)
    index = open_tar(path, scratch=tmp_path, origin="archive:x")
    assert index.size("large") == size
    index.close()


def test_extended_header_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as out:
        out.write(header("pax", 1 << 30, tarfile.XHDTYPE))
        out.truncate(1 << 31)
    assert refusal(path) == (
        "archive:x is damaged\n\nThe extended header 'pax' is 1073741824 bytes long.\n\nhint: write it again."
    )


def test_malformed_extended_header(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(header("pax", 12, tarfile.XHDTYPE) + b"99 path=evil".ljust(512, b"\0") + bytes(1024))
    assert refusal(path) == "archive:x is damaged\n\nAn extended header is malformed.\n\nhint: write it again."


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarindex, "_MEMBERS_LIMIT", 10)
    path = tmp_path / "x"
    path.write_bytes(header("a", 0) * 11)
    assert refusal(path) == "archive:x is damaged\n\nIt has more than 10 members.\n\nhint: write it again."


def test_nowhere_to_unpack_to(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "x"
    path.write_bytes(gzip.compress(header("a", 0)))
    with pytest.raises(MachineError) as caught:
        open_tar(path, scratch=tmp_path / "none", origin="archive:x")
    assert str(caught.value) == (
        f"{tmp_path / 'none'} cannot be written\n\nNo such file or directory.\n\n"
        "hint: make the folder first, or name another place."
    )
