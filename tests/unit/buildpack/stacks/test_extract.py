from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path

import pytest

from buildpack.errors import StackError
from buildpack.oci.digest import Digest
from buildpack.oci.image import LAYER_GZIP, LAYER_TAR, Layer
from buildpack.oci.store import Store
from buildpack.stacks.extract import wanted
from buildpack.stacks.image_stack import unpacked
from tests.unit.buildpack.stacks.conftest import MakeLayer

DIGEST = Digest("ab" * 32)


def unpack(store: Store, *layers: Layer) -> dict[str, str]:
    """Unpack and return the contents of files and the targets of links."""
    root = unpacked(DIGEST, layers, store, stack="base")
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            found[str(path.relative_to(root))] = f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
    return found


@pytest.mark.parametrize(
    "path",
    ["usr/bin/python3.12", "usr/local/bin/python", "lib/x86_64-linux-gnu/libc.so.6", "lib64/ld-linux-x86-64.so.2",
     "usr/lib/python3.11/os.py", "usr/lib/python3.11/lib-dynload/_ssl.so", "etc/passwd", "etc/ld.so.conf.d/libc.conf"],
)  # fmt: skip
def test_files_that_facts_and_interpreter_need_are_wanted(path: str) -> None:
    assert wanted(path)


@pytest.mark.parametrize(
    "path",
    ["usr/bin/perl", "usr/local/lib/python3.12/site-packages/pip/x.py", "etc/shadow", "usr/lib/python3.11/test/x.py"],
)  # fmt: skip
def test_everything_else_is_not(path: str) -> None:
    assert not wanted(path)


def test_a_later_layer_replaces_and_whites_out(store: Store, layer: MakeLayer) -> None:
    below = layer(("./lib/a.so", b"a"), ("./lib/b.so", b"b"), ("opt/x/c.so", b"c"), ("opt/x/d.so", b"d"))
    above = layer(("lib/a.so", b"A"), ("lib/.wh.b.so", b""), ("opt/x/e.so", b"e"), ("opt/x/.wh..wh..opq", b""))
    assert unpack(store, below, above) == {"lib/a.so": "A", "opt/x/e.so": "e"}


def test_a_whited_out_folder_goes_with_all_that_is_in_it(store: Store, layer: MakeLayer) -> None:
    below = layer(("opt/x/y/a.so", b"a"), ("opt/z.so", b"z"))
    assert unpack(store, below, layer(("opt/.wh.x", b""))) == {"opt/z.so": "z"}


def test_a_file_below_a_linked_folder_goes_to_the_link_s_target(store: Store, layer: MakeLayer) -> None:
    """Debian's `/lib` is a link into `/usr`; packages still ship `/lib/...`."""
    below = layer(("usr/lib", None), ("lib", "-> usr/lib"))
    unpack(store, below, layer(("lib/a.so", b"a")))
    root = store.folder("stacks") / DIGEST.hex
    assert (root / "usr/lib/a.so").read_text() == "a"
    assert (root / "lib").readlink() == Path("usr/lib")


def test_links_become_relative_and_stay_inside(store: Store, layer: MakeLayer) -> None:
    made = layer(
        ("usr/lib/libx.so.1.2", b"x"),
        ("lib/libx.so.1", "-> /usr/lib/libx.so.1.2"),
        ("lib/up.so", "-> ../../../../usr/lib/libx.so.1.2"),
        ("lib/out.so", "-> /etc/hostname"),
        ("lib/loop.so", "-> loop.so"),
        ("lib/hard.so", "== usr/lib/libx.so.1.2"),
        ("lib/hardout.so", "== etc/hostname"),
    )
    found = unpack(store, made)
    assert found == {
        "usr/lib/libx.so.1.2": "x",
        "lib/libx.so.1": "-> ../usr/lib/libx.so.1.2",
        "lib/up.so": "-> ../usr/lib/libx.so.1.2",
        "lib/hard.so": "x",
    }


