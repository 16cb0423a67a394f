"""The packages of the operating system that own the stack's files, from a dpkg database made here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildpack.stacks.packages import SystemPackage, list_packages, parse_packages, read_packages, render_status

STATUS = """\
Package: libc6
Status: hold ok installed
Architecture: amd64
Multi-Arch: same
Source: glibc
Version: 2.36-9+deb12u8
Depends: libgcc-s1
Conffiles:
 /etc/ld.so.conf.d/x86_64-linux-gnu.conf d4e7
Description: GNU C Library: Shared libraries
 Package: not-a-package

Package: libc6
Status: install ok installed
Architecture: i386
Version: 2.36-9

Package: dash
Status: install ok installed
Architecture: amd64
Version: 0.5.12-2

Package: wrapper
Status: install ok installed
Architecture: all
Version: 1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: broken
Status: install ok installed
"""
LISTS = {
    "libc6:amd64": ["/.", "/lib", "/lib/x86_64-linux-gnu/libc.so.6"],
    "libc6:i386": ["/.", "/lib/i386-linux-gnu/libc.so.6"],
    "dash": ["/.", "/bin", "/bin/dash", "/bin/moved"],
    "wrapper": ["/.", "/bin/moved"],
    "gone": ["/bin/dash"],
}
RELEASE = 'PRETTY_NAME="Debian"\nID=debian\nVERSION_ID="12"\n'


@pytest.fixture
def database(tmp_path: Path) -> Path:
    (tmp_path / "info").mkdir()
    (tmp_path / "status").write_text(STATUS)
    for owner, paths in LISTS.items():
        (tmp_path / "info" / f"{owner}.list").write_text("".join(f"{path}\n" for path in paths))
    (tmp_path / "diversions").write_text("/bin/moved\n/bin/moved.distrib\nwrapper\n")
    (tmp_path / "doc" / "dash").mkdir(parents=True)
    (tmp_path / "doc" / "dash" / "copyright").write_text("Format: x\n\nLicense: BSD-3-clause\n")
    return tmp_path


def read(database: Path, *paths: str) -> tuple[SystemPackage, ...]:
    return read_packages(paths, database=database, documents=database / "doc")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", ["libc6"]),
        ("/lib/x86_64-linux-gnu/libc.so.6", ["libc6"]),
        ("/usr/bin/dash", ["dash"]),
        ("/usr/bin/moved", ["wrapper"]),
        ("/usr/bin/moved.distrib", ["dash"]),
        ("/usr/bin/unknown", []),
    ],
)
def test_a_real_path_finds_its_package(path: str, names: list[str], database: Path) -> None:
    assert [package.fields["Package"] for package in read(database, path)] == names


def test_dpkg_reads_the_status(database: Path, tmp_path: Path) -> None:
    files = ["/usr/bin/dash", "/usr/lib/x86_64-linux-gnu/libc.so.6"]
    packages = read(database, *files)
    listed = list_packages(packages, RELEASE)
    assert listed == "debian/12 dash:amd64=0.5.12-2;BSD-3-clause libc6:amd64=2.36-9+deb12u8"
    assert parse_packages(listed) == {
        "pkg:deb/debian/dash@0.5.12-2?arch=amd64&distro=debian-12": ("BSD-3-clause",),
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u8?arch=amd64&distro=debian-12": (),
    }
    root = tmp_path / "image"
    root.mkdir()
    (root / "status").write_bytes(render_status(packages))
    shown = "--showformat=${Package} ${Architecture} ${Version} ${source:Package} ${db:Status-Status}\n"
    command = ["dpkg-query", f"--admindir={root}", shown, "-W"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == (
        "dash amd64 0.5.12-2 dash installed\nlibc6 amd64 2.36-9+deb12u8 glibc installed\n"
    )


def test_a_machine_without_dpkg_has_none(tmp_path: Path) -> None:
    assert read(tmp_path / "absent", "/usr/bin/dash") == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"", ()),
        (
            b"Format: x\nLicense: GPL-2+\n Free\nFiles: *\nLicense: Expat, Zlib or BSD-3-clause\n",
            (4, "BSD-3-clause"),
        ),
        (b"Format: x\nLicense: GPL-2+ with OpenSSL exception and MIT/X11\nLicense:\n LGPL-2\n", (1, "GPL-2+")),
        (b"See /usr/share/common-licenses/LGPL-2.1.\nAnd `/usr/share/common-licenses/GPL-2'.\n", (2, "GPL-2")),
        (b"License: MIT\n", ()),
        (b"Format: x\n" + b"".join(b"License: L%d\n" % number for number in range(99)), (30, "L0")),
        (b"Format: x\nLicense: \xff\x1b[2J;,x\n", (1, "x")),
    ],
)
def test_a_copyright_file_names_licences(text: bytes, names: tuple[object, ...]) -> None:
    found = SystemPackage(fields={}, copyright=text).licences
    assert (len(found), *found[:1]) == (names or (0,))
