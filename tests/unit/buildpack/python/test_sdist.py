"""The steps around a build: unpacking, copying, and reading why it failed."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from buildpack.app.lockfile import LockedPackage
from buildpack.errors import DependencyError
from buildpack.python import sdist
from buildpack.python.build_failure import missing_parts, remedies, telling_lines
from buildpack.python.source_tree import copy_sources, digest_sources, unpack
from buildpack.steps import grafting


@pytest.mark.parametrize(
    ("output", "missing"),
    [
        (
            "psycopg/psycopg.h:35:10: fatal error: libpq-fe.h: No such file or directory",
            ["the header libpq-fe.h, of PostgreSQL's client library (libpq-dev)"],
        ),
        (
            "x.c:1:10: fatal error: 'Python.h' file not found",
            ["the header Python.h, of Python's own headers (python3-dev)"],
        ),
        ("x.c:1:10: fatal error: own/thing.h: No such file or directory", ["the header own/thing.h"]),
        ("Error: pg_config executable not found.", ["pg_config, of libpq-dev"]),
        ("/bin/sh: 1: mysql_config: not found", ["mysql_config, of default-libmysqlclient-dev"]),
        (
            "error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory",
            ["a C compiler (x86_64-linux-gnu-gcc; on Debian, build-essential)"],
        ),
        ("unable to execute 'gcc': No such file or directory", ["a C compiler (gcc; on Debian, build-essential)"]),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '/usr/bin/cc'",
            ["a C compiler (cc; on Debian, build-essential)"],
        ),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'README.md'", []),
        ("error: can't find Rust compiler", ["a Rust compiler (rustc and cargo)"]),
        ("Cargo, the Rust package manager, is not installed or is not on PATH.", ["a Rust compiler (rustc and cargo)"]),
        ("/usr/bin/ld: cannot find -lssl: No such file or directory", ["the library ssl"]),
        ("No package 'libffi' found", ["the library libffi"]),
        ("Package libxml-2.0 was not found in the pkg-config search path.", ["the library libxml-2.0"]),
        (
            "ModuleNotFoundError: No module named 'numpy.distutils'",
            ["the Python module numpy, which the package does not declare for its build"],
        ),
        ("make: cmake: command not found\nmake: cmake: command not found", ["cmake"]),
        ("error: subprocess-exited-with-error", []),
    ],
)
def test_what_a_build_lacked(output: str, missing: list[str]) -> None:
    assert missing_parts(f"running build_ext\n{output}\nerror: failed") == missing


def test_the_lines_that_are_shown() -> None:
    few = [f"line {number}" for number in range(15)]
    assert telling_lines("\n\n".join(few)) == few
    assert telling_lines("\n".join(few * 3)) == few


@pytest.mark.parametrize(
    "error",
    [
        "x.c:1:10: fatal error: jpeglib.h: No such file or directory",
        "src/x.c:3:5: error: unknown type name 'Py_UNICODE'",
        "error[E0433]: failed to resolve: use of undeclared crate",
        "CMake Error at CMakeLists.txt:3 (find_package):",
        "x.o: undefined reference to `jpeg_start'",
        "configure: error: no acceptable C compiler found",
        "RuntimeError: Cannot install on Python version 3.12",
        "setuptools.errors.PlatformError: no",
    ],
)
def test_the_first_error_is_shown_with_the_lines_around_it(error: str) -> None:
    before, after = [f"-Werror before {n}" for n in range(50)], [f"after {n}" for n in range(50)]
    lines = telling_lines("\n".join([*before, error, *after, "error: command 'gcc' failed"]))
    assert lines == [*before[-3:], error, *after[:5], "...", *after[-4:], "error: command 'gcc' failed"]


def test_an_error_near_the_end_is_shown_with_all_that_follows() -> None:
    before = [f"before {n}" for n in range(50)]
    assert telling_lines("\n".join([*before, "x.c:1:2: error: no", "end"])) == [
        *before[-3:], "x.c:1:2: error: no", "end",
    ]  # fmt: skip


def tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_tar_and_zip_are_unpacked(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "a-1.tar.gz",
        [(member("a-1/setup.py"), b"x"), (member("a-1/docs/link", tarfile.SYMTYPE, "../setup.py"), b"")],
    )
    with zipfile.ZipFile(tmp_path / "b-1.zip", "w") as opened:
        opened.writestr("b-1/setup.py", "y")

    unpack(archive, tmp_path / "a", "a")
    unpack(tmp_path / "b-1.zip", tmp_path / "b", "b")

    assert (tmp_path / "a/a-1/docs/link").read_bytes() == b"x"
    assert (tmp_path / "b/b-1/setup.py").read_bytes() == b"y"


@pytest.mark.parametrize(
    "bad",
    [
        member("../../evil"),
        member("/etc/evil"),
        member("a-1/../../evil"),
        member("a-1/link", tarfile.SYMTYPE, "../../../etc"),
        member("a-1/link", tarfile.SYMTYPE, "/etc"),
    ],
    ids=lambda info: f"{info.name} {info.linkname}",
)
def test_an_archive_that_reaches_outside(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    archive = tar(tmp_path / "a-1.tar.gz", [(bad, b"")])

    with pytest.raises(DependencyError) as error:
        unpack(archive, tmp_path / "inside", "a")

    assert str(error.value) == (
        "a-1.tar.gz cannot be unpacked\n\n"
        f"It is the locked archive of a, and it reaches outside its folder with {bad.name!r}.\n\n"
        "hint: lock another version (`deploy lock`), and tell the package's authors."
    )
    assert not list(tmp_path.rglob("evil"))


def test_devices_and_damage(tmp_path: Path) -> None:
    device = tar(tmp_path / "a-1.tar.gz", [(member("a-1/null", tarfile.CHRTYPE), b"")])
    with pytest.raises(DependencyError, match="cannot be unpacked") as error:
        unpack(device, tmp_path / "x", "a")
    assert "it holds 'a-1/null', which is neither file nor folder" in str(error.value)
    for name in ("b-1.tar.gz", "b-1.zip"):
        (tmp_path / name).write_bytes(b"no archive")
        with pytest.raises(DependencyError) as error:
            unpack(tmp_path / name, tmp_path / "y", "b")
        assert "it is damaged, or reaches outside its folder" in str(error.value)


def project(folder: Path) -> Path:
    (folder / "pkg").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("[project]")
    (folder / "pkg/__init__.py").write_text("x = 1")
    (folder / "run.sh").write_text("#!/bin/sh")
    (folder / "run.sh").chmod(0o755)
    return folder


def test_local_sources_are_known_by_their_content_alone(tmp_path: Path) -> None:
    one, other = project(tmp_path / "one"), project(tmp_path / "other")
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


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        (
            "LookupError: setuptools-scm was unable to detect version for /build.",
            "name its version with `--build-env SETUPTOOLS_SCM_PRETEND_VERSION_FOR_SOME_THING=VERSION`",
        ),
        (
            "Exception: Versioning for this project requires either an sdist tarball, or access to git.",
            "name its version with `--build-env PBR_VERSION=VERSION`",
        ),
        (
            "ModuleNotFoundError: No module named 'pkg_resources'",
            "build it with an older setuptools: write `setuptools<81` to a file, and set PIP_CONSTRAINT to its path",
        ),
    ],
)
def test_what_can_be_set_for_a_build(output: str, remedy: str) -> None:
    assert remedies(output, "some-thing") == [remedy]
    assert remedies("error: failed", "some-thing") == []


@pytest.mark.parametrize("umask", [0, 0o777])
def test_modes_of_wheels_that_are_built_here_do_not_depend_on_the_umask(umask: int, tmp_path: Path) -> None:
    (tmp_path / "new.whl").write_bytes(b"grafted")
    for name in ("wheels", "grafted"):
        (tmp_path / name).mkdir()
    previous = os.umask(umask)
    try:
        with (tmp_path / "new.whl").open("rb") as built:
            package = LockedPackage(name="alpha", version="1.0")
            wheel = sdist._stored(package, "alpha-1.0-py3-none-any.whl", built, tmp_path / "wheels")
        grafting._stored(wheel, tmp_path / "new.whl", tmp_path / "grafted")
    finally:
        os.umask(previous)
    found = [path for name in ("wheels", "grafted") for path in (tmp_path / name).glob("*/*")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in found] == [0o644] * 2
    assert [stat.S_IMODE(path.parent.stat().st_mode) for path in found] == [0o755] * 2
