"""Whatever the layers of a base hold, nothing is written outside, and no link leads outside."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from buildpack.errors import StackError
from buildpack.oci.image import LAYER_GZIP
from buildpack.stacks.extract import Tree, apply_layer

PART = st.sampled_from(
    ["a", "b", "lib", "x.so", "y.so", "..", ".", ".wh.a", ".wh.x.so", ".wh..wh..opq", "bin", "python3"]
)
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join)
TARGET = st.builds(lambda start, path: start + path, st.sampled_from(["", "/", "../", "../../../", "/../"]), PATH)
MEMBER = st.tuples(PATH, st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]), TARGET)
LAYER = st.lists(MEMBER, max_size=12)


def pack(members: list[tuple[str, bytes, str]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = target
            member.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"body"))
    return gzip.compress(out.getvalue(), 1)


def everything(folder: Path) -> set[str]:
    return {f"{here}/{name}" for here, folders, files in os.walk(folder) for name in (*folders, *files)}


@given(st.lists(LAYER, min_size=1, max_size=3))
def test_nothing_leads_outside(layers: list[list[tuple[str, bytes, str]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name)
        scratch = outer / "deep/scratch"
        scratch.mkdir(parents=True)
        (outer / "deep/a").mkdir()
        (outer / "x.so").write_text("untouched")
        before = everything(outer)
        tree = Tree(scratch, "base")
        try:
            for members in layers:
                apply_layer(tree, io.BytesIO(pack(members)), LAYER_GZIP)
            tree.settle(scratch / "root")
        except StackError:
            assert not (scratch / "root").exists()
        assert (outer / "x.so").read_text() == "untouched"
        assert {path for path in everything(outer) if not path.startswith(str(scratch) + "/")} == before
        root = os.path.realpath(scratch / "root")
        for path in everything(scratch / "root"):
            assert os.path.realpath(path).startswith(root)
