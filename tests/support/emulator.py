"""Run programs of another architecture, by QEMU's user mode: started by name, so the kernel need not know of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_PACKAGE = "qemu-user-static"


def find_emulator(machine: str) -> Path:
    """Return QEMU for this machine (``aarch64``): the installed one, else from Debian's package, kept on this machine.

    Of that package's 380 MB one file is unpacked. Raises RuntimeError if it is not available.
    """
    name = f"qemu-{machine}-static"
    if found := shutil.which(name):
        return Path(found)
    place = Path(tempfile.gettempdir(), f"deploy-{name}")
    if not place.exists():
        with tempfile.TemporaryDirectory(prefix="deploy-qemu-") as folder:
            Path(folder).chmod(0o755)
            (_download(folder, name)).rename(place)
    return place


def _download(folder: str, name: str) -> Path:
    get = ["apt-get", "download", "-qq", _PACKAGE]
    try:
        if subprocess.run(get, cwd=folder, capture_output=True, check=False).returncode != 0:
            subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True)
            subprocess.run(get, cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(f"apt-get cannot download {_PACKAGE}: {error}") from error
    [package] = Path(folder).glob("*.deb")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacked:
        subprocess.run(
            ["tar", "--extract", "--directory", folder, f"./usr/bin/{name}"], stdin=unpacked.stdout, check=True
        )
    return Path(folder, "usr/bin", name)


def emulate_in(
    root: Path, emulator: Path, *command: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of this root folder with it as root, under QEMU; as root of a user namespace if necessary.

    Programs that it starts by name do not run: the kernel would have to know about QEMU for that.
    """
    inside = root / "emulator"
    if not inside.exists():
        shutil.copy(emulator, inside)
    chroot = ["/usr/sbin/chroot", str(root), "/emulator"]
    enter = chroot if os.geteuid() == 0 else ["unshare", "--map-root-user", *chroot]
    return subprocess.run(
        [*enter, *command], capture_output=True, check=False, encoding="utf-8", env=env or {}, stdin=subprocess.DEVNULL
    )
