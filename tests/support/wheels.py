"""Wheels for tests, good ones and bad ones."""

from __future__ import annotations

import base64
import hashlib
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import deflate

from buildpack.oci.entry import Content, Deflated, Entry, FileSlice, Inline
from buildpack.python.venv import VenvLayout

LAYOUT = VenvLayout(python_version="3.11.7", stack_python="/usr/local/bin/python3.11")
SITE = "opt/venv/lib/python3.11/site-packages"


@dataclass(frozen=True)
class Packed:
    """A file of a wheel with more than plain contents."""

    body: bytes = b""
    mode: int = stat.S_IFREG | 0o644
    method: int = zipfile.ZIP_DEFLATED


def write_wheel(
    folder: Path,
    files: Mapping[str, bytes | Packed],
    *,
    name: str = "demo",
    version: str = "1.0",
    filename: str = "",
    without: tuple[str, ...] = (),
) -> Path:
    """Write a wheel of these files; METADATA, WHEEL and RECORD are added where they are not given."""
    info = f"{name}-{version}.dist-info"
    whole: dict[str, bytes | Packed] = {
        **files,
        f"{info}/METADATA": files.get(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nText.\n".encode()
        ),
        f"{info}/WHEEL": files.get(
            f"{info}/WHEEL", b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    rows = "".join(f'"{path}",{_hash(body)}\n' for path, body in whole.items()) + f"{info}/RECORD,,\n"
    whole.setdefault(f"{info}/RECORD", rows.encode())
    path = folder / (filename or f"{name}-{version}-py3-none-any.whl")
    with zipfile.ZipFile(path, "w") as archive:
        for member, given in whole.items():
            if member in without:
                continue
            packed = given if isinstance(given, Packed) else Packed(given)
            header = zipfile.ZipInfo(member)
            header.external_attr = packed.mode << 16
            header.compress_type = packed.method
            archive.writestr(header, packed.body)
    return path


def _hash(given: bytes | Packed) -> str:
    body = given if isinstance(given, bytes) else given.body
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")
    return f"sha256={digest},{len(body)}"


def content_bytes(content: Content | None) -> bytes:
    """Read an entry's content, checking what it says about itself."""
    if isinstance(content, Inline):
        return content.body
    assert content is not None
    with content.path.open("rb") as raw:
        raw.seek(content.offset)
        if isinstance(content, FileSlice):
            body = raw.read(content.size)
        else:
            assert isinstance(content, Deflated)
            body = bytes(deflate.deflate_decompress(raw.read(content.compressed), content.size))
            assert deflate.crc32(body) == content.crc32
    assert len(body) == content.size
    return body


def by_path(entries: tuple[Entry, ...] | list[Entry]) -> dict[str, Entry]:
    """Index entries by their path, which must be unique."""
    found = {entry.path: entry for entry in entries}
    assert len(found) == len(entries)
    return found
