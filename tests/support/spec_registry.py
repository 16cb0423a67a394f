"""A registry in memory, by the distribution specification 1.1: what Debian's, of version 2.8, does not do yet.

It keeps what came of an upload that was cut, may ask for pieces of some size (`least`), refuse pieces (`whole`), lists
referrers by itself, `page` at a time where that is not 0, and answers with relative Locations whose query is kept.
With `takes` it keeps only so many bytes of a piece.

It can be as odd as registries in the world are:

    secretive       answers 403 for what is not there
    login           an Authorization header that writes need: without it they get 403, and no challenge
    fixed           refuses to write a tag that exists, even to the same digest
    formats         the media types of manifests that it takes; `refusal` is the status for others
    forgets         says that it lists referrers (OCI-Subject), and lists none
    moved_to        sends every request on to another address, with the status `moving`
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from buildpack.oci.digest import sha256

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs/uploads|blobs|manifests|referrers)/(?P<what>[^/]*)")


class SpecRegistry(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.least = 0
        self.whole = False
        self.referrers = True
        self.page = 0
        self.takes = 0
        self.secretive = False
        self.login = ""
        self.fixed = False
        self.formats: tuple[str, ...] = ()
        self.refusal = 415
        self.forgets = False
        self.moved_to = ""
        self.moving = 307
        self.logins: list[str] = []
        self.lock = threading.Lock()
        self.numbers = itertools.count()

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def spec_registry() -> Iterator[SpecRegistry]:
    server = SpecRegistry()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: SpecRegistry

    def do(self) -> None:
        self.server.logins.append(self.headers.get("Authorization", ""))
        if self.server.moved_to:
            self.read_into(bytearray())
            return self.reply(self.server.moving, Location=self.server.moved_to + self.path)
        if self.server.login not in {"", self.headers.get("Authorization")} and self.command not in {"GET", "HEAD"}:
            self.read_into(bytearray())
            return self.fail(403, "DENIED")
        url = urlsplit(self.path)
        if url.path == "/v2/":
            return self.reply(200, b"{}")
        found = _PATH.fullmatch(url.path)
        assert found is not None, self.path
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        kind = found["kind"].rpartition("/")[2]
        return getattr(self, f"{kind}_{self.command}")(found["what"], query)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str) -> None:
        self.reply(status, json.dumps({"errors": [{"code": code}]}).encode(), Content_Type="application/json")

    def missing(self, code: str) -> None:
        self.fail(403, "DENIED") if self.server.secretive else self.fail(404, code)

    def read_into(self, upload: bytearray) -> bool:
        left = int(self.headers.get("Content-Length", "0"))
        while left and (chunk := self.rfile.read1(min(left, 1 << 16))):
            left -= len(chunk)
            upload += chunk
        return left == 0

    def at(self, number: str) -> dict[str, str]:
        """The headers of an upload in progress, at a place that is relative and changes with what there is."""
        size = len(self.server.uploads[number])
        place = self.path.partition("/blobs/")[0] + f"/blobs/uploads/{number}?state={size}%2B"
        return {"Location": place, "Range": f"0-{max(size - 1, 0)}"}

    def blobs_GET(self, digest: str, query: dict[str, str]) -> None:
        blob = self.server.blobs.get(digest)
        self.missing("BLOB_UNKNOWN") if blob is None else self.reply(200, blob)

    blobs_HEAD = blobs_GET

    def uploads_POST(self, what: str, query: dict[str, str]) -> None:
        with self.server.lock:
            number = str(next(self.server.numbers))
            self.server.uploads[number] = bytearray()
        least = {"OCI_Chunk_Min_Length": str(self.server.least)} if self.server.least else {}
        self.reply(202, **self.at(number), **least)

    def uploads_GET(self, number: str, query: dict[str, str]) -> None:
        known = number in self.server.uploads
        self.reply(204, **self.at(number)) if known else self.fail(404, "BLOB_UPLOAD_UNKNOWN")

    def uploads_PATCH(self, number: str, query: dict[str, str]) -> None:
        upload = self.server.uploads[number]
        start = int(self.headers["Content-Range"].partition("-")[0])
        if self.server.whole or start != len(upload) or query["state"] != f"{start}+":
            self.read_into(bytearray())
            self.fail(405 if self.server.whole else 416, "UNSUPPORTED" if self.server.whole else "BLOB_UPLOAD_INVALID")
        elif self.read_into(upload):
            if self.server.takes:
                del upload[start + self.server.takes :]
            self.reply(202, **self.at(number))
        else:
            self.close_connection = True

    def uploads_PUT(self, number: str, query: dict[str, str]) -> None:
        upload = self.server.uploads[number]
        if query["state"] != f"{len(upload)}+":
            self.fail(400, "BLOB_UPLOAD_INVALID")
        elif not self.read_into(upload):
            self.close_connection = True
        elif str(sha256(bytes(upload))) != query["digest"]:
            del self.server.uploads[number]
            self.fail(400, "DIGEST_INVALID")
        else:
            self.server.blobs[query["digest"]] = bytes(self.server.uploads.pop(number))
            self.reply(201)

    def manifests_PUT(self, selector: str, query: dict[str, str]) -> None:
        body = bytearray()
        self.read_into(body)
        raw, kind = bytes(body), self.headers["Content-Type"]
        digest = str(sha256(raw))
        if self.server.formats and kind not in self.server.formats:
            return self.fail(self.server.refusal, "MANIFEST_INVALID")
        if self.server.fixed and selector in self.server.manifests:
            return self.fail(400, "TAG_IMMUTABLE")
        self.server.manifests[digest] = self.server.manifests[selector] = (kind, raw)
        subject = json.loads(raw).get("subject") if self.server.referrers else None
        headers = {"OCI_Subject": subject["digest"]} if subject else {}
        return self.reply(201, Docker_Content_Digest=digest, **headers)

    def manifests_GET(self, selector: str, query: dict[str, str]) -> None:
        if selector not in self.server.manifests:
            return self.missing("MANIFEST_UNKNOWN")
        kind, raw = self.server.manifests[selector]
        return self.reply(200, raw, Content_Type=kind, Docker_Content_Digest=str(sha256(raw)))

    manifests_HEAD = manifests_GET

    def referrers_GET(self, digest: str, query: dict[str, str]) -> None:
        if not self.server.referrers:
            return self.fail(404, "UNSUPPORTED")
        listed = []
        for selector, (kind, raw) in () if self.server.forgets else self.server.manifests.items():
            body = json.loads(raw)
            if selector.startswith("sha256:") and body.get("subject", {}).get("digest") == digest:
                listed.append(
                    {"mediaType": kind, "digest": selector, "size": len(raw), "artifactType": body["artifactType"]}
                )
        headers = {}
        if self.server.page:
            start = int(query.get("from", "0"))
            if len(listed) > start + self.server.page:
                headers["Link"] = f'<{urlsplit(self.path).path}?from={start + self.server.page}>; rel="next"'
            listed = listed[start : start + self.server.page]
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": listed}
        return self.reply(
            200, json.dumps(index).encode(), Content_Type="application/vnd.oci.image.index.v1+json", **headers
        )

    def log_message(self, *args: object) -> None:
        pass
