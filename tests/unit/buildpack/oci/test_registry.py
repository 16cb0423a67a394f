"""A registry on loopback that misbehaves; tests/integration/test_registry.py has a real one."""

from __future__ import annotations

import io
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from buildpack.errors import StackError
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import INDEX, MANIFEST, Image, Platform
from buildpack.oci.reference import parse_reference
from buildpack.oci.registry import Registry
from buildpack.oci.registry_tokens import parse_challenges
from tests.support.images import Blobs, image_of
from tests.support.registry_client import connected, push_blob

Answer = Callable[["Handler"], None]
AROUND = "`--stack host` needs no registry; an image saved elsewhere is read with `--stack archive:FILE`."


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self) -> None:
        length = int(self.headers["Content-Length"] or 0)
        assert len(self.rfile.read(length)) == length
        self.server.seen.append((self.path, dict(self.headers)))
        path = self.path.removeprefix("/v2/team/app")
        script = self.server.script.get(path, [])
        answer = script.pop(0) if len(script) > 1 else script[0] if script else missing
        answer(self)

    do_GET = do_POST = do_PUT = answer

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    script: dict[str, list[Answer]]
    seen: list[tuple[str, dict[str, str]]]

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.script, made.seen = {}, []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def missing(handler: Handler) -> None:
    handler.reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', Content_Type="application/json")


def gives(body: bytes, status: int = 200, **headers: str) -> Answer:
    return lambda handler: handler.reply(status, body, **headers)


def cuts(body: bytes, after: int) -> Answer:
    """Promise the whole body, send its beginning, then hang up."""

    def answer(handler: Handler) -> None:
        start = int((handler.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start : start + after])
        hang_up(handler)

    return answer


def hang_up(handler: Handler) -> None:
    handler.close_connection = True
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def client(server: Server, pauses: list[float] | None = None, selector: str = ":1") -> Iterator[Registry]:
    reference = parse_reference(f"{server.name}/team/app{selector}")
    with connected(reference, {}, sleep=(pauses if pauses is not None else []).append) as registry:
        yield registry


def fetch(server: Server, body: bytes, *, digest: Digest | None = None, size: int | None = None) -> bytes:
    out = io.BytesIO()
    with client(server) as registry:
        registry.fetch_blob(digest or sha256(body), len(body) if size is None else size, out)
    return out.getvalue()


def serve_image(server: Server, image: Image, blobs: Blobs) -> None:
    for digest, content in {**blobs.content, image.config_digest: image.config}.items():
        server.script[f"/blobs/{digest}"] = [gives(content)]
    server.script[f"/manifests/{image.digest}"] = [gives(image.manifest, Content_Type=MANIFEST)]
    server.script["/manifests/1"] = [gives(image.manifest, Content_Type=MANIFEST)]


def message(call: Callable[[], object]) -> str:
    with pytest.raises(StackError) as caught:
        call()
    assert caught.value.exit_code == 30
    return str(caught.value)


# Images


def test_an_image_for_one_platform_is_fetched(server: Server) -> None:
    blobs = Blobs()
    image = image_of(blobs.layer({"a": b"1"}))
    serve_image(server, image, blobs)
    with client(server) as registry:
        pulled = registry.fetch_image(Platform())
    assert pulled.image == image
    assert str(pulled.reference) == f"{server.name}/team/app:1@{image.digest}"
    assert [path for path, _ in server.seen] == [
        "/v2/team/app/manifests/1",
        f"/v2/team/app/blobs/{image.config_digest}",
    ]
    assert server.seen[0][1]["Accept"].startswith(MANIFEST)


