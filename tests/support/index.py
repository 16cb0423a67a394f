"""A package index on loopback, for tests: HTML or JSON, behind a login, slow to succeed, redirecting."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import ssl
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from urllib.parse import unquote

JSON = "application/vnd.pypi.simple.v1+json"


def make_wheel(
    name: str, version: str, *, tag: str = "py3-none-any", requires: tuple[str, ...] = (), body: bytes = b"X = 1\n"
) -> tuple[str, bytes]:
    """Return the file name and the bytes of a small wheel."""
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {each}\n" for each in requires
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, content in (
            (f"{name.replace('-', '_')}.py", body),
            (f"{stem}.dist-info/METADATA", metadata.encode()),
            (f"{stem}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()),
            (f"{stem}.dist-info/RECORD", b""),
        ):
            archive.writestr(zipfile.ZipInfo(path), content)
    return f"{stem}-{tag}.whl", out.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Served:
    """One file of the index; `algorithm` "" hides the hash."""

    filename: str
    content: bytes
    algorithm: str = "sha256"
    requires_python: str = ""
    yanked: str | None = None
    query: str = ""

    def hash(self) -> str:
        return hashlib.new(self.algorithm, self.content).hexdigest()


@dataclass
class Asked:
    """One request that came in."""

    method: str
    path: str
    authorization: str
    accept: str


@dataclass
class Index:
    """The files of the server, and its behaviour; tests change both while it runs."""

    url: str = ""
    projects: dict[str, list[Served]] = field(default_factory=dict)
    style: str = "html"
    prefix: str = ""
    """The beginning of every path, a token for example."""
    login: str = ""
    """``user:password`` that pages and files ask for."""
    files_at: str = ""
    """The address before each link to a file; links are relative if it is empty."""
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Answers to give first, status and headers; status 0 cuts the connection, -1 cuts the body halfway."""
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    """Answers by path, in place of the files."""
    signature: str = ""
    """The query that the link of a file must have."""
    without_head: bool = False
    pages: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    instead: dict[str, bytes] = field(default_factory=dict)
    """Content that is served in place of a file, by its name."""
    gate: threading.Event | None = None
    """Files wait for this."""
    random: Random | None = None
    """Shuffles the files of each page, and lets each answer take up to 20 ms."""
    asked: list[Asked] = field(default_factory=list)

    def add(self, project: str, filename: str, content: bytes, **options: str) -> Served:
        served = Served(filename, content, **options)  # type: ignore[arg-type]
        self.projects.setdefault(project, []).append(served)
        return served

    def file(self, filename: str) -> bytes | None:
        if self.gate is not None:
            self.gate.wait(60)
        if filename in self.instead:
            return self.instead[filename]
        found = (each.content for files in self.projects.values() for each in files if each.filename == filename)
        return next(found, None)

    def paths(self, method: str = "GET") -> list[str]:
        return [each.path for each in self.asked if each.method == method]

    def page(self, project: str) -> tuple[str, bytes]:
        files = self.projects[project]
        if self.random is not None:
            files = self.random.sample(files, len(files))
        base = self.files_at or "../../files/"
        query = f"?{self.signature}" if self.signature else ""
        if self.style == "json":
            entries = [
                {
                    "filename": each.filename,
                    "url": f"{base}{each.filename}{query}",
                    "hashes": {each.algorithm: each.hash()} if each.algorithm else {},
                    "size": len(each.content),
                    "requires-python": each.requires_python or None,
                    "yanked": each.yanked if each.yanked is not None else False,
                }
                for each in files
            ]
            return JSON, json.dumps({"meta": {"api-version": "1.1"}, "name": project, "files": entries}).encode()
        lines = ["<!DOCTYPE html><html><body>"]
        for each in files:
            fragment = f"#{each.algorithm}={each.hash()}" if each.algorithm else ""
            python = f' data-requires-python="{escape(each.requires_python)}"' if each.requires_python else ""
            yanked = f' data-yanked="{escape(each.yanked)}"' if each.yanked is not None else ""
            lines.append(
                f'<a href="{escape(base + each.filename + query)}{fragment}"{python}{yanked}>{each.filename}</a>'
            )
        return "text/html", "\n".join(lines).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are part of the tests."""


@contextmanager
def serving(*, certificate: str = "", **options: object) -> Iterator[Index]:
    """Serve an index on loopback for as long as the block lasts; its URL ends with ``/simple/``.

    `certificate` is a PEM file with key and certificate, for https.
    """
    index = Index(**options)  # type: ignore[arg-type]
    server = _Server(("127.0.0.1", 0), _handler(index))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    index.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}/simple/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(index: Index) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            headers = self.headers
            index.asked.append(
                Asked(self.command, self.path, headers.get("Authorization", ""), headers.get("Accept", ""))
            )
            if index.random is not None:
                time.sleep(index.random.random() / 50)
            cut = False
            if index.failures:
                status, extra = index.failures.pop(0)
                if status == 0:
                    self.close_connection = True
                    return
                if status > 0:
                    self.answer(status, b"busy", "text/plain", **extra)
                    return
                cut = True
            if self.path in index.statuses:
                self.answer(index.statuses[self.path], b"", "text/plain")
                return
            if self.path in index.redirects:
                self.answer(302, b"", "text/plain", Location=index.redirects[self.path])
                return
            if index.login:
                expected = "Basic " + base64.b64encode(index.login.encode()).decode()
                if headers.get("Authorization") != expected:
                    self.answer(401, b"login", "text/plain")
                    return
            self.serve(cut=cut)

        def serve(self, *, cut: bool) -> None:
            path, _, query = self.path.partition("?")
            if not path.startswith(index.prefix):
                self.answer(404, b"", "text/plain")
                return
            path = path.removeprefix(index.prefix)
            parts = [unquote(part) for part in path.strip("/").split("/")]
            if path in index.pages:
                kind, content = index.pages[path]
                self.answer(200, content, kind, cut=cut)
            elif parts[0] == "simple" and parts[-1] in index.projects:
                kind, content = index.page(parts[-1])
                self.answer(200, content, kind, cut=cut)
            elif parts[0] == "files":
                content = index.file(parts[-1])
                if content is None:
                    self.answer(404, b"", "text/plain")
                elif index.signature and query != index.signature:
                    self.answer(403, b"", "text/plain")
                elif index.without_head and self.command == "HEAD":
                    self.answer(405, b"", "text/plain")
                else:
                    self.answer(200, content, "application/octet-stream", cut=cut)
            else:
                self.answer(404, b"", "text/plain")

        def answer(self, status: int, content: bytes, kind: str, *, cut: bool = False, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if cut else content)
            if cut:
                self.close_connection = True

    return Handler
