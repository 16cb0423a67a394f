from __future__ import annotations

from pathlib import Path

import pytest

from buildpack.errors import StackError
from buildpack.oci.digest import sha256
from buildpack.oci.image import Platform
from buildpack.stacks.facts import find_library_folders, glibc_version, musl_version, python_version, read_facts
from buildpack.stacks.stack import Facts, Stack
from tests.support.elf import make_elf

GLIBC = b"\0GNU C Library (Debian GLIBC 2.36-9+deb12u10) stable release version 2.36.\nCopyright"
CONFIG = {"Env": ["PATH=/usr/local/bin:/usr/bin"]}


def put(root: Path, path: str, body: bytes = b"") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(body)


def debian(root: Path) -> Path:
    put(root, "usr/local/bin/python3.12", make_elf(interpreter="/lib64/ld-linux-x86-64.so.2"))
    (root / "usr/local/bin/python3").symlink_to("python3.12")
    put(root, "usr/local/lib/libpython3.12.so.1.0", b"Python\x003.12.\x00/src/3.12.4\x00")
    put(root, "lib/x86_64-linux-gnu/libc.so.6", GLIBC)
    put(root, "usr/lib/x86_64-linux-gnu/libssl.so.3")
    put(root, "usr/lib/x86_64-linux-gnu/notes.txt")
    put(root, "usr/lib/elsewhere/libhidden.so.1")
    put(root, "opt/here/libmine.so.1")
    put(root, "etc/ld.so.conf.d/mine.conf", b"# mine\n/opt/here\n")
    put(root, "etc/passwd", b"root:x:0:0:root:/root:/bin/bash\n")
    return root


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        ("python:3.12-slim", "docker.io/library/python:3.12-slim"),
        ("python", "docker.io/library/python:latest"),
        (f"ghcr.io/me/base:1@sha256:{'a' * 64}", "ghcr.io/me/base:1"),
        (f"ghcr.io/me/base@sha256:{'a' * 64}", ""),
        ("host", ""),
        ("oci:/home/me/base", ""),
        ("archive:/home/me/base.tar", ""),
    ],
)
def test_the_name_of_a_base(stack: str, name: str, tmp_path: Path) -> None:
    facts = read_facts(debian(tmp_path), CONFIG, stack="base")
    found = Stack(
        name=stack, reference=stack, digest=sha256(b""), platform=Platform(), layers=(), config={}, facts=facts
    )
    assert found.base_name == name


def test_the_facts_of_a_base(tmp_path: Path) -> None:
    found = read_facts(debian(tmp_path), CONFIG, stack="base")
    assert found.python.version == "3.12.4"
    assert found.python.executable == "/usr/local/bin/python3.12"
    assert found.python.cache_tag == "cpython-312"
    assert found.libc == ("glibc", 2, 36)
    assert found.machine == "x86_64"
    assert found.sonames == {"libpython3.12.so.1.0", "libc.so.6", "libssl.so.3", "libmine.so.1"}
    assert found.passwd == "root:x:0:0:root:/root:/bin/bash\n"
    assert found.group is None
    assert Facts.parse(found.render()) == found


def test_musl(tmp_path: Path) -> None:
    put(tmp_path, "usr/bin/python3.11", make_elf(interpreter="/lib/ld-musl-x86_64.so.1", extra=b"\x003.11.9\x00"))
    (tmp_path / "usr/bin/python3").symlink_to("python3.11")
    put(tmp_path, "lib/ld-musl-x86_64.so.1", b"musl libc (x86_64)\n\x001.2.5\x00")
    assert read_facts(tmp_path, {}, stack="base").libc == ("musl", 1, 2)


def test_folders_are_named_once(tmp_path: Path) -> None:
    (tmp_path / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    assert list(find_library_folders(tmp_path)) == ["usr/lib/x86_64-linux-gnu", "lib"]


def test_a_base_without_python(tmp_path: Path) -> None:
    put(tmp_path, "lib/libc.so.6", GLIBC)
    with pytest.raises(StackError) as caught:
        read_facts(tmp_path, CONFIG, stack="debian:12")
    assert str(caught.value) == (
        "the stack debian:12 has no Python\n\n"
        "The folders of its PATH, /usr/local/bin and /usr/bin have no python3.\n\n"
        "hint: a stack needs CPython 3.10 or later: `--stack python:3.12-slim`, or an image of your own made FROM one."
    )


@pytest.mark.parametrize("name", ["pypy3.10", "python3.9"])
def test_a_base_with_another_python(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"usr/bin/{name}", make_elf(extra=b"\x003.9.2\x00"))
    (tmp_path / "usr/bin/python3").symlink_to(name)
    put(tmp_path, "lib/libc.so.6", GLIBC)
    with pytest.raises(StackError) as caught:
        read_facts(tmp_path, {}, stack="base")
    assert str(caught.value) == (
        "the stack base has a Python that cannot be identified\n\n"
        f"/usr/bin/{name} does not contain a version of CPython 3.10 or later.\n\n"
        "hint: a stack needs CPython 3.10 or later: `--stack python:3.12-slim`, or an image of your own made FROM one."
    )


def test_a_base_without_a_known_libc(tmp_path: Path) -> None:
    put(tmp_path, "usr/bin/python3.11", make_elf(extra=b"\x003.11.9\x00"))
    (tmp_path / "usr/bin/python3").symlink_to("python3.11")
    with pytest.raises(StackError, match="the stack base has no C library that wheels are made for"):
        read_facts(tmp_path, {}, stack="base")


@pytest.mark.parametrize(
    ("body", "version"),
    [(b"\x003.11.7\x00", "3.11.7"), (b"\x003.11.0rc2\x00", "3.11.0rc2"), (b"\x003.11.2+\x00", "3.11.2"),
     (b"/versions/3.11.7\x00", "3.11.7"), (b"\x0013.11.7\x00", None), (b"\x003.12.7\x00", None), (b"3.11.\x00", None)],
)  # fmt: skip
def test_the_version_in_an_interpreter(body: bytes, version: str | None) -> None:
    assert python_version(body, "3.11") == version


def test_versions_of_libc() -> None:
    assert glibc_version(GLIBC) == ("glibc", 2, 36)
    assert glibc_version(b"GNU C Library (Ubuntu GLIBC 2.31-0ubuntu9) stable release version 2.31.") == ("glibc", 2, 31)
    assert glibc_version(b"") is None
    assert musl_version(b"") is None


@pytest.mark.parametrize("rendered", [None, {}, {"libc": ["glibc", "x", "y"]}, [], "text"])
def test_damaged_facts_are_none(rendered: object) -> None:
    assert Facts.parse(rendered) is None
