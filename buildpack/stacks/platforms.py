"""Platforms and their names: the kernel's (``x86_64``) and the image specification's (``amd64``)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from buildpack.oci.image import Platform

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv7l": ("arm", "v7"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
}
"""Machines that images name otherwise."""
_SPELT_OUT = {("arm64", "v8"), ("amd64", "v1")}
"""Variants that the architecture's name already means, as in containerd."""


def platform_of(machine: str) -> Platform:
    """Return the platform of a machine that ``uname -m`` names."""
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    return Platform(architecture=architecture, variant=variant)


def native_platform(machine: str = "") -> Platform:
    """Return the platform of images that this machine runs; engines run Linux on macOS, too."""
    return platform_of(machine or os.uname().machine)


def parse_platform(text: str) -> Platform:
    """Read ``linux/arm64`` or ``linux/arm/v7``; raises UsageError."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts) or parts[0] != "linux":
        from buildpack.errors import stacks as errors

        raise errors.invalid_platform(text)
    architecture = {"aarch64": "arm64", "x86_64": "amd64"}.get(parts[1], parts[1])
    variant = parts[2] if len(parts) == 3 and (architecture, parts[2]) not in _SPELT_OUT else ""
    return Platform(os=parts[0], architecture=architecture, variant=variant)


def parse_platforms(text: str) -> tuple[Platform, ...]:
    """Read ``linux/amd64,linux/arm64``: each once, in the order of their names; raises UsageError."""
    found = {parse_platform(part.strip()) for part in text.split(",")}
    return tuple(sorted(found, key=str))


def choose_platform(platforms: Sequence[Platform], native: Platform) -> Platform:
    """Return this machine's platform if it is among them, else the first."""
    return native if native in platforms else platforms[0]


def read_platforms(folder: Path, *, environ: Mapping[str, str], flag: str | None) -> tuple[Platform, ...]:
    """Return the requested platforms, sorted by name; empty if none is requested or a setting cannot be read.

    The build reports such a setting later, with all other problems. `flag` is the value of the command line.
    """
    from buildpack.app.settings import read_settings
    from buildpack.errors import BuildpackError

    try:
        asked = read_settings(folder, environ=environ, flags={"platform": flag}).platform
        return parse_platforms(asked.value) if asked else ()
    except BuildpackError:
        return ()
