"""Connections to registries: kept, cut, encrypted, and through proxies."""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildpack.net.http1 import CutError, MalformedError
from buildpack.net.pace import Pace
from buildpack.net.pool import Pool, ProxyError
from buildpack.net.sockets import Contexts

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[[socket.socket, list[bytes]], None]


@contextmanager
def listening(serve: Serve, context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """Serve each connection in its own thread; yield the port and the request heads received."""
    heads: list[bytes] = []
    threads: list[threading.Thread] = []

    def run(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) if context else connection as opened:
                serve(opened, heads)
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.settimeout(30)
                threads.append(threading.Thread(target=run, args=(connection,)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server.getsockname()[1], heads
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()
    for thread in threads:
        thread.join()


def read_head(opened: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = opened.recv(1)
        if not byte:
            break
        head += byte
    return head


def answers(*replies: bytes) -> Serve:
    """Answer this many requests on each connection, then hang up."""

    def serve(opened: socket.socket, heads: list[bytes]) -> None:
        for reply in replies:
            if not (head := read_head(opened)):
                return
            heads.append(head)
            opened.sendall(reply)

    return serve


@contextmanager
def connections(environ: dict[str, str] | None = None) -> Iterator[Pool]:
    def unreadable(variable: str, path: str) -> Exception:
        return AssertionError(variable, path)

    made = Pool(Contexts(environ or {}, unreadable))
    try:
        yield made
    finally:
        made.close()


def patient() -> Pace:
    return Pace(AssertionError, patience=30)


def ask(made: Pool, url: str, *, proxy: str = "") -> bytes:
    response = made.request("GET", url, headers={}, proxy=proxy, pace=patient())
    with response:
        return response.read(100)


def test_a_request_is_sent_with_all_its_fields() -> None:
    with listening(answers(OK, OK)) as (port, heads), connections() as made:
        url = f"http://me:secret@127.0.0.1:{port}/v2/a b/%41?x=y z&s=%2F#part"
        response = made.request(
            "PUT", url, headers={"Accept": "x/y"}, body=iter([b"ab", b"", b"cd"]), length=4, pace=patient()
        )
        assert (response.read(1), response.read(10), response.read(10)) == (b"o", b"k", b"")
        assert heads == [
            b"PUT /v2/a%%20b/%%41?x=y%%20z&s=%%2F HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: deploy\r\n"
            b"Accept: x/y\r\nAccept-Encoding: identity\r\nContent-Length: 4\r\n\r\n" % port
        ]
        assert (response.request_size, response.head_size) == (len(heads[0]), len(OK) - 2)


def test_connections_are_kept_until_they_are_dropped() -> None:
    places: list[int] = []

    def serve(opened: socket.socket, heads: list[bytes]) -> None:
        places.append(opened.getpeername()[1])
        answers(OK, OK)(opened, heads)

    with listening(serve) as (port, heads), connections() as made:
        for _ in range(6):
            assert ask(made, f"http://127.0.0.1:{port}/") == b"ok"
            if len(heads) % 2 == 0:
                wait_for_end(made)
        assert len(heads) == 6
        assert len(places) == 3


def wait_for_end(made: Pool) -> None:
    """Wait until the end of the connection has arrived."""
    for kept in made._idle.values():
        for connection in kept:
            connection.socket.settimeout(30)
            assert connection.socket.recv(1, socket.MSG_PEEK) == b""


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_connections_that_end_with_the_answer(reply: bytes) -> None:
    with listening(answers(reply)) as (port, heads), connections() as made:
        assert [ask(made, f"http://127.0.0.1:{port}/") for _ in range(2)] == [b"ok", b"ok"]
        assert made._idle == {}
        assert len(heads) == 2


def test_a_response_that_is_not_read_to_its_end_closes_the_connection() -> None:
    with listening(answers(OK)) as (port, _), connections() as made:
        response = made.request("GET", f"http://127.0.0.1:{port}/", headers={}, pace=patient())
        assert response.read(1) == b"o"
        response.close()
        response.close()
        assert made._idle == {}


def test_an_answer_that_comes_before_the_whole_request_is_read() -> None:
    """A registry that refuses a large upload answers before it ends."""
    reply = b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n"

    def serve(opened: socket.socket, heads: list[bytes]) -> None:
        heads.append(read_head(opened))
        opened.sendall(reply)
        opened.shutdown(socket.SHUT_WR)
        while opened.recv(1 << 16):  # until we stop
            pass

    with listening(serve) as (port, heads), connections() as made:
        body = (bytes(1 << 16) for _ in range(64))
        response = made.request(
            "PUT", f"http://127.0.0.1:{port}/", headers={}, body=body, length=64 << 16, pace=patient()
        )
        assert (response.status, len(heads)) == (413, 1)


@pytest.mark.parametrize(
    ("reply", "error"),
    [(b"", CutError), (b"HTTP/1.1 200", CutError), (b"SSH-2.0\r\n", MalformedError)],
)
def test_a_connection_without_an_answer_raises(reply: bytes, error: type[Exception]) -> None:
    with listening(answers(reply)) as (port, _), connections() as made, pytest.raises(error):
        ask(made, f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "http:///x", "file:///etc/passwd", "http://caf\N{SNOWMAN}.invalid/"]
)
def test_a_url_that_is_not_a_web_address_is_refused(url: str) -> None:
    with connections() as made, pytest.raises(MalformedError):
        ask(made, url)


def test_a_header_with_a_line_break_is_refused() -> None:
    with connections() as made, pytest.raises(MalformedError):
        made.request("GET", "http://127.0.0.1:9/", headers={"Authorization": "Bearer x\r\nX: y"}, pace=patient())


def test_an_unknown_name_raises() -> None:
    with connections() as made, pytest.raises(socket.gaierror):
        ask(made, "http://nobody.invalid/")


# Packed all the same


def test_a_compressed_error_is_inflated() -> None:
    import gzip

    packed = gzip.compress(b"no")
    reply = b"HTTP/1.1 404 x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    broken = reply.replace(packed, bytes(len(packed)))
    with listening(answers(reply, broken)) as (port, _), connections() as made:
        response = made.request("GET", f"http://127.0.0.1:{port}/", headers={}, pace=patient())
        assert response.read_decoded(100) == b"no"
        response = made.request("GET", f"http://127.0.0.1:{port}/", headers={}, pace=patient())
        with pytest.raises(CutError):
            response.read_decoded(100)


# Proxies


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=DNS:registry.invalid,IP:127.0.0.1", "-keyout", str(made),
         "-out", f"{made}.crt"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    made.write_text(made.read_text() + Path(f"{made}.crt").read_text())
    return made


def context_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def tunnels(port: int) -> Serve:
    """Tunnel every request to a local port, no matter which host it names."""

    def serve(opened: socket.socket, heads: list[bytes]) -> None:
        heads.append(read_head(opened))
        with socket.create_connection(("127.0.0.1", port)) as other:
            opened.sendall(b"HTTP/1.1 200 Go on\r\nX: y\r\n\r\n")
            relay(opened, other)

    return serve


def relay(one: socket.socket, other: socket.socket) -> None:
    """Relay both directions until one side hangs up, in one thread because a TLS socket is not for two."""
    while True:
        # TLS may have read ahead: then select() does not see the bytes.
        ready = [one] if isinstance(one, ssl.SSLSocket) and one.pending() else select.select([one, other], [], [])[0]
        for source in ready:
            piece = source.recv(1 << 16)
            if not piece:
                return
            (other if source is one else one).sendall(piece)


@pytest.mark.parametrize("encrypted", [False, True])
def test_tls_goes_through_a_proxy(certificate: Path, encrypted: bool) -> None:
    context = context_of(certificate)
    with (
        listening(answers(OK, OK), context) as (port, heads),
        listening(tunnels(port), context if encrypted else None) as (middle, asked),
        connections({"SSL_CERT_FILE": f"{certificate}.crt"}) as made,
    ):
        proxy = f"{'https' if encrypted else 'http'}://me:pass%40word@127.0.0.1:{middle}"
        for _ in range(2):
            assert ask(made, "https://registry.invalid/v2/", proxy=proxy) == b"ok"
        made.close()
    assert asked == [
        (
            b"CONNECT registry.invalid:443 HTTP/1.1\r\nHost: registry.invalid:443\r\nUser-Agent: deploy\r\n"
            b"Proxy-Authorization: Basic bWU6cGFzc0B3b3Jk\r\n\r\n"
        )
    ]
    assert len(heads) == 2
    assert all(b"Host: registry.invalid\r\n" in head and b"Proxy" not in head for head in heads)


def test_plain_http_is_requested_from_the_proxy() -> None:
    with listening(answers(OK)) as (port, heads), connections() as made:
        assert ask(made, "http://registry.invalid:5000/v2/?x=y", proxy=f"me:word@127.0.0.1:{port}") == b"ok"
    assert heads[0].startswith(b"GET http://registry.invalid:5000/v2/?x=y HTTP/1.1\r\nHost: registry.invalid:5000\r\n")
    assert heads[0].endswith(b"Proxy-Authorization: Basic bWU6d29yZA==\r\n\r\n")


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", b"", b"SSH-2.0\r\n"]
)
def test_a_proxy_that_refuses_raises(reply: bytes) -> None:
    with listening(answers(reply)) as (port, _), connections() as made, pytest.raises(ProxyError):
        ask(made, "https://registry.invalid/", proxy=f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://", "http://127.0.0.1:9", "http://nobody.invalid"])
def test_an_unusable_proxy_raises(proxy: str) -> None:
    with connections() as made, pytest.raises(ProxyError):
        ask(made, "https://registry.invalid/", proxy=proxy)


def test_a_certificate_that_does_not_verify_raises(certificate: Path) -> None:
    with listening(answers(OK), context_of(certificate)) as (port, heads), connections() as made:
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
            ask(made, f"https://127.0.0.1:{port}/")
        assert heads == []
