from __future__ import annotations

import platform
import sys

import pytest
from packaging import markers, tags

from buildpack.python.target import Target, _platforms

BOOKWORM = Target(version="3.11.7", machine="x86_64", libc=("glibc", 2, 36))
ALPINE = Target(version="3.12.1", machine="aarch64", libc=("musl", 1, 2))


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="compares with a glibc Linux")
def test_here_it_agrees_with_packaging_about_this_very_interpreter() -> None:
    major, minor = platform.libc_ver()[1].split(".")[:2]
    here = Target(version=platform.python_version(), machine=platform.machine(), libc=("glibc", int(major), int(minor)))

    assert list(here.tags) == [str(tag) for tag in tags.sys_tags()]
    # A stack does not decide the kernel's values.
    kernel = ("platform_release", "platform_version")
    expected = {name: value for name, value in markers.default_environment().items() if name not in kernel}
    assert {name: value for name, value in here.environment.items() if name not in kernel} == expected


def test_glibc_comes_with_all_older_names() -> None:
    platforms = list(dict.fromkeys(tag.split("-")[2] for tag in BOOKWORM.tags))

    assert platforms[:3] == ["linux_x86_64", "manylinux_2_36_x86_64", "manylinux_2_35_x86_64"]
    at = platforms.index("manylinux_2_17_x86_64")
    assert platforms[at + 1] == "manylinux2014_x86_64"
    assert platforms[-3:] == ["manylinux_2_5_x86_64", "manylinux1_x86_64", "any"]
    assert not [each for each in platforms if each.startswith("musllinux")]


def test_other_machines_start_at_glibc_2_17() -> None:
    arm = Target(version="3.11.7", machine="aarch64", libc=("glibc", 2, 36))

    platforms = [tag.split("-")[2] for tag in arm.tags if tag.startswith("cp311-cp311-")]

    assert platforms[-2:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64"]


def test_musl_takes_no_manylinux() -> None:
    platforms = [tag.split("-")[2] for tag in ALPINE.tags if tag.startswith("cp312-cp312-")]

    assert platforms == ["linux_aarch64", "musllinux_1_2_aarch64", "musllinux_1_1_aarch64", "musllinux_1_0_aarch64"]


def test_the_best_tag_is_first_and_pure_python_last() -> None:
    assert BOOKWORM.tags[0] == "cp311-cp311-linux_x86_64"
    assert BOOKWORM.tags[-1] == "py30-none-any"
    for earlier, later in [
        ("cp311-cp311-manylinux_2_28_x86_64", "cp311-cp311-manylinux2014_x86_64"),
        ("cp311-cp311-manylinux2014_x86_64", "cp311-abi3-manylinux_2_28_x86_64"),
        ("cp311-abi3-manylinux_2_28_x86_64", "cp37-abi3-manylinux_2_28_x86_64"),
        ("cp37-abi3-manylinux_2_28_x86_64", "py3-none-manylinux_2_28_x86_64"),
        ("py3-none-manylinux_2_28_x86_64", "py3-none-any"),
    ]:
        assert BOOKWORM.tags.index(earlier) < BOOKWORM.tags.index(later)


def test_markers_see_the_stack() -> None:
    assert BOOKWORM.environment["python_full_version"] == "3.11.7"
    assert BOOKWORM.environment["python_version"] == "3.11"
    assert ALPINE.environment["platform_machine"] == "aarch64"
    assert str(ALPINE) == "CPython 3.12.1 on aarch64 with musl 1.2"
    assert ALPINE.key == "cpython-3.12.1-linux-aarch64-musl-1.2"


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("libc", [("glibc", 2, 17), ("glibc", 2, 41), ("musl", 1, 2)])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "armv8l"])
def test_tags_are_those_of_packaging(python: str, libc: tuple[str, int, int], machine: str) -> None:
    target = Target(version=f"{python}.1", machine=machine, libc=libc)
    version, own = tuple(map(int, python.split("."))), f"cp{python.replace('.', '')}"
    platforms = list(_platforms(machine, libc))
    expected = [*tags.cpython_tags(version, [own], platforms), *tags.compatible_tags(version, own, platforms)]
    assert list(target.tags) == list(dict.fromkeys(map(str, expected)))
