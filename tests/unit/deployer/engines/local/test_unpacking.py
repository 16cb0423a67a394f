"""An app's layer laid out on disk to be tried: somebody else may have made it, and nothing it holds leads out."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpack.errors import StackError
from buildpack.oci.compression import gunzip
from deployer.engines.local.unpacking import lay_over, limit_of, unpack_app

HINT = "build with --no-cache, which reuses no layer of an earlier image."


def member(name: str, content: bytes | str | None = b"", *, kind: bytes = tarfile.REGTYPE, mode: int = 0o644):
    """A file, with text a link, with None a folder."""
    info = tarfile.TarInfo(name)
    info.mode = mode
    info.type = {str: tarfile.SYMTYPE, type(None): tarfile.DIRTYPE}.get(type(content), kind)
    if isinstance(content, str):
        info.linkname = content
    if kind == tarfile.LNKTYPE:
        info.linkname = "app/a"
    return info, content if isinstance(content, bytes) else b""


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def pieces(content: bytes) -> Iterator[bytes]:
    yield from (content[at : at + 700] for at in range(0, len(content), 700))


def test_the_app_s_files_are_laid_out_and_nothing_else(tmp_path):
    made = layer(
        member("app", None),
        member("app/bin/run", b"#!/bin/sh\n", mode=0o4777),
        member("app/views.py", b"x = 1\n", mode=0o600),
        member("app/static/dist", "../views.py"),
        member("opt/deploy/launch.json", b"{}"),
        member("dev/null", kind=tarfile.CHRTYPE),
    )
    unpack_app(pieces(made), tmp_path, limit=100)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        *("app", "app/bin", "app/bin/run", "app/static", "app/static/dist", "app/views.py")
    ]
    assert (tmp_path / "app/bin/run").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "app/views.py").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "app/static/dist").read_text() == "x = 1\n"


A, OUTSIDE = member("app/a", b"x"), member("app/link", "../../outside")
PASSWD = member("app/link/evil", "/etc/passwd")
REFUSED = {
    "a name that leads out": ([member("app/../../outside/evil", b"x")], "It holds the name 'app/../../outside/evil'."),
    "an absolute name": ([member("/app/a", b"x")], "It holds the name '/app/a'."),
    "a file through a link": ([OUTSIDE, member("app/link/evil", b"x")], "It holds app/link as a link and as a folder."),
    "a link through a link": (
        [OUTSIDE, member("app/link/evil", "/etc/passwd")],
        "It holds app/link/evil below a link.",
    ),
    "the app itself a link": ([member("app", "../outside")], "It holds app as a link and as a folder."),
    "the app itself a file": ([member("app", b"x")], "Its app is not a folder."),
    "a device": ([member("app/a", kind=tarfile.BLKTYPE)], None),
    "a pipe": ([member("app/a", kind=tarfile.FIFOTYPE)], None),
    "a sparse file": ([member("app/a", kind=tarfile.GNUTYPE_SPARSE)], None),
    "a hard link": ([A, member("app/b", kind=tarfile.LNKTYPE)], None),
    "a file twice": ([A, A], "It holds 'a' twice."),
    "a link twice": ([OUTSIDE, OUTSIDE], "It holds 'link' twice."),
    "a link and a file": ([A, member("app/a", "b")], "It holds 'a' twice."),
    "a folder and a file": ([member("app/a", None), A], "It holds 'a' twice."),
    "a file below a file": ([A, member("app/a/b", b"x")], "It holds 'a' twice."),
    "a file far below a file": ([A, member("app/a/b/c", b"x")], "It holds 'b' below a file."),
    "a name too long": ([member("app/" + "a" * 300, b"x")], None),
    "a link to nowhere": ([member("app/a", "")], None),
    "more than it may": ([member("app/a", bytes(5000))], "It unpacks to more than 4096 bytes."),
}


@pytest.mark.parametrize("flaw", list(REFUSED))
def test_what_no_layer_of_ours_holds_is_refused(tmp_path, flaw):
    (tmp_path / "outside").mkdir()
    members, why = REFUSED[flaw]
    with pytest.raises(StackError) as caught:
        unpack_app(pieces(layer(*members)), tmp_path / "root", limit=4096)
    error = caught.value
    assert (error.what, error.hint) == ("the app's layer cannot be unpacked to run it", HINT)
    assert why is None or error.why == why
    assert list((tmp_path / "outside").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} <= {"outside", "root"}


def test_bytes_that_are_not_gzip_or_end_early_are_refused(tmp_path):
    large = member("app/b", random.Random(1).randbytes(4000))
    for number, blob in enumerate((b"nothing", gzip.compress(layer(A, large))[:-100])):
        with pytest.raises(StackError) as caught:
            unpack_app(gunzip(io.BytesIO(blob)), tmp_path / str(number), limit=4096)
        assert caught.value.why.startswith("It cannot be decompressed: ")


def test_a_large_layer_may_unpack_to_more():
    assert limit_of(1000) == 4 << 30
    assert limit_of(1 << 30) == 20 << 30


def test_the_user_s_files_are_laid_over_and_never_through_a_link(tmp_path):
    outside, root, source = tmp_path / "outside", tmp_path / "root", tmp_path / "source"
    for folder in (outside, root, root / "folder"):
        folder.mkdir()
    source.write_text("ours")
    (outside / "a").write_text("theirs")
    (root / "link").symlink_to(outside)
    (root / "a").symlink_to(outside / "a")
    (root / "b").write_text("theirs")
    for path in ("link/a", "link/deep/a", "a", "b/c", "folder"):
        lay_over(source, path, root)
        assert (root / path).read_text() == "ours"
        assert not (root / path).is_symlink()
    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("a", "theirs")]


def test_a_link_of_the_user_s_stays_one(tmp_path: Path) -> None:
    (tmp_path / "source").symlink_to("nowhere")
    (tmp_path / "root").mkdir()
    for _ in range(2):
        lay_over(tmp_path / "source", "deep/link", tmp_path / "root")
    assert (tmp_path / "root/deep/link").readlink() == Path("nowhere")