def test_the_image_for_a_platform_is_chosen_from_an_index(server: Server) -> None:
    blobs = Blobs()
    image = image_of(blobs.layer({"a": b"1"}), platform=Platform(architecture="arm64"))
    serve_image(server, image, blobs)
    entry = {
        "mediaType": MANIFEST,
        "digest": str(image.digest),
        "size": len(image.manifest),
        "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
    }
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    server.script["/manifests/1"] = [gives(index, Content_Type=INDEX)]
    with client(server) as registry:
        pulled = registry.fetch_image(Platform(architecture="arm64"))
        assert pulled.image == image
        assert pulled.reference.digest == sha256(index)
        assert message(lambda: registry.fetch_image(Platform())) == (
            f"{server.name}/team/app:1 has no image for linux/amd64\n\nIt has one for: linux/arm64/v8.\n\n"
            "hint: choose one with `--platform`, or another stack."
        )


def test_an_image_for_another_platform_is_refused(server: Server) -> None:
    blobs = Blobs()
    serve_image(server, image_of(blobs.layer({"a": b"1"})), blobs)
    with client(server) as registry:
        assert message(lambda: registry.fetch_image(Platform(architecture="arm64"))) == (
            f"{server.name}/team/app:1 has no image for linux/arm64\n\nIt has one for: linux/amd64.\n\n"
            "hint: choose one with `--platform`, or another stack."
        )


# Digests


def test_a_manifest_fetched_by_digest_is_verified(server: Server) -> None:
    wanted, sent = sha256(b"wanted"), b'{"schemaVersion":2}'
    server.script[f"/manifests/{wanted}"] = [gives(sent, Content_Type=MANIFEST)]
    with client(server, selector=f"@{wanted}") as registry:
        assert message(registry.fetch_manifest) == (
            f"{server.name}/team/app@{wanted} arrived damaged\n\n"
            f"Its bytes should have the digest {wanted}, they have {sha256(sent)}.\n\n"
            "hint: try again; if it happens again, something between this machine and the registry alters the data."
        )


def test_a_manifest_fetched_by_tag_is_verified_against_the_header(server: Server) -> None:
    wanted = sha256(b"wanted")
    server.script["/manifests/1"] = [gives(b"{}", Content_Type=MANIFEST, Docker_Content_Digest=str(wanted))]
    with client(server) as registry:
        assert f"Its bytes should have the digest {wanted}" in message(registry.fetch_manifest)


def test_a_blob_with_other_bytes_is_refused(server: Server) -> None:
    wanted = sha256(b"good")
    server.script[f"/blobs/{wanted}"] = [gives(b"evil")]
    assert message(lambda: fetch(server, b"evil", digest=wanted)) == (
        f"{server.name}/team/app:1 arrived damaged\n\nBlob {wanted}: its bytes have the digest {sha256(b'evil')}.\n\n"
        "hint: try again; if it happens again, the image or the connection is damaged."
    )


def test_a_longer_blob_is_refused(server: Server) -> None:
    server.script[f"/blobs/{sha256(b'1234')}"] = [gives(b"12345678")]
    assert message(lambda: fetch(server, b"1234")) == (
        f"{server.name}/team/app:1 arrived damaged\n\nBlob {sha256(b'1234')}: more than its 4 bytes came.\n\n"
        "hint: try again; if it happens again, the image or the connection is damaged."
    )


def test_an_encoded_blob_is_not_decoded(server: Server) -> None:
    import gzip

    body = gzip.compress(b"layer")
    server.script[f"/blobs/{sha256(body)}"] = [gives(body, Content_Encoding="gzip")]
    assert fetch(server, body) == body
    assert server.seen[0][1]["Accept-Encoding"] == "identity"


# Interruptions


def test_a_cut_blob_is_resumed_where_it_ended(server: Server) -> None:
    body = bytes(range(256)) * 40
    server.script[f"/blobs/{sha256(body)}"] = [cuts(body, 4000), cuts(body, 4000), cuts(body, 99999)]
    assert fetch(server, body) == body
    assert [headers.get("Range") for _, headers in server.seen] == [None, "bytes=4000-", "bytes=8000-"]


