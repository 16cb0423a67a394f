"""A container engine on a Unix socket that gives the answers of a test."""

from __future__ import annotations

import json
import re
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

IDENTITY = "1" * 64
ANSWERS: Mapping[str, Any] = {
    "GET /version": {"Os": "linux", "Arch": "amd64", "ApiVersion": "1.41"},
    "GET /info": {"DriverStatus": []},
    "GET /containers/json": [],
    "GET /networks": [],
    "GET /images/json": [],
    "GET /images/X/json": {"Id": f"sha256:{IDENTITY}", "Config": {"Env": ["A=b"]}, "RepoTags": []},
    "POST /images/load": {"stream": "Loaded image"},
    "POST /images/X/tag": {},
    "POST /networks/create": {"Id": IDENTITY},
    "POST /containers/create": {"Id": IDENTITY, "Warnings": []},
    "GET /containers/X/json": {"State": {"Pid": 0}, "Config": {"Tty": False}, "NetworkSettings": {"Networks": {}}},
}
"""The default answers by method and path, without the version, and with X in the place of a name."""


@contextmanager
def fake_engine(folder: Path, answers: Mapping[str, bytes]) -> Iterator[str]:
    """Serve an engine whose answers are `ANSWERS`, but for these; yield its address.

    The answer to ``*`` is the one to everything but a ping. A path without an answer does not exist there.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline() or b"0", 16):
                    self.rfile.read(size + 2)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = re.sub(r"^/v[\d.]+(?=/)", "", self.path.partition("?")[0])
            path = re.sub(r"^/(images|containers)/(?!json$|create$|load$)[^?]*?(/json|/tag|/archive|/start|/wait|$)",
                          r"/\1/X\2", path)  # fmt: skip
            asked = f"{self.command} {path}"
            known = asked in ANSWERS
            body = answers.get(asked, answers.get("*") if path != "/_ping" else None)
            code = 200 if body is not None or known or path == "/_ping" else 404
            if body is None:
                body = json.dumps(ANSWERS[asked] if known else {"message": "there is no such thing"}).encode()
            self.send_response_only(code)
            self.send_header("Api-Version", "1.41")
            self.send_header("Server", "Docker/20.10.24 (linux)")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = do_HEAD = answer

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of clients that go away."""

    address = folder / "engine.sock"
    with Server(str(address), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"unix://{address}"
        finally:
            server.shutdown()
            thread.join()
            address.unlink()
