from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from buildpack.oci.entry import Entry, directory, file, symlink
from buildpack.oci.tar import END, padding, render_header


def read_back(*entries: Entry) -> list[tarfile.TarInfo]:
    archive = b"".join(render_header(entry, 0) for entry in entries) + END
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return opened.getmembers()


def is_plain_ustar(header: bytes) -> bool:
    return len(header) == 512 and header[257:265] == b"ustar\x0000"


def test_a_header_is_one_block_and_holds_the_entry() -> None:
    header = render_header(
        replace(file("app/web.py", b"x" * 700, executable=True), uid=1000, gid=1001, mtime=1_700_000_000), 700
    )
    assert is_plain_ustar(header)
    found = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    assert (found.name, found.type, found.size, found.mode) == ("app/web.py", tarfile.REGTYPE, 700, 0o755)
    assert (found.uid, found.gid, found.uname, found.gname) == (1000, 1001, "", "")
    assert found.mtime == 1_700_000_000


def test_the_bytes_are_those_of_the_standard_librarys_ustar() -> None:
    entry = file("opt/venv/bin/flask", b"", executable=True)
    expected = tarfile.TarInfo("opt/venv/bin/flask")
    expected.mode, expected.mtime = 0o755, entry.mtime
    assert render_header(entry, 0) == expected.tobuf(tarfile.USTAR_FORMAT)


def test_folders_end_in_a_slash_and_links_name_their_target() -> None:
    assert render_header(directory("app"), 0).startswith(b"app/\0")
    folder, link = read_back(directory("app"), symlink("bin", "usr/bin"))
    assert (folder.name, folder.type, folder.mode) == ("app", tarfile.DIRTYPE, 0o755)
    assert (link.name, link.type, link.linkname) == ("bin", tarfile.SYMTYPE, "usr/bin")


@pytest.mark.parametrize(
    "parts", [[95], [99], [100], [101], [154, 100], [155, 100], [156, 100], [155, 101], [120, 120]]
)
def test_long_names_use_the_prefix_if_it_fits_or_a_pax_record(parts: list[int]) -> None:
    path = "/".join("n" * length for length in parts)
    fits = len(path) <= 100 or (len(parts) == 2 and parts[0] <= 155 and parts[1] <= 100)
    assert is_plain_ustar(render_header(file(path, b""), 0)) == fits
    assert [found.name for found in read_back(file(path, b""))] == [path]


def test_every_length_of_name_folder_and_target_is_read_back() -> None:
    paths = [("d" * 60 + "/" + "n" * 40 + "/" + "x" * 160)[:length].rstrip("/") for length in range(1, 262)]
    paths += ["p/" * count + "x" for count in range(1, 200)]
    assert [found.name for found in read_back(*(file(path, b"") for path in paths))] == paths
    assert [found.name for found in read_back(*(directory(path) for path in paths))] == paths
    links = read_back(*(symlink("link", path) for path in paths))
    assert [found.linkname for found in links] == paths


def test_names_beyond_ascii_are_utf8_in_a_pax_record() -> None:
    entries = [file("app/größe.txt", b""), directory("日本語"), symlink("link", "ziel/ü"), file("é" * 130, b"")]
    assert not is_plain_ustar(render_header(entries[0], 0))
    found = read_back(*entries)
    assert [member.name for member in found] == ["app/größe.txt", "日本語", "link", "é" * 130]
    assert found[2].linkname == "ziel/ü"


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 9 << 30, 5 << 40])
def test_sizes_of_eight_gigabytes_and_more_are_pax_records(size: int) -> None:
    header = render_header(file("big", b""), size)
    assert is_plain_ustar(header) == (size < 8**11)
    with tarfile.open(fileobj=io.BytesIO(header + END)) as opened:
        found = opened.next()
    assert found is not None
    assert found.size == size


def test_gnu_tar_lists_long_foreign_and_huge_entries(tmp_path: Path) -> None:
    entries = [
        directory("d" * 90),
        replace(file("d" * 90 + "/" + "n" * 90, b""), uid=1000, gid=1000),
        file("d" * 90 + "/" + "n" * 160, b""),
        symlink("größe", "t" * 150),
        file("z", b""),
    ]
    path = tmp_path / "huge.tar"
    with path.open("wb") as stream:
        for entry in entries[:-1]:
            stream.write(render_header(entry, 0))
        stream.write(render_header(entries[-1], 9 << 30))
        stream.seek(9 << 30, 1)
        stream.write(END)
    command = ["tar", "--list", "--verbose", "--numeric-owner", "--utc", "--quoting-style=literal", "--file", path]
    listed = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    )
    assert listed.stderr == ""
    lines = [" ".join(line.split()) for line in listed.stdout.splitlines()]
    assert lines == [
        f"drwxr-xr-x 0/0 0 1980-01-01 00:00 {'d' * 90}/",
        f"-rw-r--r-- 1000/1000 0 1980-01-01 00:00 {'d' * 90}/{'n' * 90}",
        f"-rw-r--r-- 0/0 0 1980-01-01 00:00 {'d' * 90}/{'n' * 160}",
        f"lrwxrwxrwx 0/0 0 1980-01-01 00:00 größe -> {'t' * 150}",
        f"-rw-r--r-- 0/0 {9 << 30} 1980-01-01 00:00 z",
    ]


def test_large_owners_and_times_out_of_range_are_pax_records() -> None:
    entry = replace(file("x", b""), uid=3_000_000, gid=3_000_001, mtime=-5)
    (found,) = read_back(entry)
    assert (found.uid, found.gid, found.mtime) == (3_000_000, 3_000_001, -5)
    (found,) = read_back(replace(entry, mtime=8**11))
    assert found.mtime == 8**11


@pytest.mark.parametrize(("size", "expected"), [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)])
def test_padding_fills_the_last_block(size: int, expected: int) -> None:
    assert padding(size) == bytes(expected)
