"""The base of the benchmark: a base like python:3.11-slim, made here, and a registry on loopback to serve it."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("python3.11", "python3-venv", "python-is-python3", "ca-certificates", "netbase", "tzdata", "libstdc++6")
UNSHIPPED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# As the official image has it; an imported file system has no configuration of its own.
CONFIG = (
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV LANG=C.UTF-8",
    'CMD ["python3"]',
)


def make_base(cache: Path, environ: Mapping[str, str]) -> Path:
    """Make the base's file system as a tar, or take the one of an earlier run: Debian 12 with its Python 3.11.

    If ``SSL_CERT_FILE`` names a CA bundle, the base gets that one, since containers reach the index through it.
    """
    bundle = environ.get("SSL_CERT_FILE")
    options = [
        "--quiet",
        "--variant=essential",
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in UNSHIPPED),
        *([f"--customize-hook=upload {bundle} {CA_BUNDLE}"] if bundle else []),
    ]
    key = hashlib.sha256("\n".join(options).encode() + (Path(bundle).read_bytes() if bundle else b""))
    path = cache / f"base-{key.hexdigest()[:16]}.tar"
    if path.exists():
        return path
    program = shutil.which("mmdebstrap")
    if program is None:
        raise SystemExit("mmdebstrap is not installed; install it, or name a base image with --base")
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.tar")
    try:
        environ = {**environ, "SOURCE_DATE_EPOCH": "315532800"}
        subprocess.run([program, *options, "bookworm", str(partial)], check=True, env=environ)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def free_port() -> int:
    """Return a port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    """Wait until something listens on this port of 127.0.0.1."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} does not listen on port {port}")


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Run the distribution registry on a free loopback port, its files under ``folder``; yields ``host:port``."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    if program is None:
        raise SystemExit("docker-registry is not installed; install it, or leave out the contender `registry`")
    port = free_port()
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}/registry\n"
        f"http:\n  addr: 127.0.0.1:{port}\nlog:\n  level: error\n"
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(config)], stdout=log, stderr=log, env={**os.environ, "OTEL_TRACES_EXPORTER": "none"}
        )
    try:
        wait_for(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
