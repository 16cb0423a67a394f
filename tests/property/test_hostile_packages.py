"""Laws of packages of strangers: with any bytes, they are read inside their folder or end in an error of ours."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.errors import BuildpackError, DependencyError
from buildpack.oci.layer import write_layer
from buildpack.python.simple import is_plain, parse_html, parse_json
from buildpack.python.source_tree import unpack
from buildpack.python.wheel import read_wheel
from buildpack.python.wheel_scan import summarise
from tests.support.wheels import LAYOUT, Packed, write_wheel

changes = st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=4)), max_size=6)
"""A place in a file, and the bytes that replace others there."""
names = st.text(st.characters(codec="utf-8") | st.sampled_from("./\\\0\n:ÄäA ~"), min_size=1, max_size=30)


def mutated(content: bytes, places: list[tuple[int, bytes]]) -> bytes:
    raw = bytearray(content)
    for place, piece in places:
        at = place % len(raw)
        raw[at : at + len(piece)] = piece
    return bytes(raw)


class Discard:
    def write(self, piece: object, /) -> None:
        """Take it."""


def make_tar() -> bytes:
    out = io.BytesIO()
    members = (("a-1/" + "x" * 120, b"0", ""), ("a-1/é", b"0", ""), ("a-1/s", b"2", "x"), ("a-1/h", b"1", "a-1/é"))
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, 600 if kind == b"0" else 0
            archive.addfile(info, io.BytesIO(b"two" * 200))
    return out.getvalue()[:6000]


def make_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a-1/x", b"one" * 100)
        archive.writestr("a-1/y", b"two")
    return out.getvalue()


ARCHIVES = {
    "a-1.tar": (make_tar(), bytes),
    "a-1.tar.gz": (make_tar(), lambda content: gzip.compress(content, 1)),
    "a-1.tar.bz2": (make_tar(), bz2.compress),
    "a-1.tar.xz": (make_tar(), lambda content: lzma.compress(content, preset=0)),
    "a-1.zip": (make_zip(), bytes),
}


@pytest.mark.parametrize("name", list(ARCHIVES))
@given(inside=changes, outside=changes)
def test_any_archive_is_unpacked_inside_or_refused(tmp_path_factory, name, inside, outside):
    """Bytes are changed below the compression, and then above it as well."""
    folder = tmp_path_factory.mktemp("archive")
    content, pack = ARCHIVES[name]
    (folder / name).write_bytes(mutated(pack(mutated(content, inside)), outside[:1]))
    with suppress(DependencyError):
        unpack(folder / name, folder / "inside", "a")
    assert {path.name for path in folder.iterdir()} <= {"inside", name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_wheel(
        tmp_path_factory.mktemp("wheel"),
        {
            "demo/__init__.py": b"import os\n" * 900,
            "demo/stored.bin": Packed(bytes(range(256)), method=zipfile.ZIP_STORED),
            "demo-1.0.data/scripts/tool": b"#!python\nimport demo\n",
            "demo-1.0.dist-info/entry_points.txt": b"[console_scripts]\nrun = demo:main\n",
        },
    ).read_bytes()


@given(places=changes)
def test_any_wheel_becomes_a_layer_or_is_refused(tmp_path_factory, wheel, places):
    folder = tmp_path_factory.mktemp("mutant")
    # Most changes go where the names, sizes and offsets are.
    directory = wheel.index(b"PK\1\2")
    moved = [(directory + at % (len(wheel) - directory) if at % 4 else at, piece) for at, piece in places]
    path = folder / "demo-1.0-py3-none-any.whl"
    path.write_bytes(mutated(wheel, moved))
    with suppress(BuildpackError):
        contents = read_wheel(path, layout=LAYOUT)
        summarise(contents, size=path.stat().st_size, machine="x86_64", layout=LAYOUT)
        assert all(entry.path.startswith("opt/venv/") for entry in contents.entries)
        write_layer(contents.entries, Discard())
    assert [each.name for each in folder.iterdir()] == [path.name]


@given(member=names)
def test_any_name_stays_in_the_environment(tmp_path_factory, member):
    folder = tmp_path_factory.mktemp("name")
    try:
        path = write_wheel(folder, {"demo.py": b"", member: b"x"})
    except (ValueError, UnicodeEncodeError):
        return  # `zipfile` does not write it
    with suppress(DependencyError):
        for entry in read_wheel(path, layout=LAYOUT).entries:
            assert entry.path.startswith("opt/venv/")
            assert {"", ".", ".."}.isdisjoint(entry.path.split("/"))
            assert not any(part.startswith(".wh.") for part in entry.path.split("/"))
            assert entry.path.isprintable() or not entry.path.isascii()


@given(filename=names)
def test_no_name_on_a_page_leads_out_of_its_folder(filename):
    """The name that an index gives a file decides where the file would be kept."""
    from json import dumps
    from urllib.parse import quote

    page = dumps({"files": [{"filename": filename, "url": "x", "hashes": {}}]}).encode()
    html = f'<a href="{quote(filename, safe="")}">x</a>'.encode()
    files = list(parse_html(html, "http://x/"))
    with suppress(ValueError):  # a name with NUL is refused, and with it the page
        files += parse_json(page, "http://x/")
    for offered in files:
        assert is_plain(offered.filename)
        assert Path("/folder", offered.filename).parent == Path("/folder")
        assert not offered.filename.startswith(".")


def test_a_wheel_of_more_files_than_old_zips_can_count(tmp_path):
    count = 66_000
    path = tmp_path / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(zipfile.ZipInfo(f"demo/{number}"), b"")
        for name in ("METADATA", "WHEEL", "RECORD"):
            text = {"METADATA": "Name: demo\nVersion: 1.0\n", "WHEEL": "Wheel-Version: 1.0\n", "RECORD": ""}[name]
            archive.writestr(zipfile.ZipInfo(f"demo-1.0.dist-info/{name}"), text)
    assert len(read_wheel(path, layout=LAYOUT).entries) == count + 4


def test_a_directory_of_any_size_is_not_read(tmp_path):
    """Two hundred megabytes of names would be gigabytes of objects."""
    path = tmp_path / "demo-1.0-py3-none-any.whl"
    entry = b"PK\1\2" + bytes(42) + b"x"
    count = (17 << 20) // len(entry)
    end = b"PK\5\6" + bytes(8) + (count * len(entry)).to_bytes(4, "little") + bytes(6)
    path.write_bytes(entry * count + end)
    before = sys.getallocatedblocks()
    with pytest.raises(DependencyError) as caught:
        read_wheel(path, layout=LAYOUT)
    assert sys.getallocatedblocks() - before < 10_000
    assert caught.value.why == f"Its directory has {count * len(entry):,} bytes, and the limit is 16,777,216."
