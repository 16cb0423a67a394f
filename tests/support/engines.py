"""An engine on a Unix socket that keeps images as Docker and Podman do, in memory, and fails on demand.

It does what no real engine does on request: run out of disk, refuse a part, answer nonsense. Real behaviour is tested
with real engines.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from buildpack.oci.digest import sha256
from buildpack.oci.reference import parse_reference

CLASSIC = "Docker/20.10.24 (linux)"
NEWER = "Docker/28.0.0 (linux)"
PODMAN = "Libpod/4.3.1 (linux)"


class Engine(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 50

    def __init__(self, path: Path, *, server: str = CLASSIC, containerd: bool = False, api: str = "1.51") -> None:
        super().__init__(str(path), _Handler)
        self.host = f"unix://{path}"
        self.server = server
        self.containerd = containerd
        self.api = api
        self.podman = server == PODMAN
        self.images: dict[str, tuple[str, ...]] = {}
        """The diff_ids of each image, by ID."""
        self.blobs: set[str] = set()
        """The hexadecimal digests of all blobs, of manifests as well."""
        self.lacking: set[str] = set()
        """The IDs of images some of whose blobs never came."""
        self.tags: dict[str, str] = {}
        self.seen: list[str] = []
        self.loads: list[tuple[str, ...]] = []
        """For each archive, the names of its blobs."""
        self.failures: list[tuple[int, bytes] | None] = []
        """Answers to the next loads, in place of doing them."""
        self.gate = threading.Event()
        """Loads wait for this before they answer."""
        self.gate.set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self.gate.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        pass

    def load(self, content: bytes) -> str:
        """Take an archive; returns what is wrong with it."""
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
        blobs = tuple(name.rpartition("/")[2] for name in files if name.startswith("blobs/"))
        self.loads.append(blobs)
        for listed in json.loads(files["manifest.json"]):
            config = files[listed["Config"]]
            diff_ids = tuple(json.loads(config)["rootfs"]["diff_ids"])
            for number, (diff_id, name) in enumerate(zip(diff_ids, listed["Layers"], strict=True)):
                if self._has(diff_ids[: number + 1], name):
                    continue
                if name not in files:
                    return f"open /tmp/import/{name}: no such file or directory"
                body = files[name]
                tarred = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
                if str(sha256(tarred)) != diff_id:
                    return f"invalid diffID for layer {number}"
            self.blobs |= set(blobs)
            identity = str(sha256(config))
            if self.containerd:
                identity = json.loads(files["index.json"])["manifests"][0]["digest"]
                if not self.blobs.issuperset(name.rpartition("/")[2] for name in listed["Layers"]):
                    self.lacking.add(identity)
                else:
                    self.lacking.discard(identity)
            self.images[identity] = diff_ids
            self.tags |= dict.fromkeys(listed["RepoTags"] or [], identity)
        return ""

    def _has(self, chain: tuple[str, ...], name: str) -> bool:
        if (self.podman or self.containerd) and name.rpartition("/")[2] in self.blobs:
            return True
        # containerd does so, too, and then lacks the blob itself.
        return not self.podman and any(diff_ids[: len(chain)] == chain for diff_ids in self.images.values())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine  # type: ignore[assignment]

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *args: object) -> None:
        pass

    def version_string(self) -> str:
        return self.server.server

    def reply(self, status: int, body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Api-Version", self.server.api)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if status != 204:
            self.wfile.write(content)

    def do_GET(self) -> None:
        engine, path = self.server, unquote(self.path)
        engine.seen.append(f"GET {path}")
        if path == "/_ping":
            self.reply(200, b"OK")
        elif path == "/info":
            status = [["driver-type", "io.containerd.snapshotter.v1"]] if engine.containerd else []
            self.reply(200, {"DriverStatus": status})
        elif path.startswith("/images/json"):
            wanted = json.loads(parse_qs(urlsplit(path).query)["filters"][0])["reference"][0]
            self.reply(200, [{"Id": i} for tag, i in engine.tags.items() if f"/{wanted}:" in tag])
        else:
            path, _, query = path.partition("?")
            name = path.removeprefix("/images/").removesuffix("/json")
            identity = name if name.startswith("sha256:") else engine.tags.get(str(parse_reference(name)), "")
            if identity not in engine.images:
                self.reply(404, {"message": f"No such image: {name}"})
                return
            tags = [tag.removeprefix("docker.io/library/") for tag, i in engine.tags.items() if i == identity]
            told = {"Id": identity, "RepoTags": tags, "RootFS": {"Layers": list(engine.images[identity])}}
            if engine.containerd and query == "manifests=1" and engine.api == "1.51":
                manifest = {"Descriptor": {"digest": identity}, "Available": identity not in engine.lacking}
                told["Manifests"] = [manifest]
            self.reply(200, told)

    def do_DELETE(self) -> None:
        self.server.seen.append(f"DELETE {self.path}")
        self.server.images.pop(self.path.removeprefix("/images/"), None)
        self.reply(200, [])

    def do_POST(self) -> None:
        engine, url = self.server, urlsplit(self.path)
        engine.seen.append(f"POST {url.path}")
        if url.path.endswith("/tag"):
            query = parse_qs(url.query)
            identity = unquote(url.path).removeprefix("/images/").removesuffix("/tag")
            engine.tags[f"{query['repo'][0]}:{query['tag'][0]}"] = identity
            self.reply(201, b"")
            return
        content = self._chunks()
        failure = engine.failures.pop(0) if engine.failures else None
        engine.gate.wait(60)
        if failure is not None:
            self.reply(*failure)
            return
        said = engine.load(content)
        self.reply(200, {"errorDetail": {"message": said}, "error": said} if said else {"stream": "Loaded"})

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content