def test_a_link_out_does_not_redirect_a_write(store: Store, layer: MakeLayer, tmp_path: Path) -> None:
    """The absolute target means the same path inside the image, as for a process that runs there."""
    victim = tmp_path / "victim"
    victim.mkdir()
    unpack(store, layer(("evil", f"-> {victim}"), ("evil/a.so", b"a")))
    assert list(victim.iterdir()) == []
    assert (store.folder("stacks") / DIGEST.hex / str(victim).lstrip("/") / "a.so").read_text() == "a"


@pytest.mark.parametrize("name", ["../a.so", "lib/../../a.so", "/lib/a.so"])
def test_a_name_that_leads_out_is_refused(store: Store, layer: MakeLayer, name: str) -> None:
    with pytest.raises(StackError) as caught:
        unpack(store, layer((name, b"a")))
    assert str(caught.value) == (
        "the stack base cannot be unpacked\n\n"
        f"A layer holds the name {name!r}, which leads out of the image.\n\n"
        "hint: the image is damaged or malicious: use another one."
    )
    assert not (store.folder("stacks") / DIGEST.hex).exists()
    assert list(store.folder("tmp").iterdir()) == []


def test_a_broken_archive_is_refused(store: Store) -> None:
    body = b"no tar at all" * 100
    made = Layer(digest=store.write(body), diff_id=DIGEST, size=len(body))
    with pytest.raises(StackError) as caught:
        unpack(store, made)
    assert str(caught.value).startswith("the stack base cannot be unpacked\n\nLayer 1 is not a readable archive: ")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory_is_refused(store: Store, kind: bytes) -> None:
    """A gigabyte of zeros takes a megabyte in a layer."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 1 << 30
    body = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(2 << 20), mtime=0)
    made = Layer(digest=store.write(body), diff_id=DIGEST, size=len(body), media_type=LAYER_GZIP)
    with pytest.raises(StackError) as caught:
        unpack(store, made)
    assert str(caught.value) == (
        "the stack base cannot be unpacked\n\n"
        "Layer 1 is not a readable archive: the extended header 'x' is 1073741824 bytes long.\n\n"
        "hint: the image is damaged or malicious: use another one."
    )


def test_zstd_is_refused_by_name(store: Store) -> None:
    body = b"\x28\xb5\x2f\xfd"
    made = Layer(digest=store.write(body), diff_id=DIGEST, size=4, media_type=LAYER_TAR + "+zstd")
    with pytest.raises(StackError, match="the stack base has layers compressed with zstd"):
        unpack(store, made)


def test_it_is_unpacked_once(store: Store, layer: MakeLayer) -> None:
    unpack(store, layer(("lib/a.so", b"a")))
    assert unpack(store) == {"lib/a.so": "a"}


@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "more", "executable", "link"])
def test_a_damaged_base_is_unpacked_again(store: Store, layer: MakeLayer, how: str) -> None:
    """A damaged interpreter would compile other byte code."""
    base = layer(("lib/a.so", b"library"), ("lib/b.so", "-> a.so"))
    right = unpack(store, base)
    root = unpacked(DIGEST, [base], store, stack="base")
    before = root.stat().st_ino
    keeps_its_number = os.open(root, os.O_RDONLY)
    assert unpacked(DIGEST, [base], store, stack="base").stat().st_ino == before, "what is whole is used as it is"
    match how:
        case "flipped":
            (root / "lib/a.so").write_bytes(b"librarz")
        case "cut":
            (root / "lib/a.so").write_bytes(b"lib")
        case "gone":
            (root / "lib/a.so").unlink()
        case "more":
            (root / "lib/c.so").write_bytes(b"library")
        case "executable":
            (root / "lib/a.so").chmod((root / "lib/a.so").stat().st_mode ^ 0o111)
        case "link":
            (root / "lib/b.so").unlink()
            (root / "lib/b.so").symlink_to("/etc/passwd")
    assert unpack(store, base) == right
    assert unpacked(DIGEST, [base], store, stack="base").stat().st_ino != before
    os.close(keeps_its_number)
    assert list(store.folder("tmp").iterdir()) == []
