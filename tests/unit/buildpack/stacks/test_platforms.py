from __future__ import annotations

from pathlib import Path

import pytest

from buildpack.errors import UsageError
from buildpack.oci.image import Platform
from buildpack.stacks.platforms import (
    choose_platform,
    native_platform,
    parse_platform,
    parse_platforms,
    platform_of,
    read_platforms,
)

AMD64, ARM64 = Platform(architecture="amd64"), Platform(architecture="arm64")
ARMV7 = Platform(architecture="arm", variant="v7")


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", AMD64),
        ("linux/x86_64", AMD64),
        ("linux/amd64/v1", AMD64),
        ("linux/amd64/v3", Platform(architecture="amd64", variant="v3")),
        ("linux/arm64", ARM64),
        ("linux/aarch64", ARM64),
        ("linux/arm64/v8", ARM64),
        ("linux/arm/v7", ARMV7),
        ("linux/s390x", Platform(architecture="s390x")),
    ],
)
def test_one_platform_has_one_name(text: str, platform: Platform) -> None:
    assert parse_platform(text) == platform


@pytest.mark.parametrize("text", ["", "linux", "amd64", "windows/amd64", "linux/", "linux/arm/v7/x", "linux/amd64,"])
def test_a_text_that_is_not_a_platform_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_platforms(text)
    wrong = text.rpartition(",")[2] if "," in text else text
    assert str(caught.value) == f"{wrong!r} is not a platform\n\nhint: write linux/amd64, linux/arm64 or linux/arm/v7."


def test_several_are_sorted_and_named_once() -> None:
    assert parse_platforms("linux/arm64, linux/amd64,linux/arm64/v8") == (AMD64, ARM64)
    assert parse_platforms("linux/arm64") == (ARM64,)


@pytest.mark.parametrize(
    ("machine", "platform"),
    [("x86_64", AMD64), ("aarch64", ARM64), ("arm64", ARM64), ("armv7l", ARMV7)],
)
def test_machines_have_platforms(machine: str, platform: Platform) -> None:
    assert platform_of(machine) == native_platform(machine) == platform


def test_of_several_the_machine_s_counts() -> None:
    assert choose_platform((AMD64, ARM64), ARM64) == ARM64
    assert choose_platform((AMD64, ARM64), ARMV7) == AMD64


def test_what_was_asked_for(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    assert read_platforms(app, environ={}, flag=None) == ()
    (app / "deploy.toml").write_text('platform = ["linux/arm64", "linux/amd64"]\n')
    assert read_platforms(app, environ={}, flag=None) == (AMD64, ARM64)
    assert read_platforms(app, environ={"DEPLOY_PLATFORM": "linux/arm64"}, flag=None) == (ARM64,)
    assert read_platforms(app, environ={}, flag="linux/s390x,linux/amd64") == (AMD64, Platform(architecture="s390x"))
    # The build reports a setting that cannot be read, with all other problems.
    (app / "deploy.toml").write_text("platform = \n")
    assert read_platforms(app, environ={}, flag=None) == ()
