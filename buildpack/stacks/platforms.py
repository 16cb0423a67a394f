"""Names of architectures: the kernel's (``x86_64``) and the image specification's (``amd64``)."""

from __future__ import annotations

import os

from buildpack.oci.image import Platform

__all__ = ["native_platform", "parse_platform", "platform_of"]

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv7l": ("arm", "v7"),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
}
_ALIASES = {"arm64": "aarch64", "amd64": "x86_64", "i386": "i686"}


def platform_of(machine: str) -> Platform:
    """Return the platform of what ``uname -m`` says."""
    architecture, variant = _ARCHITECTURES.get(_ALIASES.get(machine, machine), (machine, ""))
    return Platform(architecture=architecture, variant=variant)


def native_platform() -> Platform:
    """Return the platform of images that this machine runs; on macOS too, engines run Linux."""
    return platform_of(os.uname().machine)


def parse_platform(text: str) -> Platform:
    """Read ``linux/arm64`` or ``linux/arm/v7``; raises UsageError."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts) or parts[0] != "linux":
        from buildpack.errors import stacks as errors

        raise errors.invalid_platform(text)
    architecture = {"aarch64": "arm64", "x86_64": "amd64"}.get(parts[1], parts[1])
    return Platform(os=parts[0], architecture=architecture, variant=parts[2] if len(parts) == 3 else "")
