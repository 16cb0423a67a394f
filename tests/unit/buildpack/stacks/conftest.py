"""Tiny bases, made on the spot."""

from __future__ import annotations

import gzip
import hashlib
import io
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
