"""The packages of the operating system that own the stack's files, from a dpkg database made here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildpack.stacks.packages import list_packages, package_urls, read_packages, render_status

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
    return tmp_path


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
    assert [package.fields["Package"] for package in read_packages([path], database=database)] == names


def test_dpkg_reads_the_status(database: Path, tmp_path: Path) -> None:
    files = ["/usr/bin/dash", "/usr/lib/x86_64-linux-gnu/libc.so.6"]
    packages = read_packages(files, database=database)
    assert list_packages(packages, RELEASE) == "debian/12 dash:amd64=0.5.12-2 libc6:amd64=2.36-9+deb12u8"
    assert package_urls(list_packages(packages, RELEASE)) == (
        "pkg:deb/debian/dash@0.5.12-2?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u8?arch=amd64&distro=debian-12",
    )
    root = tmp_path / "image"
    root.mkdir()
    (root / "status").write_bytes(render_status(packages))
    shown = "--showformat=${Package} ${Architecture} ${Version} ${source:Package} ${db:Status-Status}\n"
    command = ["dpkg-query", f"--admindir={root}", shown, "-W"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == (
        "dash amd64 0.5.12-2 dash installed\nlibc6 amd64 2.36-9+deb12u8 glibc installed\n"
    )


def test_a_machine_without_dpkg_has_none(tmp_path: Path) -> None:
    assert read_packages(["/usr/bin/dash"], database=tmp_path / "absent") == ()
