from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from buildpack.errors import EngineError
from buildpack.oci import engine_host
from buildpack.oci.engine_host import Endpoint, default_sockets, find_engine, parse_host, require_engine

ELSEWHERE = "`--to archive:FILE` needs no engine."


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the usual sockets below it, so that this machine's own engine is not found."""
    usual = engine_host.default_sockets

    def below(environ: dict[str, str]) -> list[Path]:
        return [path if path.is_relative_to(tmp_path) else tmp_path / path.relative_to("/") for path in usual(environ)]

    monkeypatch.setattr(engine_host, "default_sockets", below)
    return tmp_path


@pytest.fixture
def listen() -> Iterator[object]:
    with ExitStack() as stack:

        def at(path: Path) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(str(path))
            server.listen()

        yield at


def message(environ: dict[str, str]) -> str:
    with pytest.raises(EngineError) as caught:
        find_engine(environ)
    assert caught.value.exit_code == 40
    return str(caught.value)


def write_context(home: Path, name: str, host: str, *, skip_verify: bool = False, tls: bool = False) -> Path:
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker/contexts/meta" / identity / "meta.json"
    meta.parent.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": skip_verify}
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": endpoint}}))
    certificates = home / ".docker/contexts/tls" / identity / "docker"
    if tls:
        certificates.mkdir(parents=True)
    return certificates


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("unix:///run/x.sock", "/run/x.sock", "unix:///run/x.sock"),
        ("/run/x.sock", "/run/x.sock", "unix:///run/x.sock"),
        ("tcp://10.0.0.1:1234", ("10.0.0.1", 1234), "tcp://10.0.0.1:1234"),
        ("tcp://host", ("host", 2375), "tcp://host:2375"),
        ("tcp://[::1]:2375/", ("::1", 2375), "tcp://[::1]:2375"),
        ("tcp://[::1]", ("::1", 2375), "tcp://[::1]:2375"),
        ("http://host:80", ("host", 80), "tcp://host:80"),
    ],
)
def test_a_host_is_parsed(text: str, address: object, shown: str) -> None:
    found = parse_host(text, source="DOCKER_HOST")
    assert found.address == address
    assert str(found) == shown


@pytest.mark.parametrize(
    "text", ["npipe:////./pipe/x", "nonsense", "unix://", "unix://relative", "tcp://", "tcp://h:x", "fd://"]
)
def test_an_invalid_host_is_an_error(text: str) -> None:
    assert message({"DOCKER_HOST": text}) == (
        f"DOCKER_HOST does not name a container engine\n\nIt says {text!r}; unix:///PATH and tcp://HOST:PORT are "
        "understood."
        "\n\nhint: correct DOCKER_HOST, or unset it to use the default engine."
    )


def test_a_host_over_ssh_is_an_error() -> None:
    assert message({"DOCKER_HOST": "ssh://me@host"}) == (
        "the container engine at ssh://me@host is reached over ssh, which is not supported\n\n"
        "Images are loaded over a unix socket, tcp, or tcp with TLS.\n\n"
        "hint: forward its socket, `ssh -N -L /tmp/docker.sock:/var/run/docker.sock HOST`, and set "
        "DOCKER_HOST=unix:///tmp/docker.sock."
    )


def test_tls_is_read_from_the_environment() -> None:
    environ = {"DOCKER_HOST": "tcp://h", "DOCKER_CERT_PATH": "/c", "HOME": "/h"}
    assert find_engine(environ) == Endpoint(address=("h", 2375))
    assert find_engine(environ | {"DOCKER_TLS_VERIFY": "1"}) == Endpoint(address=("h", 2376), certificates=Path("/c"))
    del environ["DOCKER_CERT_PATH"]
    found = find_engine(environ | {"DOCKER_TLS_VERIFY": "1"})
    assert found == Endpoint(address=("h", 2376), certificates=Path("/h/.docker"))


def test_the_context_of_the_configuration_is_used(home: Path) -> None:
    certificates = write_context(home, "far", "tcp://far:2376", skip_verify=True, tls=True)
    (home / ".docker/config.json").write_text('{"currentContext": "far"}')
    far = Endpoint(address=("far", 2376), certificates=certificates, verify=False)
    assert find_engine({"HOME": str(home)}) == far
    assert find_engine({"DOCKER_CONFIG": str(home / ".docker")}) == far
    assert find_engine({"HOME": str(home), "DOCKER_HOST": "unix:///x"}) == Endpoint(address="/x")
    assert find_engine({"HOME": str(home), "DOCKER_CONTEXT": "default"}) is None


def test_the_context_of_the_environment_is_used(home: Path) -> None:
    write_context(home, "near", "unix:///run/near.sock")
    assert find_engine({"HOME": str(home), "DOCKER_CONTEXT": "near"}) == Endpoint(address="/run/near.sock")
    assert message({"HOME": str(home), "DOCKER_CONTEXT": "none"}) == (
        "there is no Docker context 'none'\n\nDOCKER_CONTEXT names it; there are: default, near.\n\n"
        "hint: choose one with `docker context use`, or unset DOCKER_CONTEXT."
    )


def test_a_context_over_ssh_is_an_error(home: Path) -> None:
    write_context(home, "far", "ssh://me@host")
    assert "is reached over ssh" in message({"HOME": str(home), "DOCKER_CONTEXT": "far"})


@pytest.mark.parametrize("content", ["", "[]", "{", '{"currentContext": null}'])
def test_a_broken_configuration_counts_as_missing(home: Path, content: str) -> None:
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text(content)
    assert find_engine({"HOME": str(home)}) is None


def test_the_usual_sockets_have_an_order() -> None:
    assert [str(path) for path in default_sockets({"XDG_RUNTIME_DIR": "/run/user/1", "HOME": "/home/me"})] == [
        "/var/run/docker.sock",
        "/run/user/1/docker.sock",
        "/home/me/.docker/run/docker.sock",
        "/run/user/1/podman/podman.sock",
        "/run/podman/podman.sock",
    ]
    assert [str(path) for path in default_sockets({})] == ["/var/run/docker.sock", "/run/podman/podman.sock"]


def test_the_first_socket_that_answers_is_used(home: Path, listen) -> None:  # type: ignore[no-untyped-def]
    environ = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run/me")}
    stale = home / "var/run/docker.sock"
    stale.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(stale))
    assert find_engine(environ) == Endpoint(address=str(stale))
    podman = home / "run/me/podman/podman.sock"
    listen(podman)
    assert find_engine(environ) == Endpoint(address=str(podman))
    rootless = home / "run/me/docker.sock"
    listen(rootless)
    assert find_engine(environ) == Endpoint(address=str(rootless))


def test_a_missing_engine_is_an_error(home: Path) -> None:
    assert find_engine({}) is None
    with pytest.raises(EngineError) as caught:
        require_engine({})
    assert str(caught.value) == (
        "no container engine was found\n\n"
        f"Looked for: unix://{home}/var/run/docker.sock, unix://{home}/run/podman/podman.sock.\n\n"
        "hint: start Docker or Podman (`systemctl --user start podman.socket`), or set DOCKER_HOST; " + ELSEWHERE
    )
