"""Unpack an image's layers and run programs in them, without any code of ours and without an engine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from buildpack.oci.image import Layer
from buildpack.oci.store import Store


def unpack(layers: Sequence[Layer], store: Store, folder: Path) -> Path:
    """Unpack layers without whiteouts with GNU tar; return `folder`."""
    folder.mkdir(mode=0o755)
    for layer in layers:
        command = ["tar", "--extract", "--gzip", "--preserve-permissions", "--file", store.path(layer.digest)]
        subprocess.run([*command, "--directory", folder], check=True)
    return folder


def run_in(root: Path, *command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command with this root folder and exactly this environment; as root of a user namespace where need be."""
    chroot = ["/usr/sbin/chroot", str(root)]
    enter = chroot if os.geteuid() == 0 else ["unshare", "--map-root-user", *chroot]
    return subprocess.run(
        [*enter, *command], capture_output=True, check=False, encoding="utf-8", env=env or {}, stdin=subprocess.DEVNULL
    )