def test_a_cut_blob_from_a_server_without_ranges_starts_again(server: Server) -> None:
    body = bytes(range(256)) * 40
    server.script[f"/blobs/{sha256(body)}"] = [cuts(body, 4000), gives(body)]
    assert fetch(server, body) == body


def test_a_blob_that_is_cut_every_time_is_an_error(server: Server) -> None:
    body = bytes(1000)
    server.script[f"/blobs/{sha256(body)}"] = [cuts(body, 100), cuts(body, 0)]
    pauses: list[float] = []
    with client(server, pauses) as registry:
        assert message(lambda: registry.fetch_blob(sha256(body), 1000, io.BytesIO())) == (
            f"{server.name}/team/app:1 cannot be fetched\n\nThe connection was cut again and again: "
            f"100 of 1000 bytes of {sha256(body)} came.\n\nhint: try again on a better connection."
        )
    assert pauses == [0.5, 1.0, 2.0, 4.0]


def test_a_cut_manifest_is_fetched_again(server: Server) -> None:
    body = b'{"schemaVersion":2}'
    server.script["/manifests/1"] = [cuts(body, 5), hang_up, gives(body, Content_Type=MANIFEST)]
    with client(server) as registry:
        assert registry.fetch_manifest().raw == body


def test_failures_that_pass_are_retried(server: Server) -> None:
    body = b'{"schemaVersion":2}'
    soon = format_datetime(datetime.now(UTC) - timedelta(seconds=5), usegmt=True)
    server.script["/manifests/1"] = [
        gives(b"", 503),
        gives(b"", 429, Retry_After="7"),
        gives(b"", 429, Retry_After="86400"),
        gives(b"", 502, Retry_After=soon),
        gives(body, Content_Type=MANIFEST),
    ]
    pauses: list[float] = []
    with client(server, pauses) as registry:
        assert registry.fetch_manifest().raw == body
    assert pauses[:3] == [0.5, 7.0, 60.0]


def test_failures_that_stay_are_errors(server: Server) -> None:
    server.script["/manifests/1"] = [gives(b"", 503)]
    server.script["/manifests/2"] = [gives(b"", 429)]
    with client(server) as registry:
        assert message(registry.fetch_manifest) == (
            f"the registry {server.name} fails\n\n"
            f"GET http://{server.name}/v2/team/app/manifests/1 answered 503, 5 times.\n\n"
            f"hint: try again later. {AROUND}"
        )
        assert message(lambda: registry.fetch_manifest("2")) == (
            f"the registry {server.name} refuses more requests for now\n\n"
            f"GET http://{server.name}/v2/team/app/manifests/2 answered 429 (too many requests), 5 times.\n\n"
            f"hint: wait until its limit allows more; a login often raises it, and so does "
            f"a mirror of the image. {AROUND}"
        )
    assert len(server.seen) == 10


# Tokens


def challenge(server: Server, realm: str = "/token") -> str:
    return f'Bearer realm="http://{server.name}{realm}",service="reg",scope="repository:team/app:pull"'


def needs_token(server: Server, token: str, answer: Answer) -> Answer:
    def check(handler: Handler) -> None:
        if handler.headers["Authorization"] == f"Bearer {token}":
            answer(handler)
        else:
            handler.reply(401, b"", WWW_Authenticate=challenge(server))

    return check


def test_an_anonymous_token_is_fetched_once(server: Server) -> None:
    body = b'{"schemaVersion":2}'
    server.script["/manifests/1"] = [needs_token(server, "abc", gives(body, Content_Type=MANIFEST))]
    server.script["/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull"] = [gives(b'{"token":"abc"}')]
    with client(server) as registry:
        assert registry.fetch_manifest().raw == body
        assert registry.fetch_manifest().raw == body
    assert [path.partition("?")[0] for path, _ in server.seen] == [
        "/v2/team/app/manifests/1",
        "/token",
        "/v2/team/app/manifests/1",
        "/v2/team/app/manifests/1",
    ]


