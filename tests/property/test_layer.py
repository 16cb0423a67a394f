"""Laws of the layer writer: every reader gets what went in, and order does not matter."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.errors import MachineError
from buildpack.oci.entry import Deflated, Entry, FileSlice, Inline, directory, file, symlink
from buildpack.oci.image import Layer, Platform, assemble
from buildpack.oci.layer import write_layer
from tests.support.validate import validate

MEBI = 1 << 20
SIZES = st.one_of(
    st.integers(0, 3000),
    st.sampled_from([511, 512, 513, 4095, 4096, 8000, 70_000]),
    st.sampled_from([MEBI - 1025, MEBI - 1024, MEBI - 513, MEBI - 512, MEBI - 1, MEBI, MEBI + 1, 2 * MEBI]),
    st.sampled_from([8 * MEBI, 8 * MEBI + 1]),
)
PARTS = st.one_of(
    st.sampled_from(["a", "b", "a.b", "a-b", "A", "lib", "lib64", "é", "日本", " ", "\n", "\x7f", "..."]),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=5),
    st.integers(1, 120).map(lambda length: "n" * length),
).filter(lambda part: part not in {".", ".."} and not part.startswith(".wh."))
PATHS = st.lists(PARTS, min_size=1, max_size=5).map(tuple)
OWNERS = st.sampled_from([0, 1000, 8**7 - 1, 8**7])
TIMES = st.sampled_from([0, 315532800, 1_700_000_000, 8**11])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@lru_cache(maxsize=16)
def body_of(size: int, seed: int) -> bytes:
    """Zeros, text-like and random bytes, by the seed."""
    if seed % 4 == 0:
        return bytes(size)
    noise = random.Random(seed).randbytes(size)
    return noise if seed % 4 == 1 else noise.translate(bytes(byte & 7 for byte in range(256)))


@lru_cache(maxsize=16)
def packed(body: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level if len(body) <= MEBI else min(level, 1), zlib.DEFLATED, -15)
    return packer.compress(body) + packer.flush()


class Sources:
    """Contents of every kind, in one file that grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.write_bytes(b"")

    def add(self, stored: bytes) -> int:
        with self.path.open("ab") as stream:
            offset = stream.tell()
            stream.write(stored + b"what follows")
        return offset

    def content(self, kind: str, body: bytes, level: int) -> Inline | FileSlice | Deflated:
        if kind == "inline":
            return Inline(body)
        if kind == "slice":
            return FileSlice(self.path, len(body), self.add(body))
        stream = packed(body, level)
        return Deflated(self.path, self.add(stream), len(stream), len(body), zlib.crc32(body))


