"""Connections that wait, as the kernel tells them."""

from __future__ import annotations

import socket

from deployer.runner.backlog import is_waited_for


def test_a_connection_that_is_not_accepted_yet():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_waited_for({port})
        with socket.create_connection(("127.0.0.1", port)):
            assert is_waited_for({1, port})
            assert not is_waited_for({port - 1})
            server.accept()[0].close()
            assert not is_waited_for({port})


def test_ipv6():
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as server,
        socket.create_connection(server.getsockname()[:2]),
    ):
        assert is_waited_for({server.getsockname()[1]})


def test_without_the_kernels_tables_nobody_waits(tmp_path):
    assert not is_waited_for({80}, str(tmp_path))
    (tmp_path / "tcp").write_text("sl\nnonsense\n\n")
    assert not is_waited_for({80}, str(tmp_path))