def test_an_expired_token_is_fetched_again(server: Server) -> None:
    body = b'{"schemaVersion":2}'
    good = gives(body, Content_Type=MANIFEST)
    server.script["/manifests/1"] = [
        needs_token(server, "old", good),
        needs_token(server, "old", good),
        needs_token(server, "new", good),
    ]
    server.script["/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull"] = [
        gives(b'{"token":"old"}'),
        gives(b'{"access_token":"new"}'),
    ]
    with client(server) as registry:
        assert registry.fetch_manifest().raw == body
        assert registry.fetch_manifest().raw == body


@pytest.mark.parametrize("token", [b"no json", b'{"token": 1}', b'{"token": "a\\r\\nX-Evil: 1"}', b"[]"])
def test_an_invalid_token_is_not_used(server: Server, token: bytes) -> None:
    server.script["/manifests/1"] = [needs_token(server, "x", missing)]
    server.script["/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull"] = [gives(token)]
    with client(server) as registry:
        assert message(registry.fetch_manifest) == denied(server, 401)


def denied(server: Server, status: int) -> str:
    return (
        f"{server.name}/team/app:1 cannot be read anonymously\n\n"
        f"GET http://{server.name}/v2/team/app/manifests/1 answered {status}.\n"
        "The repository is private, or there is none of that name.\n\n"
        f"hint: check the name; log in with `docker login {server.name}`, or set DEPLOY_REGISTRY_USER and "
        "DEPLOY_REGISTRY_PASSWORD. An image saved with `docker save -o FILE` is read with `--stack archive:FILE`."
    )


def test_a_private_repository_asks_for_a_login(server: Server) -> None:
    for answer, status in (
        (gives(b"", 401, WWW_Authenticate='Basic realm="x"'), 401),
        (gives(b"", 401), 401),
        (gives(b"", 403), 403),
        (gives(b"", 401, WWW_Authenticate=challenge(server, "/none")), 401),
        (gives(b"", 401, WWW_Authenticate='Bearer realm="file:///etc/passwd"'), 401),
    ):
        server.script["/manifests/1"] = [answer]
        with client(server) as registry:
            assert message(registry.fetch_manifest) == denied(server, status)


def test_the_environment_of_the_process_is_not_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none"))
    monkeypatch.setenv("DEPLOY_REGISTRY_USER", "someone")
    monkeypatch.setenv("DEPLOY_REGISTRY_PASSWORD", "secret")
    server.script["/manifests/1"] = [gives(b"{}", Content_Type=MANIFEST)]
    with client(server) as registry:
        registry.fetch_manifest()
    assert "Authorization" not in server.seen[0][1]


