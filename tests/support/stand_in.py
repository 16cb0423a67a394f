"""A stand-in for `python:3.11-slim` where no public registry is within reach: Debian's own Python, made by mmdebstrap.

It is an OCI layout made without any code of ours, kept in the temporary folder, since making it takes six seconds
(variant ``extract``: nothing is configured) or half a minute (``essential``). For another architecture than this
machine's it is made just so, since ``extract`` runs nothing of what it unpacks.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGES = (
    "python3.11",
    "python3-minimal",
    "ca-certificates",
    "libstdc++6",
    "dash",
    "bash",
    "coreutils",
    "sed",
    "grep",
    "tzdata",
)
SUITE = "bookworm"
EXECUTABLE = "/usr/bin/python3.11"
TAG = "python:3.11-slim"
INDEX = "application/vnd.oci.image.index.v1+json"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def make_stand_in(variant: str = "extract", architecture: str = "", *, more: tuple[str, ...] = ()) -> Path:
    """Return an OCI layout that holds one image, tagged ``python:3.11-slim``; made once per machine.

    `architecture` is as Debian and OCI name it (``arm64``), this machine's if it is empty; `more` are packages
    besides the usual ones. Raises RuntimeError if mmdebstrap is not installed or cannot reach its mirror.
    """
    packages = (*PACKAGES, *more)
    recipe = json.dumps([1, variant, packages, SUITE, *([architecture] if architecture else [])])
    place = Path(tempfile.gettempdir(), f"deploy-stand-in-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}")
    # Tests that start together want the same one.
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            scratch = Path(tempfile.mkdtemp(prefix="deploy-stand-in-making-"))
            try:
                tar = _bootstrap(scratch / "root.tar", variant, packages, architecture)
                write_layout(scratch / "layout", tar, architecture or native_architecture())
                (scratch / "layout").rename(place)
            finally:
                shutil.rmtree(scratch)
    return place


def push(layout: Path, registry: str, name: str = "library/python:3.11-slim", *, form: str = "oci") -> str:
    """Copy the layout's image to this registry (``127.0.0.1:PORT``) with skopeo; return the full reference.

    With ``v2s2`` as `form` it has Docker's media types, as Docker Hub's official images had for years.
    """
    reference = f"{registry}/{name}"
    options = ["--quiet", "--dest-tls-verify=false", "--format", form]
    subprocess.run(
        ["skopeo", "copy", *options, f"oci:{layout}:{TAG}", f"docker://{reference}"], check=True, capture_output=True
    )
    return reference


def _bootstrap(tar: Path, variant: str, packages: tuple[str, ...], architecture: str) -> bytes:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise RuntimeError("mmdebstrap is not installed")
    options = [f"--variant={variant}", f"--include={','.join(packages)}"]
    if architecture:
        options.append(f"--arch={architecture}")
    ran = subprocess.run(
        [program, "--quiet", *options, SUITE, str(tar)],
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    if ran.returncode != 0:
        raise RuntimeError(f"mmdebstrap failed: {ran.stderr.strip()[-300:]}")
    return tar.read_bytes()


def join_platforms(layouts: Sequence[Path], folder: Path) -> Path:
    """Write a layout of one index, tagged like the stand-ins, that holds the image of each of these layouts."""
    (folder / "blobs/sha256").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    listed = []
    for layout in layouts:
        for blob in (layout / "blobs/sha256").iterdir():
            shutil.copyfile(blob, folder / "blobs/sha256" / blob.name)
        [image] = json.loads((layout / "index.json").read_text())["manifests"]
        manifest = json.loads((layout / "blobs" / image["digest"].replace(":", "/")).read_text())
        config = json.loads((layout / "blobs" / manifest["config"]["digest"].replace(":", "/")).read_text())
        platform = {name: config[name] for name in ("os", "architecture")}
        listed.append({**{k: v for k, v in image.items() if k != "annotations"}, "platform": platform})
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()
    digest = hashlib.sha256(index).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(index)
    named = {
        "mediaType": INDEX,
        "digest": f"sha256:{digest}",
        "size": len(index),
        "annotations": {"org.opencontainers.image.ref.name": TAG},
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    return folder


def write_layout(folder: Path, tar: bytes, architecture: str) -> None:
    """Write a layout of one image of one layer, tagged like the stand-ins."""
    (folder / "blobs/sha256").mkdir(parents=True)

    def put(content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (folder / "blobs/sha256" / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    oci = "application/vnd.oci.image."
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": [_PATH, "LANG=C.UTF-8"], "Cmd": ["python3"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{oci}manifest.v1+json",
        "config": {"mediaType": f"{oci}config.v1+json", **put(json.dumps(config).encode())},
        "layers": [{"mediaType": f"{oci}layer.v1.tar+gzip", **put(gzip.compress(tar, 1, mtime=0))}],
    }
    listed = {
        "mediaType": f"{oci}manifest.v1+json",
        **put(json.dumps(manifest).encode()),
        "annotations": {"org.opencontainers.image.ref.name": TAG},
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def native_architecture() -> str:
    """Return what Debian and OCI call this machine."""
    return subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, check=True, encoding="utf-8"
    ).stdout.strip()
