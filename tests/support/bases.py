"""Tiny bases for machines and C libraries that are not here: files that say what they are, and do nothing."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from buildpack.system.elf import MACHINES
from tests.support.elf import make_elf
from tests.support.stand_in import write_layout

_LOADERS = {
    ("glibc", "x86_64"): "/lib64/ld-linux-x86-64.so.2",
    ("glibc", "aarch64"): "/lib/ld-linux-aarch64.so.1",
    ("musl", "x86_64"): "/lib/ld-musl-x86_64.so.1",
    ("musl", "aarch64"): "/lib/ld-musl-aarch64.so.1",
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_GLIBC = b"\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n"
_MUSL = b"musl libc (%s)\n\x001.2.5\x00"


def make_base(
    folder: Path, *, machine: str, libc: str = "glibc", python: str = "3.12.4", libraries: Sequence[str] = ()
) -> Path:
    """Write a layout of one image: a Python that names this version and loader, its C library, and `libraries`."""
    series = ".".join(python.split(".")[:2])
    loader = _LOADERS[libc, machine]
    number = {name: value for value, name in MACHINES.items()}[machine]
    executable = f"usr/local/bin/python{series}"
    files = {
        executable: make_elf(machine=number, interpreter=loader, extra=f"\0{python}\0".encode()),
        loader[1:]: _MUSL % machine.encode() if libc == "musl" else make_elf(machine=number),
        "etc/os-release": b"ID=alpine\n" if libc == "musl" else b"ID=debian\n",
        **{f"usr/lib/{name}": b"" for name in libraries},
    }
    if libc == "glibc":
        files[f"lib/{machine}-linux-gnu/libc.so.6"] = _GLIBC
    folder.mkdir(parents=True)
    write_layout(folder, _tar(files, {"usr/local/bin/python3": f"python{series}"}), _ARCHITECTURES[machine])
    return folder


def _tar(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mode, member.size = 0o755, len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return out.getvalue()
