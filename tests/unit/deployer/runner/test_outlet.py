"""Streams that stall, close, and fill up."""

from __future__ import annotations

import errno
import io
import os
import socket
from pathlib import Path

import pytest

from deployer.runner.outlet import Outlet, OutputError


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as source, os.fdopen(writer, "wb", buffering=0) as sink:
        yield source, sink


def drain(outlet, read):
    """Read until all of it has arrived."""
    got = b""
    while outlet.waiting:
        got += read(1 << 16)
        outlet.flush()
    return got


def test_a_stalled_pipe_never_blocks_and_loses_nothing(pipe):
    source, sink = pipe
    outlet = Outlet(sink)
    text = os.urandom(1 << 20)
    outlet.put(text)
    assert 0 < outlet.waiting < len(text)
    assert os.get_blocking(sink.fileno())
    got = drain(outlet, source.read)
    outlet.close()
    sink.close()
    assert got + source.read() == text


def test_a_socket_gets_careful_pieces():
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("wb") as stream:
        outlet = Outlet(stream)
        text = os.urandom(1 << 20)
        outlet.put(text)
        assert outlet.waiting > 0
        assert ours.getblocking()
        got = drain(outlet, theirs.recv)
        while len(got) < len(text):
            got += theirs.recv(1 << 16)
        assert got == text


def test_a_file(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        file.write(b"before ")
        outlet = Outlet(file)
        outlet.put(b"after")
        assert outlet.waiting == 0
        outlet.close()
    assert (tmp_path / "log").read_bytes() == b"before after"


def test_a_stream_without_a_descriptor():
    stream = io.BytesIO()
    Outlet(stream).put(b"text")
    assert stream.getvalue() == b"text"


def test_nobody_reads(pipe):
    source, sink = pipe
    outlet = Outlet(sink)
    source.close()
    with pytest.raises(OutputError) as caught:
        outlet.put(b"text")
    assert caught.value.errno == errno.EPIPE
    assert outlet.waiting == 0
    outlet.close()


def test_no_room():
    with Path("/dev/full").open("wb") as full:
        outlet = Outlet(full)
        with pytest.raises(OutputError, match=r"^No space left on device$"):
            outlet.put(b"text")