@contextmanager
def another() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.script, made.seen = {}, []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_no_login_follows_a_redirect_to_another_host(server: Server, scheme: str, tmp_path: Path) -> None:
    """Another port counts as another host; many registries redirect to a store of blobs."""
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {server.name: {"username": "me", "password": "secret"}}})
    )
    with another() as other:
        other.script = {"/elsewhere?signature=1": [gives(b"blob")]}
        onward = gives(b"", 307, Location=f"http://127.0.0.1:{other.server_address[1]}/elsewhere?signature=1")
        path = f"/blobs/{sha256(b'blob')}"
        if scheme == "Bearer":
            server.script[path] = [needs_token(server, "abc", onward)]
            server.script["/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull"] = [gives(b'{"token":"abc"}')]
        else:
            server.script[path] = [gives(b"", 401, WWW_Authenticate='Basic realm="x"'), onward]
        out = io.BytesIO()
        reference = parse_reference(f"{server.name}/team/app:1")
        with connected(reference, {"DOCKER_CONFIG": str(tmp_path)}) as registry:
            registry.fetch_blob(sha256(b"blob"), 4, out)
        assert out.getvalue() == b"blob"
        assert server.seen[-1][1]["Authorization"].startswith(scheme)
        assert "Authorization" not in other.seen[0][1]


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_a_redirect_s_host_cannot_choose_where_the_login_goes(server: Server, scheme: str, tmp_path: Path) -> None:
    """It could name its own token server."""
    auths = {server.name: {"username": "me", "password": "secret"}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    reference = parse_reference(f"{server.name}/team/app:1")
    with another() as other, connected(reference, {"DOCKER_CONFIG": str(tmp_path)}) as registry:
        asks = gives(b"", 401, WWW_Authenticate=f'{scheme} realm="http://{other.name}/token"')
        other.script = {"/blob": [asks], "/token?scope=repository%3Ateam%2Fapp%3Apull": [gives(b'{"token":"x"}')]}
        digest = sha256(b"blob")
        server.script[f"/blobs/{digest}"] = [gives(b"", 307, Location=f"http://{other.name}/blob")]
        assert message(lambda: registry.fetch_blob(digest, 4, io.BytesIO())) == (
            f"{reference}: the store that {server.name} keeps its blobs in refuses\n\n"
            f"GET http://{other.name}/blob answered 401.\n"
            "The registry sent us there; its login is for itself and was not sent on.\n\n"
            "hint: try again, because such links expire within minutes; if it fails again, see the registry's log."
        )
        assert [path for path, _ in other.seen] == ["/blob"]
        assert all("Authorization" not in headers for _, headers in [*other.seen, *server.seen])


def test_an_upload_to_another_host_has_no_login(server: Server, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {server.name: {"username": "me", "password": "secret"}}})
    )
    with another() as other:
        other.script = {"/store?state=1&digest=sha256%3A" + sha256(b"blob").hex: [gives(b"", 201)]}
        begun = gives(b"", 202, Location=f"http://127.0.0.1:{other.server_address[1]}/store?state=1")
        server.script["/blobs/uploads/"] = [gives(b"", 401, WWW_Authenticate='Basic realm="x"'), begun]
        reference = parse_reference(f"{server.name}/team/app:1")
        with connected(reference, {"DOCKER_CONFIG": str(tmp_path)}) as registry:
            push_blob(registry, b"blob", assume_missing=True)
        assert server.seen[-1][1]["Authorization"].startswith("Basic")
        assert "Authorization" not in other.seen[0][1]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Bearer realm="https://a/b",scope="x,y"', [("bearer", {"realm": "https://a/b", "scope": "x,y"})]),
        ('Bearer  realm = "a\\"b", service=plain', [("bearer", {"realm": 'a"b', "service": "plain"})]),
        ('BASIC realm=""', [("basic", {"realm": ""})]),
        ('Basic realm="a, Bearer b=c", Bearer realm="x", scope="y"',
         [("basic", {"realm": "a, Bearer b=c"}), ("bearer", {"realm": "x", "scope": "y"})]),
        ('Negotiate, Basic realm="a"', [("negotiate", {}), ("basic", {"realm": "a"})]),
        ("", []),
    ],
)  # fmt: skip
def test_challenges_are_parsed(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert list(parse_challenges(header)) == expected


# Not there, or no registry


def test_an_unknown_tag_is_an_error(server: Server) -> None:
    with client(server) as registry:
        assert message(registry.fetch_manifest) == (
            f"{server.name}/team/app:1 does not exist\n\n"
            f"GET http://{server.name}/v2/team/app/manifests/1 answered 404: MANIFEST_UNKNOWN.\n\n"
            "hint: check the spelling of the name and of the tag."
        )


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (gives(b"<html>Log in</html>", Content_Type="text/html"), "a web page"),
        (gives(b"\n<!doctype html>", Content_Type="application/json"), "a web page"),
        (gives(b"<html>", 404, Content_Type="text/html; charset=utf-8"), "a web page (404)"),
    ],
)
def test_a_server_that_is_not_a_registry_is_an_error(server: Server, answer: Answer, found: str) -> None:
    server.script["/manifests/1"] = [answer]
    with client(server) as registry:
        assert message(registry.fetch_manifest) == (
            f"{server.name} is not a registry\n\nIt answered with {found} where a manifest was asked for.\n\n"
            "hint: check the host in the reference; a proxy's login page looks like this as well."
        )


