"""Reading HTTP/1.1: heads, and bodies in all framings, whole and cut."""

from __future__ import annotations

from io import BufferedReader, BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.net.http1 import CutError, Headers, MalformedError, Response


def reader(raw: bytes) -> BufferedReader:
    return BufferedReader(BytesIO(raw))  # type: ignore[type-var]  # reads as a socket's file does


def body_of(raw: bytes, *, method: str = "GET", size: int = 1 << 20) -> tuple[bytes, bool]:
    response = Response(reader(raw), method=method)
    return response.read(size), response.ended


def test_a_head_is_read() -> None:
    raw = b"HTTP/1.1 200 All right\r\nLink: a\r\nlink:b \r\nnonsense\r\nX-Caf\xe9: \xe9\r\n\r\nrest"
    file = reader(raw)
    head = Response(file)
    assert (head.status, head.reason, head.head_size, head.keeps) == (200, "All right", len(raw) - 4, True)
    assert dict(head.headers) == {"link": "a, b", "x-café": "é"}
    assert head.headers["LINK"] == head.headers.get("Link") == "a, b"
    assert "lInK" in head.headers
    assert file.read() == b"rest"


@pytest.mark.parametrize(
    ("raw", "keeps"),
    [
        (b"HTTP/1.1 204 \r\n\r\n", True),
        (b"HTTP/1.1 204 x\nConnection: Close\n\n", False),
        (b"HTTP/1.0 204 x\r\n\r\n", False),
        (b"HTTP/1.0 204 x\r\nConnection: Keep-Alive\r\n\r\n", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 x\r\n\r\n", True),
    ],
)
def test_a_connection_is_kept_if_another_answer_may_follow(raw: bytes, keeps: bool) -> None:
    head = Response(reader(raw))
    assert (head.status, head.keeps) == (204, keeps)
    assert "link" not in head.headers


@pytest.mark.parametrize(
    ("raw", "error", "said"),
    [
        (b"", CutError, "the connection was closed"),
        (b"SSH-2.0-x\r\n", MalformedError, "the answer is not HTTP"),
        (b"HTTP/2 200\r\n\r\n", MalformedError, "the answer is not HTTP"),
        (b"HTTP/1.1 20 x\r\n\r\n", MalformedError, "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", CutError, "the connection was cut"),
        (b"HTTP/1.1 200 OK\r\nA: b", CutError, "the connection was cut"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * (1 << 16), MalformedError, "a line of the answer has no end"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 257, MalformedError, "the head of the answer does not end"),
    ],
)
def test_an_invalid_head_is_refused(raw: bytes, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        Response(reader(raw))
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("fields", "raw", "body", "ended"),
    [
        (b"Content-Length: 3", b"abcdef", b"abc", True),
        (b"Content-Length: 3, 3", b"abcdef", b"abc", True),
        (b"Content-Length: 0", b"abcdef", b"", True),
        (b"Content-Length: 9", b"abc", b"abc", False),
        (b"X: y", b"abcdef", b"abcdef", True),
        (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: r\r\n\r\nHTTP", b"abcde", True),
        (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n2", b"abc", False),
    ],
)
def test_a_body_is_read_to_its_end(fields: bytes, raw: bytes, body: bytes, ended: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n"
    assert body_of(head + raw) == (body, ended)
    assert body_of(head + raw, method="HEAD") == (b"", True)
    assert body_of(head.replace(b"200", b"304") + raw) == (b"", True)


@pytest.mark.parametrize(
    ("fields", "raw", "said"),
    [
        (b"Content-Length: 9", b"", "the connection was cut"),
        (b"Content-Length: -1", b"", "it promises '-1' bytes"),
        (b"Content-Length: 1e3", b"", "it promises '1e3' bytes"),
        (b"Content-Length: " + b"9" * 5000, b"", f"it promises '{'9' * 40}' bytes"),
        (b"Transfer-Encoding: gzip, chunked", b"", "it sends an encoding that was not requested: 'gzip, chunked'"),
        (b"Transfer-Encoding: chunked", b"", "the connection was cut"),
        (b"Transfer-Encoding: chunked", b"5\r\n", "the connection was cut"),
        (b"Transfer-Encoding: chunked", b"five\r\n", "a chunk has no valid length"),
        (b"Transfer-Encoding: chunked", b"-5\r\n", "a chunk has no valid length"),
        (b"Transfer-Encoding: chunked", b"f" * 5000 + b"\r\n", "a chunk has no valid length"),
    ],
)
def test_an_invalid_body_is_refused(fields: bytes, raw: bytes, said: str) -> None:
    with pytest.raises((CutError, MalformedError)) as caught:
        body_of(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n" + raw)
    assert str(caught.value) == said


@given(pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=8), sizes=st.lists(st.integers(1, 50), min_size=1))
def test_a_body_is_the_same_however_it_is_framed_and_read(pieces: list[bytes], sizes: list[int]) -> None:
    whole = b"".join(pieces)
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    for head, framed in (
        (b"Transfer-Encoding: Chunked\r\n", chunked),
        (b"Content-Length: %d\r\n" % len(whole), whole),
    ):
        file = reader(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + framed + b"next")
        body, read = Response(file), b""
        while not body.ended:
            for size in sizes:
                piece = body.read(size)
                assert len(piece) == size or body.ended
                read += piece
        assert read == whole
        assert file.read() == b"next"


@given(raw=st.binary(max_size=200))
def test_a_hostile_answer_is_read_or_refused(raw: bytes) -> None:
    for head in (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 ", b""):
        file = reader(head + raw)
        try:
            Response(file).read(1000)
        except (CutError, MalformedError):
            continue


def test_headers_are_a_mapping() -> None:
    assert Headers([("A", "1"), ("b", "2"), ("a", "3")]) == {"a": "1, 3", "b": "2"}
    assert len(Headers()) == 0
