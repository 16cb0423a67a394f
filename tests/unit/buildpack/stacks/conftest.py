"""Tiny bases and ELF files, made on the spot."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from buildpack.oci.digest import Digest
from buildpack.oci.image import LAYER_GZIP, Layer
from buildpack.oci.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def make_elf(
    *,
    needed: tuple[str, ...] = (),
    soname: str = "",
    runpath: str = "",
    interpreter: str = "",
    machine: int = 62,
    extra: bytes = b"",
    debug: int = 0,
) -> bytes:
    """Return an ELF64 file with these dynamic entries, `extra` bytes in its text, and `debug` bytes nobody maps."""
    strings = b"\0"

    def text(value: str) -> int:
        nonlocal strings
        place = len(strings)
        strings += value.encode() + b"\0"
        return place

    dynamic = [(1, text(name)) for name in needed]
    if soname:
        dynamic.append((14, text(soname)))
    if runpath:
        dynamic.append((29, text(runpath)))
    head = 64 + 3 * 56
    names = b"\0.text\0.debug_info\0.shstrtab\0"
    start = head
    body = interpreter.encode() + b"\0" if interpreter else b""
    interpreter_at, interpreter_size = start, len(body)
    strings_at = start + len(body)
    body += strings
    dynamic += [(5, strings_at), (10, len(strings)), (0, 0)]
    body += bytes(-(start + len(body)) % 8)
    dynamic_at = start + len(body)
    table = b"".join(struct.pack("<qQ", *entry) for entry in dynamic)
    body += table + extra
    mapped = start + len(body)
    segments = [
        (3 if interpreter else 0, interpreter_at, interpreter_size),
        (1, 0, mapped),
        (2, dynamic_at, len(table)),
    ]
    programs = b"".join(struct.pack("<IIQQQQQQ", kind, 4, at, at, at, size, size, 8) for kind, at, size in segments)
    debug_at, names_at = mapped, mapped + debug
    sections_at = names_at + len(names)
    sections = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (1, 1, 2, strings_at, strings_at, mapped - strings_at, 0, 0, 1, 0),
        (7, 1, 0, 0, debug_at, debug, 0, 0, 1, 0),
        (19, 3, 0, 0, names_at, len(names), 0, 0, 1, 0),
    ]
    table = b"".join(struct.pack("<IIQQQQIIQQ", *section) for section in sections)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, sections_at, 0, 64, 56, 3, 64, 4, 3)
    return header + programs + body + b"d" * debug + names + table


MakeLayer = Callable[..., Layer]


@pytest.fixture
def layer(store: Store) -> MakeLayer:
    """Put a gzip layer into the store: names with bytes, None (folder), "-> target" or "== target" (hard link)."""

    def make(*members: tuple[str, bytes | str | None]) -> Layer:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, content in members:
                member = tarfile.TarInfo(name)
                member.mode = 0o755
                if content is None:
                    member.type = tarfile.DIRTYPE
                elif isinstance(content, str):
                    member.type = tarfile.SYMTYPE if content.startswith("-> ") else tarfile.LNKTYPE
                    member.linkname = content[3:]
                else:
                    member.size = len(content)
                archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
        tar = out.getvalue()
        blob = gzip.compress(tar, 1, mtime=0)
        return Layer(
            digest=store.write(blob),
            diff_id=Digest(hashlib.sha256(tar).hexdigest()),
            size=len(blob),
            media_type=LAYER_GZIP,
        )

    return make