@st.composite
def trees(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Paths with their kinds: no path twice, and only folders have something below them."""
    kinds = st.sampled_from(["inline", "slice", "deflated", "deflated", "directory", "symlink"])
    chosen: dict[tuple[str, ...], str] = {}
    for parts, kind in draw(st.lists(st.tuples(PATHS, kinds), max_size=12)):
        parents = {parts[:length] for length in range(1, len(parts))}
        blocked = any(chosen.get(parent, "directory") != "directory" for parent in parents)
        below = kind != "directory" and any(other[: len(parts)] == parts for other in chosen)
        if parts not in chosen and not blocked and not below:
            chosen[parts] = kind
    return {"/".join(parts): (kind,) for parts, kind in chosen.items()}


@st.composite
def drawn_entries(draw: st.DrawFn) -> list[tuple[Entry, str, int, int, int]]:
    """Entries without content yet, with kind, size, seed and compression level."""
    made = []
    for path, (kind,) in draw(trees()).items():
        owner = {"uid": draw(OWNERS), "gid": draw(OWNERS), "mtime": draw(TIMES)}
        if kind == "directory":
            entry = directory(path, mode=draw(st.sampled_from([0o755, 0o700, 0o1777])))
        elif kind == "symlink":
            entry = symlink(path, "/".join(draw(PATHS)))
        else:
            entry = file(path, b"", executable=draw(st.booleans()))
        made.append(
            (replace(entry, **owner), kind, draw(SIZES), draw(st.integers(0, 50)), draw(st.sampled_from([0, 1, 6, 9])))
        )
    return made


def filled(drawn: list[tuple[Entry, str, int, int, int]], sources: Sources) -> tuple[list[Entry], dict[str, bytes]]:
    entries, bodies = [], {}
    for entry, kind, size, seed, level in drawn:
        if entry.kind == "file":
            bodies[entry.path] = body_of(size, seed)
            entries.append(replace(entry, content=sources.content(kind, bodies[entry.path], level)))
        else:
            entries.append(entry)
    return entries, bodies


def seen(member: tarfile.TarInfo) -> tuple[object, ...]:
    return (member.name, member.type, member.mode, member.uid, member.gid, member.mtime, member.linkname, member.size)


def expected(entries: list[Entry], bodies: Mapping[str, bytes]) -> Iterator[tuple[object, ...]]:
    types = {"file": tarfile.REGTYPE, "directory": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE}
    given = {entry.path: entry for entry in entries}
    parents = {path.rsplit("/", count)[0] for path in given for count in range(1, path.count("/") + 1)}
    complete = {path: given.get(path) or directory(path) for path in given.keys() | parents}
    for path in sorted(complete, key=lambda path: [part.encode() for part in path.split("/")]):
        entry = complete[path]
        size = len(bodies.get(path, b""))
        yield path, types[entry.kind], entry.mode, entry.uid, entry.gid, entry.mtime, entry.target, size


@given(drawn=drawn_entries(), order=st.randoms(use_true_random=False))
def test_what_goes_in_comes_out_and_order_does_not_matter(
    folder: Path, drawn: list[tuple[Entry, str, int, int, int]], order: random.Random
) -> None:
    entries, bodies = filled(drawn, Sources(folder / "pack"))
    out, tar = io.BytesIO(), io.BytesIO()
    made = write_layer(entries, out, tar_out=tar)
    blob = out.getvalue()

    assert made.size == len(blob)
    assert made.digest.hex == hashlib.sha256(blob).hexdigest()
    assert made.diff_id.hex == hashlib.sha256(tar.getvalue()).hexdigest()
    assert gzip.decompress(blob) == tar.getvalue()

    with tarfile.open(fileobj=io.BytesIO(tar.getvalue())) as archive:
        members = archive.getmembers()
        assert [seen(member) for member in members] == list(expected(entries, bodies))
        for member in members:
            if member.isfile():
                opened = archive.extractfile(member)
                assert opened is not None
                assert opened.read() == bodies[member.name]

    layer = Layer(digest=made.digest, diff_id=made.diff_id, size=made.size, annotations={"dev.deploy.key": "k"})
    image = assemble([layer], platform=Platform(), created="1980-01-01T00:00:00Z", config={}, annotations={})
    blobs = {made.digest: blob, image.digest: image.manifest, image.config_digest: image.config}
    assert validate(image, lambda digest: io.BytesIO(blobs[digest])) == []

    order.shuffle(entries)
    again = io.BytesIO()
    assert write_layer(iter(entries), again) == made
    assert again.getvalue() == blob


@given(
    size=st.sampled_from([600, 40_000, 300_000, 8 * MEBI + 5]),
    level=st.sampled_from([1, 6, 9]),
    flips=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, 255)), min_size=1, max_size=3),
    grown=st.integers(-3, 3),
)
def test_a_damaged_stream_is_refused_or_harmless(
    folder: Path, size: int, level: int, flips: list[tuple[int, int]], grown: int
) -> None:
    """Whatever bytes a wheel turns into, the layer is refused or is a gzip stream of what its entry promised."""
    body = body_of(size, 2)
    content = Sources(folder / "damaged").content("deflated", body, level)
    assert isinstance(content, Deflated)
    raw = bytearray(content.path.read_bytes())
    for place, mask in flips:
        raw[content.offset + place % content.compressed] ^= mask
    content.path.write_bytes(raw)
    out, tar = io.BytesIO(), io.BytesIO()
    try:
        write_layer([file("x", replace(content, compressed=content.compressed + grown))], out, tar_out=tar)
    except MachineError:
        return
    assert gzip.decompress(out.getvalue()) == tar.getvalue()
    assert body in tar.getvalue()
