"""Large things made up: wheels, apps and locks of any size, and an index on loopback that serves the wheels.

The same numbers give the same bytes. Nothing of it can be compressed far, so that no part of a build is spared by it.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

SOURCE = "http://${LARGE_INDEX}/simple"
MB = 1_000_000


def write_wheel(folder: Path, name: str, files: Mapping[str, bytes | int], *, deflated: bool = True) -> Path:
    """Write a wheel of these files; a number stands for a file of so many bytes, of which half are random."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.0.dist-info"
    whole: dict[str, bytes | int] = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{name}-1.0-py3-none-any.whl"
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in whole.items():
            header = zipfile.ZipInfo(member)
            header.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
            header._compresslevel = 1  # type: ignore[attr-defined]  # the constructor takes none
            hashed, size = hashlib.sha256(), 0
            with archive.open(header, "w", force_zip64=True) as out:
                for piece in pieces(content, seed=member):
                    hashed.update(piece)
                    size += len(piece)
                    out.write(piece)
            rows.append(f"{member},sha256={base64.urlsafe_b64encode(hashed.digest()).decode().rstrip('=')},{size}\n")
        archive.writestr(f"{info}/RECORD", "".join(rows) + f"{info}/RECORD,,\n")
    return path


def pieces(content: bytes | int, *, seed: str) -> Iterator[bytes]:
    """Yield a file's bytes, at most a megabyte at a time."""
    if isinstance(content, bytes):
        yield content
        return
    numbers = Random(seed)
    while content > 0:
        half = numbers.randbytes(min(MB, content + 1) // 2)
        piece = (half + bytes(len(half)))[:content]
        content -= len(piece)
        yield piece


def small_wheel(folder: Path, number: int) -> Path:
    """Write a wheel as most are: a dozen modules of a few kilobytes."""
    name = f"small{number:04}"
    module = "".join(
        f"def f{line}(x, y={number}):\n    return [x + {line}, {{'a': y}}]\n\n\n" for line in range(60)
    ).encode()
    return write_wheel(folder, name, {f"{name}/{part}.py": module for part in ("__init__", *"abcdefghijk")})


def write_app(folder: Path, packages: Mapping[str, Path], *, files: int = 0) -> Path:
    """Write an app that needs these packages, by name, from their wheels; `files` are more files of 1 to 4 kB."""
    (folder / "large").mkdir(parents=True)
    (folder / "large" / "__init__.py").write_text("def app(environ, start_response): ...\n")
    (folder / "Procfile").write_text("web: python -m http.server $PORT\n")
    (folder / "deploy.toml").write_text('name = "large"\nstack = "host"\n')
    numbers = Random(files)
    for number in range(files):
        place = folder / "large" / f"part{number // 200}" / f"file{number}.txt"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(numbers.randbytes(500 + number % 1500).hex().encode())
    lock = {
        "_meta": {
            "hash": {"sha256": ""},
            "pipfile-spec": 6,
            "requires": {},
            "sources": [{"name": "large", "url": SOURCE, "verify_ssl": True}],
        },
        "default": {
            name: {"hashes": [f"sha256:{digest_of(path)}"], "version": "==1.0", "index": "large"}
            for name, path in sorted(packages.items())
        },
        "develop": {},
    }
    (folder / "Pipfile.lock").write_text(json.dumps(lock, indent=4) + "\n")
    return folder


def digest_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path, packages: Mapping[str, Path]) -> Iterator[dict[str, str]]:
    """Serve the wheels, which are in `folder`, for as long as the block lasts; gives the variable of `SOURCE`."""
    for name, path in packages.items():
        page = folder / "simple" / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f'<a href="/{path.relative_to(folder)}#sha256={digest_of(path)}">{path.name}</a>\n')
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=os.fspath(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield {"LARGE_INDEX": f"127.0.0.1:{server.server_address[1]}"}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
