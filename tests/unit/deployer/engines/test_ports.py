"""PORT, and the ports of this machine that are taken."""

from __future__ import annotations

import os
import socket

import pytest

from buildpack.errors import MachineError, UsageError
from deployer.engines.ports import free_port, parse_host, ports_of_web, read_port, require_free


def test_an_unset_or_empty_port_is_the_default() -> None:
    assert [read_port(variables, 8000) for variables in ({}, {"PORT": ""}, {"PORT": "5000"})] == [8000, 8000, 5000]


@pytest.mark.parametrize("value", ["abc", "0", "65536", "²", "-1"])
def test_a_port_that_is_not_a_port(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_port({"PORT": value}, 8000)
    assert str(caught.value) == (
        f"PORT is {value!r}, which is not the number of a port\n\n"
        "hint: correct it where it is set (-e, an env file, .env, app.json or the shell), or leave it out."
    )


def test_web_processes_have_neighbouring_ports_up_to_65535() -> None:
    assert list(ports_of_web(65534, 2)) == [65534, 65535]
    with pytest.raises(UsageError) as caught:
        ports_of_web(65534, 3)
    assert caught.value.what == "port 65534 leaves no room for 3 web processes"


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("address", ["", "127.0.0.1"])
def test_a_taken_port_is_an_error_that_names_its_holder_and_a_free_port(bound: str, address: str) -> None:
    with socket.create_server((bound, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(MachineError) as caught:
            require_free([port], address=address)
    assert caught.value.what == f"port {port} is taken"
    assert f"(pid {os.getpid()}) listens on {f'{address}:{port}' if address else 'it'} already" in caught.value.why
    assert caught.value.hint.startswith("stop it, or choose another port with `-p ")
    require_free([port], address=address)


def test_a_free_port_is_free() -> None:
    require_free([free_port()])


def test_addresses():
    assert [parse_host(text) for text in ("localhost", "0.0.0.0", "[::1]", "::")] == [
        "127.0.0.1",
        "0.0.0.0",
        "::1",
        "::",
    ]


def test_a_host_that_is_not_an_address():
    with pytest.raises(UsageError) as caught:
        parse_host("example.org")
    assert str(caught.value) == (
        "--host 'example.org' is not an address\n\n"
        "It is the address of this machine on which ports are published.\n\n"
        "hint: 127.0.0.1 allows connections from this machine only, 0.0.0.0 also from the network."
    )
