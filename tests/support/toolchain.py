"""The toolchain's own image, made from `Dockerfile` on a stand-in for its base."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.command import ROOT, Done
from tests.support.stand_in import TAG as STAND_IN
from tests.support.stand_in import make_stand_in

TAG = "deploy-test-toolchain:1"
BASE = "deploy-test-toolchain-base:1"
CONFINED = (
    *("--user", "12345", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges"),
)
"""How pipelines that trust nobody run a container."""


def find_builder() -> str | None:
    """Return a Docker client that builds with BuildKit: newer ones need a plug-in for it, which may be missing."""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        client = shutil.which("docker", path=folder)
        if client is None:
            continue
        told = subprocess.run([client, "build", "--help"], env=_buildkit(), capture_output=True, text=True, check=False)
        if "--secret" in told.stdout:
            return client
    return None


def make_toolchain(client: str) -> str:
    """Build the image and return its tag. The engine's cache has what was built before.

    Raises RuntimeError if the base is not available, or the build fails.
    """
    layout = make_stand_in(more=("python3-pip", "git"))
    copied = ["skopeo", "copy", "--quiet", f"oci:{layout}:{STAND_IN}", f"docker-daemon:{BASE}"]
    subprocess.run(copied, check=True, capture_output=True)
    command = [client, "build", "--network", "host", "--build-arg", f"BASE={BASE}", *_secrets(), "-t", TAG, str(ROOT)]
    built = subprocess.run(command, env=_buildkit(), capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise RuntimeError(f"docker build failed:\n{built.stderr[-2000:]}")
    return TAG


def run_toolchain(*arguments: str, options: tuple[str, ...] = (), command: tuple[str, ...] = ()) -> Done:
    """Run `deploy` in a container that may do next to nothing; `command` takes its place."""
    entry = ("--entrypoint", command[0]) if command else ()
    line = ["docker", "run", "--rm", "--network", "host", *CONFINED, *options, *entry, TAG, *command[1:], *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


def _buildkit() -> dict[str, str]:
    return {**os.environ, "DOCKER_BUILDKIT": "1"}


def _secrets() -> Iterator[str]:
    """Hand in what pip needs on this machine, as anyone behind a private authority has to."""
    authority = next((os.environ[name] for name in ("PIP_CERT", "SSL_CERT_FILE") if os.environ.get(name)), "")
    for name, path in (("ca", authority), ("pip", os.environ.get("PIP_CONFIG_FILE", ""))):
        if path and Path(path).is_file():
            yield from ("--secret", f"id={name},src={path}")