def test_a_manifest_that_is_too_large_is_refused(server: Server) -> None:
    server.script["/manifests/1"] = [gives(b" " * ((4 << 20) + 1), Content_Type=MANIFEST)]
    with client(server) as registry:
        assert message(registry.fetch_manifest) == (
            f"{server.name}/team/app:1 cannot be used\n\nIts manifest or config is larger than 4194304 bytes.\n\n"
            "hint: use another image."
        )


UNREACHABLE = "hint: check the network, and HTTPS_PROXY if there is a proxy."


def test_a_port_without_a_listener_is_an_error() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{probe.getsockname()[1]}"
    with connected(parse_reference(f"{name}/app:1"), {}) as registry:
        assert message(registry.fetch_manifest) == (
            f"the registry {name} cannot be reached\n\nIt refused the connection.\n\n"
            "hint: check host and port, and that the registry is running."
        )


def test_a_name_that_does_not_resolve_is_an_error() -> None:
    with connected(parse_reference("registry.invalid/app:1"), {}) as registry:
        assert message(registry.fetch_manifest) == (
            "the registry registry.invalid cannot be reached\n\nIts name does not resolve.\n\n"
            "hint: check the spelling of the host, and HTTPS_PROXY if only a proxy knows it."
        )


def test_connections_that_are_cut_every_time_are_an_error(server: Server) -> None:
    server.script["/manifests/1"] = [hang_up]
    pauses: list[float] = []
    with client(server, pauses) as registry:
        assert message(registry.fetch_manifest) == (
            f"the registry {server.name} cannot be reached\n\nIt cut the connection.\n\n{UNREACHABLE}"
        )
    assert pauses == [0.5, 1.0, 2.0, 4.0]


def test_a_proxy_without_a_listener_is_an_error() -> None:
    environ = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "example.com"}
    with connected(parse_reference("registry.invalid/app:1"), environ) as registry:
        assert message(registry.fetch_manifest) == (
            "the registry registry.invalid cannot be reached\n\nThe proxy cannot be reached, or refuses.\n\n"
            "hint: check HTTPS_PROXY."
        )


# TLS. 0.0.0.0 is this machine as well, but no loopback address, so it is spoken to as any other registry.


def certify(made: Path, host: str = "0.0.0.0", *, expired: bool = False) -> Path:
    """Write a file with a key and its certificate, and a file with the certificate."""
    commands = [
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", f"subjectAltName=IP:{host}", "-keyout", str(made), "-out", f"{made}.crt"],
        ["x509", "-in", f"{made}.crt", "-signkey", str(made), "-days", "-1", "-out", f"{made}.crt"],
    ]  # fmt: skip
    for command in commands[: 1 + expired]:
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    made.write_text(made.read_text() + Path(f"{made}.crt").read_text())
    return made


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return certify(tmp_path / "server.pem")


def over_tls(server: Server, certificate: Path) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    # Each connection's own thread does the handshake, so that a client without a handshake does not block the server.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return f"0.0.0.0:{server.server_address[1]}"


