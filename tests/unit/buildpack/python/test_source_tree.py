"""Sources from hostile or careless people: an archive or a local project is taken whole and inside, or refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from buildpack.app.links import OutsideError
from buildpack.errors import DependencyError
from buildpack.oci import compression
from buildpack.python import source_tree
from buildpack.python.source_tree import MOST_BYTES, copy_sources, digest_sources, unpack

HINT = "\n\nhint: lock another version (`deploy lock`), and tell the package's authors."


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def write(folder: Path, content: bytes, name: str = "a-1.tar.gz") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    return path


def refused(path: Path, folder: Path) -> str:
    with pytest.raises(DependencyError) as caught:
        unpack(path, folder / "inside", "a")
    assert outside(folder, path) == []
    message = str(caught.value)
    begin = f"{path.name} cannot be unpacked\n\nIt is the locked archive of a, and "
    assert message.startswith(begin)
    assert message.endswith(HINT)
    return message.removeprefix(begin).removesuffix(HINT)


def outside(folder: Path, *known: Path) -> list[str]:
    """Return the names beside the archive and the folder to which it was unpacked."""
    return sorted(path.name for path in folder.iterdir() if path.name != "inside" and path not in known)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Archives that are unpacked


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a-1.tar", bytes),
        ("a-1.tar.gz", gzip.compress),
        ("a-1.tgz", lambda content: gzip.compress(content[:700]) + bytes(512) + gzip.compress(content[700:])),
        ("a-1.tar.bz2", lambda content: bz2.compress(content[:700]) + bz2.compress(content[700:])),
        ("a-1.tar.xz", lzma.compress),
    ],
)
def test_every_compression_is_read(tmp_path, name, pack):
    body = os.urandom(1 << 20) + bytes(2 << 20)
    content = tar(
        [(member("a-1/big"), body), (member("a-1/run", mode=0o750), b"x"), (member("a-1/no", mode=0o644), b"")]
    )
    (tmp_path / name).write_bytes(pack(content))
    unpack(tmp_path / name, tmp_path / "inside", "a")
    assert files(tmp_path / "inside") == {"a-1/big": body, "a-1/run": b"x", "a-1/no": b""}
    assert outside(tmp_path, tmp_path / name) == []
    assert [stat.S_IMODE((tmp_path / "inside/a-1" / each).stat().st_mode) for each in ("run", "no")] == [0o755, 0o644]


def test_links_inside_are_kept_and_the_last_of_two_names_counts(tmp_path):
    content = tar(
        [
            (member("a-1/one"), b"first"),
            (member("./a-1//one"), b"second"),
            (member("a-1/hard", tarfile.LNKTYPE, "a-1/one"), b""),
            (member("a-1/deep/soft", tarfile.SYMTYPE, "../one"), b""),
            (member("a-1/loop", tarfile.SYMTYPE, "loop"), b""),
            (member("a-1/setuid", mode=0o6777, uid=0, uname="root"), b"x"),
        ]
    )
    unpack(write(tmp_path, content), tmp_path / "inside", "a")
    inside = tmp_path / "inside/a-1"
    assert [(inside / name).read_bytes() for name in ("one", "hard", "deep/soft")] == [b"second"] * 3
    assert stat.S_IMODE((inside / "setuid").stat().st_mode) == 0o755


def test_a_zip_with_names_that_only_look_dangerous(tmp_path):
    with zipfile.ZipFile(tmp_path / "a-1.zip", "w") as archive:
        archive.writestr("a-1/..hidden", b"x")
        archive.writestr("a-1/b\\..\\c", b"y")
        archive.writestr("a-1/sub/../up", b"z")
    unpack(tmp_path / "a-1.zip", tmp_path / "inside", "a")
    assert files(tmp_path / "inside") == {"a-1/..hidden": b"x", "a-1/b\\..\\c": b"y", "a-1/up": b"z"}


# Paths that lead out

LEADS_OUT = {
    "a name": [member("../evil")],
    "a name below": [member("a-1/../../evil")],
    "an absolute name": [member("/tmp/deploy-test-evil")],
    "a link": [member("a-1/link", tarfile.SYMTYPE, "../../evil")],
    "an absolute link": [member("a-1/link", tarfile.SYMTYPE, "/etc")],
    # By its words the second stays inside; by way of the first it does not.
    "a link through a link": [
        member("a-1/d/up", tarfile.SYMTYPE, ".."),
        member("out", tarfile.SYMTYPE, "a-1/d/up/../.."),
    ],
}


@pytest.mark.parametrize("members", LEADS_OUT.values(), ids=list(LEADS_OUT))
def test_a_member_that_leads_out_is_refused(tmp_path, members):
    told = refused(write(tmp_path, tar((each, b"") for each in members)), tmp_path)
    assert told == f"it reaches outside its folder with {members[-1].name!r}."


@pytest.mark.parametrize("target", ["../evil", "/etc/passwd"])
def test_a_hard_link_that_leads_out(tmp_path, target):
    content = tar([(member("a-1/hard", tarfile.LNKTYPE, target), b"")])
    assert refused(write(tmp_path, content), tmp_path) == f"it reaches outside its folder with {target!r}."


@pytest.mark.parametrize("target", ["soft", "hard", "nothing"])
def test_a_hard_link_to_a_link_to_itself_or_to_nothing(tmp_path, target):
    links = [member("soft", tarfile.SYMTYPE, "x"), member("hard", tarfile.LNKTYPE, target)]
    content = tar((each, b"") for each in links)
    assert refused(write(tmp_path, content), tmp_path) == "its link 'hard' leads to none of its files."


@pytest.mark.parametrize("below", [member("out/evil"), member("out/evil", tarfile.SYMTYPE, "x")])
@pytest.mark.parametrize("target", [".", "..", "/tmp"])
def test_nothing_is_written_through_a_link(tmp_path, target, below):
    through = [member("out", tarfile.SYMTYPE, target), below]
    refusal = refused(write(tmp_path, tar((each, b"") for each in through)), tmp_path)
    assert refusal == "it holds a name that cannot be created here (File exists)."


def test_a_file_that_is_a_folder_as_well(tmp_path):
    with zipfile.ZipFile(tmp_path / "a-1.zip", "w") as archive:
        archive.writestr("a-1/x", b"")
        archive.writestr("a-1/x/y", b"")
    refusal = refused(tmp_path / "a-1.zip", tmp_path)
    assert refusal == "it holds a name that cannot be created here (File exists)."


@pytest.mark.parametrize("name", ["../evil", "a-1/../../evil", "/evil"])
def test_a_zip_that_leads_out(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a-1.zip", "w") as archive:
        archive.writestr(name, b"")
    assert refused(tmp_path / "a-1.zip", tmp_path) == f"it reaches outside its folder with {name!r}."


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes(tmp_path, kind):
    told = refused(write(tmp_path, tar([(member("a-1/dev", kind), b"")])), tmp_path)
    assert told == "it holds 'a-1/dev', which is neither file nor folder."


def test_a_name_that_no_file_can_have(tmp_path):
    told = refused(write(tmp_path, tar([(member("a-1/" + "x" * 300), b"")])), tmp_path)
    assert told == "it holds a name that cannot be created here (File name too long)."


def test_folders_in_folders_in_folders(tmp_path):
    told = refused(write(tmp_path, tar([(member("d/" * 5000 + "x"), b"")])), tmp_path)
    assert told == "its folders nest more than 100 deep."


# Limits


def test_a_bomb_of_zeros(tmp_path, monkeypatch):
    monkeypatch.setattr(source_tree, "RATIO_FROM", 8 << 20)
    path = write(tmp_path, tar([(member("a-1/zeros"), bytes(32 << 20))]))
    told = refused(path, tmp_path)
    assert told.startswith(f"its {path.stat().st_size:,} bytes unpack to ")
    assert told.endswith(" or more, as only a bomb does.")


def test_a_bomb_of_a_bomb_takes_no_more_room_than_its_limit(tmp_path, monkeypatch):
    """It has a thousand times its size, and bytes beyond the limit are never written."""
    monkeypatch.setattr(source_tree, "LARGEST", 16 << 20)
    packed = zlib.compressobj(9, wbits=31)
    body = b"".join(packed.compress(bytes(1 << 20)) for _ in range(64)) + packed.flush()
    (tmp_path / "a-1.tar.gz").write_bytes(body)
    monkeypatch.setattr(source_tree, "RATIO_FROM", 1 << 40)
    assert refused(tmp_path / "a-1.tar.gz", tmp_path) == "its content is larger than 0 GB."


def test_a_zip_with_wrong_sizes(tmp_path):
    with zipfile.ZipFile(tmp_path / "a-1.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a-1/x", bytes(1 << 20))
    body = bytearray((tmp_path / "a-1.zip").read_bytes())
    body[body.index(b"PK\1\2") + 24 : body.index(b"PK\1\2") + 28] = (10).to_bytes(4, "little")
    (tmp_path / "a-1.zip").write_bytes(body)
    assert refused(tmp_path / "a-1.zip", tmp_path) == "it is damaged, or reaches outside its folder."
    assert sum(path.stat().st_size for path in (tmp_path / "inside").rglob("x")) <= 10


def test_a_sparse_file_of_any_size(tmp_path):
    """A header of GNU's old format gives five gigabytes of zeros in a few bytes."""
    header = bytearray(member("a-1/sparse").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[483:495] = b"%011o\0" % (5 << 30)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    told = refused(write(tmp_path, bytes(header) + bytes(1024)), tmp_path)
    assert told == "it holds 'a-1/sparse', which is neither file nor folder."


def test_an_extended_header_of_any_size(tmp_path):
    info = member("a-1/x", tarfile.XHDTYPE)
    info.size = 64 << 20
    content = info.tobuf(tarfile.USTAR_FORMAT) + bytes(64 << 20)
    assert refused(write(tmp_path, content), tmp_path) == "it is damaged, or reaches outside its folder."


def test_extended_headers_without_end(tmp_path):
    info = member("a-1/x", tarfile.XHDTYPE)
    info.size = 512
    content = (info.tobuf(tarfile.USTAR_FORMAT) + b"13 path=evil\n".ljust(512, b"\0")) * 5000
    assert refused(write(tmp_path, content), tmp_path) == "it is damaged, or reaches outside its folder."


def test_more_files_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(source_tree, "MAX_MEMBERS", 50)
    content = tar((member(f"a-1/{number}"), b"") for number in range(60))
    assert refused(write(tmp_path, content), tmp_path) == "it holds more than 50 files."


def test_thousands_of_tiny_streams(tmp_path):
    """Each stream could copy the rest of all others."""
    (tmp_path / "a-1.tar.gz").write_bytes(gzip.compress(b"", 1) * 200_000)
    assert refused(tmp_path / "a-1.tar.gz", tmp_path) == "it is damaged, or reaches outside its folder."


def test_an_xz_that_wants_all_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(compression, "_MAX_DICTIONARY", 4 << 20)
    (tmp_path / "a-1.tar.xz").write_bytes(lzma.compress(tar([(member("a-1/x"), b"x")]), preset=6))
    assert refused(tmp_path / "a-1.tar.xz", tmp_path) == "it is damaged, or reaches outside its folder."


# Damage


@pytest.mark.parametrize("name", ["a-1.tar.gz", "a-1.tar.bz2", "a-1.tar.xz", "a-1.zip", "a-1.tar"])
@pytest.mark.parametrize("how", ["cut", "flipped", "empty"])
def test_damage(tmp_path, name, how):
    content = tar([(member("a-1/x"), os.urandom(5000))])
    pack = {"gz": gzip.compress, "z2": bz2.compress, "xz": lzma.compress, "ar": bytes}.get(name[-2:])
    if pack is None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("a-1/x", os.urandom(5000))
        whole = out.getvalue()
    else:
        whole = pack(content)
    at = len(whole) // 3 if name != "a-1.tar" else 5
    damaged = {
        "cut": whole[: len(whole) // 3],
        "flipped": whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
        "empty": b"",
    }
    (tmp_path / name).write_bytes(damaged[how])
    assert refused(tmp_path / name, tmp_path) == "it is damaged, or reaches outside its folder."


# Local projects


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project/inner").mkdir(parents=True)
    (tmp_path / "project/code.py").write_text("x = 1\n")
    (tmp_path / "secret").write_text("hunter2")
    return tmp_path / "project"


@pytest.mark.parametrize("target", ["../../secret", "/etc/passwd", "{tmp}/secret"])
def test_a_link_that_leaves_the_project_is_refused(project: Path, tmp_path: Path, target: str) -> None:
    (project / "inner/data.txt").symlink_to(target.format(tmp=tmp_path))
    for read in (digest_sources, lambda source: copy_sources(source, tmp_path / "copy")):
        with pytest.raises(OutsideError):
            read(project)
    assert not (tmp_path / "copy/inner/data.txt").exists()


def test_links_inside_are_files_and_pipes_are_left_out(project: Path, tmp_path: Path) -> None:
    (project / "inner/data.py").symlink_to("../code.py")
    os.mkfifo(project / "pipe")
    (project / "zero").symlink_to("/dev/zero")

    copy_sources(project, tmp_path / "copy")

    copied = [path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*")]
    assert sorted(copied) == ["code.py", "inner", "inner/data.py"]
    assert not (tmp_path / "copy/inner/data.py").is_symlink()


def test_a_project_beyond_the_bound_is_refused(project: Path) -> None:
    with (project / "data").open("wb") as out:
        out.truncate(MOST_BYTES)
    with pytest.raises(DependencyError) as caught:
        digest_sources(project)
    assert str(caught.value) == (
        f"{project} is too large for a local package\n\n"
        "A local package may have at most 1,073,741,824 bytes in 100,000 files.\n\n"
        "hint: check which folder the path in Pipfile names; data belongs outside the package."
    )


def make_project(folder: Path) -> Path:
    (folder / "pkg").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("[project]")
    (folder / "pkg/__init__.py").write_text("x = 1")
    (folder / "run.sh").write_text("#!/bin/sh")
    (folder / "run.sh").chmod(0o755)
    return folder


def test_local_sources_are_known_by_their_content_alone(tmp_path: Path) -> None:
    one, other = make_project(tmp_path / "one"), make_project(tmp_path / "other")
    os.utime(other / "run.sh", (1, 1))
    (other / "pkg/__init__.py").chmod(0o600)
    for left_out in (
        ".git/config",
        ".env",
        ".venv/bin/python",
        "env/pyvenv.cfg",
        "pkg/__pycache__/x.pyc",
        "build/lib.py",
        "a.egg-info/PKG",
    ):
        (other / left_out).parent.mkdir(parents=True, exist_ok=True)
        (other / left_out).write_text("hunter2")

    assert digest_sources(one) == digest_sources(other)
    copy_sources(other, tmp_path / "copy")
    assert sorted(path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*")) == [
        "pkg",
        "pkg/__init__.py",
        "pyproject.toml",
        "run.sh",
    ]
    assert (tmp_path / "copy/run.sh").stat().st_mode & 0o777 == 0o755

    (other / "pkg/build").mkdir()
    (other / "pkg/build/__init__.py").write_text("a package called build counts")
    before = digest_sources(other)
    assert before != digest_sources(one)
    (other / "pkg/env").mkdir()
    (other / "pkg/env/__init__.py").write_text("nor is this an environment")
    assert digest_sources(other) != before

    before = digest_sources(one)
    (one / "run.sh").chmod(0o644)
    assert digest_sources(one) != before
    (other / "pkg/__init__.py").write_text("x = 2")
    assert digest_sources(other) != before
