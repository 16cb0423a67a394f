from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import deflate
import pytest

from buildpack.errors import AppError, BuildpackError, MachineError
from buildpack.oci.compression import footer
from buildpack.oci.entry import Deflated, Entry, FileSlice, directory, file, symlink
from buildpack.oci.image import Layer
from buildpack.oci.layer import DEFLATE_VERSION, LAYER_FORMAT, SPLICE_MIN, write_layer

LARGE = 9 << 20
"""More than the largest stream that is inflated at once."""


def write(entries: Sequence[Entry]) -> tuple[Layer, bytes]:
    out = io.BytesIO()
    return write_layer(entries, out), out.getvalue()


def listing(blob: bytes) -> list[tuple[str, str]]:
    kinds = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "symlink"}
    with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz") as archive:
        return [(member.name, kinds[member.type]) for member in archive]


def contents(blob: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz") as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive if member.isfile()]
        return {name: opened.read() for name, opened in files if opened is not None}


@lru_cache(maxsize=4)
def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that compress to about half."""
    return random.Random(seed).randbytes(size).translate(bytes(byte & 15 for byte in range(256)))


def deflated(path: Path, body: bytes, *, before: bytes = b"zip header") -> Deflated:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    stream = packer.compress(body) + packer.flush()
    path.write_bytes(before + stream + b"the next member")
    return Deflated(path, len(before), len(stream), len(body), zlib.crc32(body))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def stream_of(content: Deflated) -> bytes:
    return content.path.read_bytes()[content.offset : content.offset + content.compressed]


def test_the_same_entries_give_the_same_bits_on_every_machine(tmp_path: Path) -> None:
    body = b"".join(b"line %d of a module that a wheel ships\n" % number for number in range(5000))
    stream = deflate.deflate_compress(body, 6)  # zlib's would differ between versions
    wheel = tmp_path / "wheel"
    wheel.write_bytes(b"PK" + stream)
    entries = [
        symlink("opt/venv/bin/python", "/usr/local/bin/python3.11"),
        file("opt/venv/lib/spliced.py", Deflated(wheel, 2, len(stream), len(body), zlib.crc32(body))),
        replace(file("app/größe.py", b"print('hello')\n" * 90_000), uid=1000, gid=1000, mtime=1_700_000_000),
        replace(directory("app/empty"), uid=1000, gid=1000),
        file("app/run", FileSlice(wheel, 2), executable=True),
    ]
    made, blob = write(entries)
    assert len(stream) >= SPLICE_MIN
    assert stream in blob
    assert str(made.digest) == GOLDEN
    assert str(made.diff_id) == GOLDEN_DIFF_ID


GOLDEN = "sha256:9294f552521461cfaf798c44174d3093cea62e52ac9168637171144f2fce11de"
GOLDEN_DIFF_ID = "sha256:fabcd7c5d988f731d1566ef4471f7b0eb0267ad9d7cbcc447bcfce43962a8254"


def test_the_digests_and_sizes_are_those_of_what_was_written(tmp_path: Path) -> None:
    tar = io.BytesIO()
    out = io.BytesIO()
    entries = [file("a", b"x" * 3_000_000), file("b", deflated(tmp_path / "b", noise(50_000))), file("c", b"")]
    made = write_layer(entries, out, tar_out=tar)
    blob = out.getvalue()
    assert made.digest.hex == hashlib.sha256(blob).hexdigest()
    assert made.diff_id.hex == hashlib.sha256(tar.getvalue()).hexdigest()
    assert made.size == len(blob)
    assert gzip.decompress(blob) == tar.getvalue()


def test_the_layer_key_names_the_compressor_that_is_pinned() -> None:
    assert LAYER_FORMAT == "1+deflate-0.9.0-l1"
    assert version("deflate") == DEFLATE_VERSION == deflate.__version__
    pyproject = Path(__file__).parents[4] / "pyproject.toml"
    assert f'"deflate=={DEFLATE_VERSION}"' in pyproject.read_text()


def test_parents_come_first_once_and_in_order() -> None:
    entries = [
        file("b-file", b""),
        file("b/z/deep", b""),
        file("b.txt", b""),
        file("b/z-last", b""),
        replace(directory("b", mode=0o700), uid=1000),
        file("a/Z", b""),
        file("a/a", b""),
        symlink("a/é", "Z"),
    ]
    made, blob = write(entries)
    assert listing(blob) == [
        ("a", "directory"),
        ("a/Z", "file"),
        ("a/a", "file"),
        ("a/é", "symlink"),
        ("b", "directory"),
        ("b/z", "directory"),
        ("b/z/deep", "file"),
        ("b/z-last", "file"),
        ("b-file", "file"),
        ("b.txt", "file"),
    ]
    with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz") as archive:
        given, added = archive.getmember("b"), archive.getmember("b/z")
    assert (given.mode, given.uid) == (0o700, 1000)
    assert (added.mode, added.uid, added.gid, added.mtime) == (0o755, 0, 0, 315532800)
    assert write(entries[::-1])[0] == made


def test_no_entries_make_an_empty_tar() -> None:
    made, blob = write([])
    assert gzip.decompress(blob) == bytes(1024)
    assert made.size == len(blob)


def test_large_streams_are_spliced(tmp_path: Path) -> None:
    small = deflated(tmp_path / "small", noise(1000))
    medium = deflated(tmp_path / "medium", noise(100_000))
    large = deflated(tmp_path / "large", noise(LARGE))
    assert small.compressed < SPLICE_MIN < medium.compressed
    _, blob = write([file("small", small), file("medium", medium), file("large", large)])
    for content, spliced in ((small, False), (medium, True), (large, True)):
        member = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + stream_of(content) + footer(content.crc32, content.size)
        assert (member in blob) == spliced
    assert contents(blob) == {"small": noise(1000), "medium": noise(100_000), "large": noise(LARGE)}


@pytest.mark.parametrize("size", [LARGE - 1, LARGE, LARGE + 1])
def test_a_tiny_stream_that_inflates_to_much_is_written_in_pieces(tmp_path: Path, size: int) -> None:
    content = deflated(tmp_path / "zeros", bytes(size))
    made, blob = write([file("zeros", content)])
    assert contents(blob)["zeros"] == bytes(size)
    assert made.size < 50_000


def test_empty_streams_and_slices_are_empty_files(tmp_path: Path) -> None:
    empty = deflated(tmp_path / "empty", b"")
    assert empty.compressed == 2
    _, blob = write(
        [file("a", empty), file("b", FileSlice(tmp_path / "empty", 0)), file("c", replace(empty, compressed=0))]
    )
    assert contents(blob) == {"a": b"", "b": b"", "c": b""}


def test_slices_are_parts_of_files(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.write_bytes(noise(3_000_000))
    slices = [FileSlice(pack, 10, 5), FileSlice(pack, 2_500_000, 100), FileSlice(pack, 1 << 20, 0)]
    _, blob = write([file(str(number), content) for number, content in enumerate(slices)])
    body = noise(3_000_000)
    assert contents(blob) == {"0": body[5:15], "1": body[100:2_500_100], "2": body[: 1 << 20]}


def test_contents_in_more_files_than_are_kept_open(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(100)]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number)
    before = open_files()
    entries = [file(f"{turn}/{path.name}", FileSlice(path, path.stat().st_size)) for path in paths for turn in "ab"]
    _, blob = write(entries)
    assert contents(blob) == {f"{turn}/{number}": b"%d" % number for number in range(100) for turn in "ab"}
    assert open_files() == before


def test_memory_stays_bounded_for_all_sizes(tmp_path: Path) -> None:
    zeros = deflated(tmp_path / "zeros", bytes(100 << 20))
    whole = deflated(tmp_path / "whole", noise(8 << 20))
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as stream:
        stream.truncate(60 << 20)
    entries = [file("a", zeros), file("b", FileSlice(sparse, 60 << 20)), file("c", whole), file("d", whole)]
    with Path("/dev/null").open("wb", buffering=0) as out:
        tracemalloc.start()
        try:
            write_layer(entries, out)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 20_000_000


Damage = Callable[[Deflated], Deflated]


def flip(content: Deflated) -> Deflated:
    raw = bytearray(content.path.read_bytes())
    raw[content.offset + content.compressed // 2] ^= 0x10
    content.path.write_bytes(raw)
    return content


def append(content: Deflated, junk: bytes) -> Deflated:
    raw = content.path.read_bytes()
    end = content.offset + content.compressed
    content.path.write_bytes(raw[:end] + junk + raw[end:])
    return replace(content, compressed=content.compressed + len(junk))


@pytest.mark.parametrize("size", [1000, 100_000, LARGE], ids=["recompressed", "spliced", "in pieces"])
@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda content: replace(content, crc32=content.crc32 ^ 1),
        lambda content: replace(content, size=content.size - 1),
        lambda content: replace(content, size=content.size + 1),
        lambda content: replace(content, compressed=content.compressed - 1),
        lambda content: replace(content, size=1),
    ],
    ids=["flipped", "checksum", "longer", "shorter", "cut", "much longer"],
)
def test_a_stream_that_contradicts_its_entry_is_refused(tmp_path: Path, size: int, damage: Damage) -> None:
    content = damage(deflated(tmp_path / "some.whl", noise(size)))
    with pytest.raises(MachineError) as caught:
        write([file("x", content)])
    assert str(caught.value) == (
        f"{tmp_path}/some.whl is damaged, or changed while it was read\n\n"
        "In this file the stream at byte 10 fails its checksum.\n\n"
        "hint: build again; if that fails in the same way, delete the file first, so that it is fetched or made again."
    )


@pytest.mark.parametrize("size", [100_000, LARGE], ids=["spliced", "in pieces"])
def test_bytes_after_a_streams_end_are_refused(tmp_path: Path, size: int) -> None:
    body = noise(size)
    end = footer(zlib.crc32(body), size)
    # A check of the footer alone would accept junk that begins like the footer or repeats it.
    for junk in (b"\0", b"junk", end, end + b"junk", end[:4], end * 2, bytes(300_000)):
        content = append(deflated(tmp_path / "some.whl", body), junk)
        with pytest.raises(MachineError, match="fails its checksum"):
            write([file("x", content)])


def test_a_file_that_became_shorter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_bytes(b"short")
    with pytest.raises(MachineError) as caught:
        write([file("x", FileSlice(path, 6))])
    assert str(caught.value) == (
        f"{path} is damaged, or changed while it was read\n\n"
        "In this file it ends before byte 6.\n\n"
        "hint: build again; if that fails in the same way, delete the file first, so that it is fetched or made again."
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as caught:
        write([file("x", FileSlice(tmp_path / "gone", 6))])
    assert str(caught.value) == (
        f"{tmp_path}/gone cannot be read\n\n"
        "The system says: No such file or directory.\n\n"
        "hint: check that the file is there and that you may read it, and build again."
    )


@pytest.mark.parametrize("path", ["", "/etc/passwd", "a//b", "a/", "./a", "a/./b", "..", "../a", "a/../b", "a/.."])
def test_paths_that_are_not_plain_and_relative_are_refused(path: str) -> None:
    with pytest.raises(AppError) as caught:
        write([file(path, b"")])
    assert str(caught.value) == (
        f"{path!r} cannot be in an image\n\n"
        'It is empty, absolute, or has an empty, "." or ".." part.\n\n'
        "hint: rename or delete it, or leave it out with a line in .dockerignore."
    )


@pytest.mark.parametrize(
    ("entry", "what", "why"),
    [
        (file("a/.wh.b", b""), "'a/.wh.b'", "In a layer a name that begins with .wh. means a deletion."),
        (directory(".wh..wh..opq"), "'.wh..wh..opq'", "In a layer a name that begins with .wh. means a deletion."),
        (file("nul\0", b""), "'nul\\x00'", "It holds a NUL byte."),
        (symlink("nul", "\0"), "'nul'", "It holds a NUL byte."),
        (file("caf\udce9", b""), "'caf\\\\udce9'", "Its name, or its link's target, is not UTF-8."),
        (symlink("link", "caf\udce9"), "'link'", "Its name, or its link's target, is not UTF-8."),
        (symlink("link", ""), "'link'", "A symbolic link, and nothing else, has a target."),
        (replace(file("x", b""), target="y"), "'x'", "A symbolic link, and nothing else, has a target."),
        (replace(file("x", b""), content=None), "'x'", "A regular file, and nothing else, has content."),
        (
            replace(directory("x"), content=file("y", b"").content),
            "'x'",
            "A regular file, and nothing else, has content.",
        ),
    ],
)
def test_entries_that_no_layer_can_hold_are_refused(entry: Entry, what: str, why: str) -> None:
    with pytest.raises(AppError) as caught:
        write([entry])
    assert str(caught.value) == (
        f"{what} cannot be in an image\n\n{why}\n\n"
        "hint: rename or delete it, or leave it out with a line in .dockerignore."
    )


def test_names_that_only_look_odd_are_kept() -> None:
    paths = [" ", "...", "..a", "a..", "-", "\\", "a\nb", "wh.x", "x.wh.", "~"]
    _, blob = write([file(path, b"") for path in paths])
    assert sorted(contents(blob)) == sorted(paths)


def test_a_path_that_occurs_twice_is_a_bug() -> None:
    with pytest.raises(BuildpackError) as caught:
        write([file("a/b", b"1"), file("a/c", b""), file("a/b", b"2")])
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        "/a/b occurs twice in one layer\n\n"
        "Two things that make up this layer want the same path, and none of them has priority.\n\n"
        "hint: this is a bug in deploy; please report it."
    )


@pytest.mark.parametrize("parent", [file("a/lib", b""), symlink("a/lib", "lib64")])
def test_an_entry_below_a_file_or_a_link_is_refused(parent: Entry) -> None:
    with pytest.raises(AppError) as caught:
        write([file("a/lib/deep/x.py", b""), parent, file("a/lib-other", b"")])
    assert str(caught.value) == (
        "/a/lib/deep/x.py cannot be in an image\n\n"
        "/a/lib is a file or a symbolic link, so nothing can be below it.\n\n"
        "hint: rename or delete one of the two."
    )