def test_certificates_come_from_the_environment(server: Server, certificate: Path) -> None:
    name = over_tls(server, certificate)
    server.script["/manifests/1"] = [gives(b"{}", Content_Type=MANIFEST)]
    with connected(parse_reference(f"{name}/team/app:1"), {}) as registry:
        assert message(registry.fetch_manifest) == (
            f"the registry {name} cannot be trusted\n\nIts certificate does not verify: self-signed certificate.\n\n"
            "hint: name the file with your network's CA certificates in REQUESTS_CA_BUNDLE."
        )
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        with connected(parse_reference(f"{name}/team/app:1"), {variable: f"{certificate}.crt"}) as registry:
            assert registry.fetch_manifest().raw == b"{}"
    with connected(parse_reference(f"{name}/team/app:1"), {"SSL_CERT_FILE": "/none"}) as registry:
        assert message(registry.fetch_manifest) == (
            "the certificates of SSL_CERT_FILE cannot be read\n\n"
            "SSL_CERT_FILE is '/none', which is missing or holds no PEM certificates.\n\n"
            "hint: correct SSL_CERT_FILE, or unset it to use the usual authorities."
        )


RENEW = "renew the registry's certificate; if it is valid, correct this machine's clock."
RENAME = "use the name in the registry's certificate, or give the registry a certificate for this name."


@pytest.mark.parametrize(
    ("host", "why", "hint"),
    [("0.0.0.0", "certificate has expired", RENEW), ("127.0.0.1", "IP address mismatch", RENAME)],
)
def test_a_bad_certificate_is_an_error(server: Server, tmp_path: Path, host: str, why: str, hint: str) -> None:
    made = certify(tmp_path / "server.pem", host, expired=host == "0.0.0.0")
    name = over_tls(server, made)
    environ = {"REQUESTS_CA_BUNDLE": f"{made}.crt"}
    with connected(parse_reference(f"{name}/team/app:1"), environ) as registry:
        assert message(registry.fetch_manifest) == (
            f"the registry {name} cannot be trusted\n\nIts certificate does not verify: {why}.\n\nhint: {hint}"
        )


def test_a_registry_that_wants_tls_gets_a_hint(server: Server) -> None:
    """Servers in Go answer 400 to a plain request; the real registry is one of them."""
    text = b"Client sent an HTTP request to an HTTPS server.\n"
    server.script["/manifests/1"] = [gives(text, 400, Content_Type="text/plain")]
    with client(server) as registry:
        assert message(registry.fetch_manifest) == (
            f"{server.name}/team/app:1: the registry refuses a request\n\n"
            f"GET http://{server.name}/v2/team/app/manifests/1 answered 400.\n\n"
            "hint: it may need TLS: remove it from DEPLOY_INSECURE_REGISTRIES, and use a name other than localhost or "
            "127.0.0.1."
        )


def test_a_redirect_to_plain_http_is_refused(server: Server, certificate: Path) -> None:
    with another() as plain:
        plain.script = {"/elsewhere": [gives(b"{}")]}
        name = over_tls(server, certificate)
        server.script["/manifests/1"] = [gives(b"", 307, Location=f"http://{plain.name}/elsewhere")]
        environ = {"REQUESTS_CA_BUNDLE": f"{certificate}.crt"}
        with connected(parse_reference(f"{name}/team/app:1"), environ) as registry:
            assert message(registry.fetch_manifest) == without_tls(name, "It redirects to plain http")
        assert plain.seen == []


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/v2/team/app/manifests/1", "It redirects in a circle."),
        ("file:///etc/passwd", "It redirects to something that is not a web address."),
    ],
)
def test_a_redirect_to_nowhere_is_an_error(server: Server, target: str, why: str) -> None:
    server.script["/manifests/1"] = [gives(b"", 307, Location=target)]
    with client(server) as registry:
        assert message(registry.fetch_manifest) == (
            f"the registry {server.name} cannot be reached\n\n{why}\n\n"
            "hint: check that the host is a registry, and that no proxy answers in its place."
        )


def test_a_redirect_s_endless_body_is_not_read(server: Server) -> None:
    cut_off = threading.Event()

    def endless(handler: Handler) -> None:
        handler.send_response(307)
        handler.send_header("Location", "/v2/team/app/manifests/2")
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        try:
            for _ in range(1 << 10):  # 64 MB, far more than any buffer between us holds
                handler.wfile.write(bytes(1 << 16))
        except OSError:
            cut_off.set()
        handler.close_connection = True

    server.script["/manifests/1"] = [endless]
    server.script["/manifests/2"] = [gives(b"{}", Content_Type=MANIFEST)]
    with client(server) as registry:
        assert registry.fetch_manifest().raw == b"{}"
        assert cut_off.wait(30)


