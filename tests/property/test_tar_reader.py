"""Reading a tar at random gives what `tarfile` gives, and bytes that are not a tar are refused."""

from __future__ import annotations

import io
import posixpath
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from buildpack.errors import StackError
from buildpack.oci.tar_reader import TarIndex, open_tar

names = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0/"), min_size=1, max_size=150
).filter(lambda name: name not in {".", ".."})
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
formats = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@given(st.dictionaries(paths, st.binary(max_size=2000), max_size=6), formats)
def test_as_tarfile_reads_it(files: dict[str, bytes], layout: int) -> None:
    written: dict[str, bytes] = {}
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=layout) as tar:
            for name, body in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(body)
                try:
                    tar.addfile(member, io.BytesIO(body))
                except (ValueError, UnicodeEncodeError):
                    continue  # longer than ustar can hold
                written[posixpath.normpath(name)] = body
        file.flush()
        index = TarIndex(file, origin="test")
        for name, body in written.items():
            assert index.size(name) == len(body)
            with index.open(name) as opened:
                assert opened.read() == body


@given(st.binary(max_size=3000), st.integers(0, 3000), st.integers(0, 255))
def test_hostile_bytes_are_refused_or_read(noise: bytes, at: int, value: int) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("é" * 120)
        member.size = 100
        tar.addfile(member, io.BytesIO(bytes(100)))
    changed = bytearray(made.getvalue())
    changed[at] = value
    with tempfile.TemporaryDirectory() as folder:
        for content in (noise, bytes(changed)):
            path = Path(folder, "tar")
            path.write_bytes(content)
            try:
                index = open_tar(path, scratch=Path(folder), origin="test")
            except StackError:
                continue
            index.size("é" * 120)
            index.close()