def test_a_login_is_tried_even_if_the_registry_did_not_ask(server: Server, tmp_path: Path) -> None:
    """A firewall answers 403 to everything and asks for nothing."""
    auths = {server.name: {"username": "me", "password": "secret"}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    server.script["/manifests/2"] = [gives(b"", 403)]
    reference = parse_reference(f"{server.name}/team/app:1")
    with connected(reference, {"DOCKER_CONFIG": str(tmp_path)}) as registry:
        told = message(lambda: registry.push_manifest(b"{}", MANIFEST, "2", accepted=False))
    assert (
        f"\nThe login from {tmp_path}/config.json is not allowed to do this, or the repository does not exist.\n"
        in told
    )
    assert "there is none for this registry" not in told


def test_an_upload_address_without_tls_is_used_with_tls(server: Server, certificate: Path) -> None:
    """A registry behind a proxy that ends TLS may give addresses with http; no request goes there without TLS."""
    name = over_tls(server, certificate)
    reference = parse_reference(f"{name}/team/app:1")
    environ = {"REQUESTS_CA_BUNDLE": f"{certificate}.crt"}
    digest = sha256(b"blob")
    server.script["/blobs/uploads/"] = [gives(b"", 202, Location="http://0.0.0.0/v2/team/app/blobs/uploads/1")]
    server.script[f"/blobs/uploads/1?digest=sha256%3A{digest.hex}"] = [gives(b"", 201)]
    with connected(reference, environ) as registry:
        assert push_blob(registry, b"blob", assume_missing=True) == "sent"
    server.script["/blobs/uploads/"] = [gives(b"", 202, Location="http://example.com/1")]
    with connected(reference, environ) as registry:
        assert message(lambda: push_blob(registry, b"blob", assume_missing=True)) == (
            f"{name}/team/app:1: the registry refuses a request\n\n"
            f"POST https://{name}/v2/team/app/blobs/uploads/ answered 202: it gives no address for the upload, or "
            "one without TLS.\n\nhint: the registry's message says why; its log may say more."
        )


def without_tls(name: str, reason: str) -> str:
    return (
        f"the registry {name} does not speak TLS\n\n{reason}.\n\n"
        "hint: check host and port; a registry without TLS is used only on this machine (localhost, 127.0.0.1), or on "
        f"request: DEPLOY_INSECURE_REGISTRIES={name}."
    )


def test_a_registry_without_tls_is_an_error(server: Server) -> None:
    name = f"0.0.0.0:{server.server_address[1]}"
    with connected(parse_reference(f"{name}/team/app:1"), {}) as registry:
        assert message(registry.fetch_manifest) == without_tls(name, "TLS failed: wrong version number")


@pytest.mark.parametrize("value", ["{}", "0.0.0.0", "example.com, {}"])
def test_a_registry_without_tls_is_used_on_request(server: Server, value: str) -> None:
    name = f"0.0.0.0:{server.server_address[1]}"
    server.script["/manifests/1"] = [gives(b"{}", Content_Type=MANIFEST)]
    environ = {"DEPLOY_INSECURE_REGISTRIES": value.format(name)}
    with connected(parse_reference(f"{name}/team/app:1"), environ) as registry:
        assert registry.fetch_manifest().raw == b"{}"


def test_logins_are_not_sent_to_a_token_server_without_tls(server: Server) -> None:
    asked = 'Bearer realm="http://0.0.0.0:9/token",service="reg"'
    server.script["/manifests/1"] = [gives(b"", 401, WWW_Authenticate=asked)]
    with client(server) as registry:
        assert message(registry.fetch_manifest) == denied(server, 401)
