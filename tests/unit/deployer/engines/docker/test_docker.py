"""Containers are made from values, and have an owner: everything about the docker engine that needs none."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from buildpack.errors import EngineError, UsageError
from buildpack.oci.engine_host import Endpoint
from deployer.engines.docker.client import connect
from deployer.engines.docker.container import Blueprint, Container, Exit, container_name, explain_start
from deployer.engines.docker.engine import Image, draw_blueprints
from deployer.engines.docker.images import Found
from deployer.engines.docker.owner import is_gone, owner_labels, parse_owner, this_owner
from deployer.engines.docker.streams import STDERR, STDOUT, Demultiplexer
from deployer.engines.engine import Request
from deployer.errors.engines import NotStartedError, container_not_started, foreign_image, image_unknown, local_cannot
from deployer.formation import Launch, Limits
from tests.support.raw_server import raw_server

# Frames


def frame(stream: int, payload: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(payload)) + payload


WHOLE = frame(1, b"out\n") + frame(2, b"err\n") + frame(1, b"") + frame(1, b"\x00\x01" * 100)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 13, 1000])
def test_frames_come_apart_however_they_are_cut(size):
    frames = Demultiplexer()
    streams = {STDOUT: b"", STDERR: b""}
    for at in range(0, len(WHOLE), size):
        for number, piece in frames.feed(WHOLE[at : at + size]):
            assert piece
            streams[number] += piece
    assert streams == {STDOUT: b"out\n" + b"\x00\x01" * 100, STDERR: b"err\n"}


# Owners


def test_an_owner_survives_being_written_as_labels():
    here = this_owner()
    assert here.pid == os.getpid()
    assert here.started
    assert parse_owner(owner_labels(here)) == here


@pytest.mark.parametrize("labels", [{}, {"dev.deploy.owner.host": "x"}, {"dev.deploy.owner.pid": "1"}])
def test_labels_without_an_owner(labels):
    assert parse_owner(labels) is None


def test_this_process_is_not_gone():
    assert not is_gone(this_owner(), this_owner())


def test_a_process_that_ended_is_gone_and_so_is_one_whose_number_is_anothers_now():
    here = this_owner()
    child = subprocess.Popen([sys.executable, "-c", ""])
    dead = replace(here, pid=child.pid, started="1")
    child.wait()
    assert is_gone(dead, here)
    assert is_gone(replace(here, started="1"), here)


def test_a_zombie_is_gone():
    here = this_owner()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        assert is_gone(replace(here, pid=pid, started=started(pid)), here)
    finally:
        os.waitpid(pid, 0)


def started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_before_a_restart_of_the_machine_everything_is_gone():
    here = this_owner()
    assert is_gone(replace(here, boot="another"), here)


def test_another_machine_and_another_container_are_not_ours_to_judge():
    here = this_owner()
    assert not is_gone(replace(here, host="elsewhere/", boot="another", started="1"), here)
    assert not is_gone(replace(here, namespace="pid:[1]", started="1"), here)


# Blueprints


def request(**changes: object) -> Request:
    made = Request(folder=Path("blasto"), shown="blasto", limits=Limits(memory=1 << 29))
    return replace(made, **changes)


def image(*processes: str, **environment: str) -> Image:
    return Image(
        shown="blasto",
        app="blasto",
        found=Found(id="sha256:0", environment=environment),
        launch=Launch(processes=dict.fromkeys(processes, "run"), formation={}),
    )


def draw(request: Request, image: Image, given: dict[str, str] | None = None, **counts: int) -> list[Blueprint]:
    assert image.launch is not None
    return draw_blueprints(request, image, list(image.launch.processes), counts, {"A": "1"} if given is None else given)


def ports(
    request: Request, image: Image, given: dict[str, str] | None = None, **formation: int
) -> dict[str, tuple[str, object]]:
    drawn = draw(request, image, given, **formation)
    return {one.process: (one.environment["PORT"], one.published) for one in drawn}


def test_web_is_published_from_the_port_on_and_others_are_not():
    known = image("worker", "release", "web", "clock")
    assert ports(request(port=9000), known, web=2, worker=2, clock=1) == {
        "web.1": ("8000", (8000, "127.0.0.1", 9000)),
        "web.2": ("8000", (8000, "127.0.0.1", 9001)),
        "worker.1": ("8100", None),
        "worker.2": ("8101", None),
        "clock.1": ("8200", None),
    }


def test_without_web_the_others_keep_their_ports():
    assert ports(request(), image("worker"), worker=1) == {"worker.1": ("8100", None)}


def test_the_port_inside_may_be_chosen_by_the_user_or_the_image():
    assert ports(request(), image("web"), {"PORT": "5000"}, web=1) == {"web.1": ("5000", (5000, "127.0.0.1", 8000))}
    assert ports(request(), image("web", PORT="7000"), web=1) == {"web.1": ("7000", (7000, "127.0.0.1", 8000))}


def test_a_blueprint_says_which_process_it_is():
    (drawn,) = draw(request(), image("web"), web=1)
    assert drawn.environment == {"A": "1", "PORT": "8000", "PS": "web.1", "DYNO": "web.1"}
    assert (drawn.command, drawn.image, drawn.limits) == (["web"], "sha256:0", Limits(memory=1 << 29))


@pytest.mark.parametrize("value", ["", "abc", "0", "65536", "²"])
def test_a_port_variable_that_is_none(value):
    if not value:  # an empty one counts as unset
        assert ports(request(), image("web"), {"PORT": ""}, web=1)["web.1"][0] == "8000"
        return
    with pytest.raises(UsageError) as caught:
        draw(request(), image("web"), {"PORT": value}, web=1)
    assert str(caught.value) == (
        f"PORT is {value!r}, which is not the number of a port\n\n"
        "hint: correct it where it is set (-e, an env file, .env, app.json or the shell), or leave it out."
    )


def test_ports_end_at_65535():
    with pytest.raises(UsageError) as caught:
        draw(request(port=65535), image("web"), web=2)
    assert str(caught.value) == (
        "port 65535 leaves no room for 2 web processes\n\n"
        "web.1 gets that port, each further one the next, and 65535 is the last.\n\n"
        "hint: choose one up to 65534."
    )


def test_names_of_containers():
    assert container_name("team/blasto", "web.1", "3f9a") == "team-blasto-web-1-3f9a"


# Engines that are not there


def test_an_engine_that_does_not_answer():
    with pytest.raises(EngineError) as caught:
        connect(Endpoint(address="/nonexistent/docker.sock"))
    assert str(caught.value) == (
        "the container engine at unix:///nonexistent/docker.sock is not running\n\n"
        "There is no socket at this path.\n\n"
        "hint: start it, or set DOCKER_HOST to another one; `--to archive:FILE` needs no engine."
    )


def at(host: str) -> Endpoint:
    name, _, port = host.partition(":")
    return Endpoint(address=(name, int(port)))


def answering(*lines: str) -> str:
    return "\r\n".join(("HTTP/1.1 200 OK", "Content-Length: 2", *lines, "", "OK"))


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("Docker/20.10.24+dfsg1 (linux)", "Docker 20.10.24"),
        ("Docker/28.5.1 (linux)", "Docker 28.5.1"),
        ("Libpod/4.3.1 (linux)", "Podman 4.3.1"),
        ("Libpod/5.8.0-dev (linux)", "Podman 5.8.0-dev"),
    ],
)
def test_an_engine_s_name_comes_with_its_first_answer(server, name):
    said = answering("Api-Version: 1.41", f"Server: {server}")
    asked = []

    def reply(method: str, path: str) -> list[bytes]:
        asked.append(f"{method} {path}")
        return [said.encode()]

    with raw_server(reply) as host:
        engine = connect(at(host))
        engine.close()
    assert engine.name == name
    assert engine.api.api_version == "1.41"
    assert asked == ["GET /_ping"]


@pytest.mark.parametrize("body", ["{}", "[1]"])
def test_an_error_without_a_message_is_the_engine_s(body):
    def reply(_method: str, path: str) -> list[bytes]:
        status = "200 OK" if path.endswith("_ping") else "500 Internal Server Error"
        head = f"HTTP/1.1 {status}\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\nConnection: close\r\n"
        return [f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()]

    with raw_server(reply) as host:
        engine = connect(at(host))
        with pytest.raises(EngineError) as caught, engine.worded():
            engine.api.containers()
        engine.close()
    assert "500 Server Error" in caught.value.why


def test_podman_is_asked_for_an_exit_with_a_pause_between_two_looks():
    """Its answer to Docker's question takes half a processor for as long as the container runs."""
    asked = []

    def reply(method: str, path: str) -> list[bytes]:
        asked.append(f"{method} {path}")
        inspected = '{"State": {"OOMKilled": true}}'
        body = {"_ping": "OK", "wait": "7"}.get(path.partition("?")[0].rpartition("/")[2], inspected)
        head = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nLibpod-Api-Version: 4.3.1\r\n"
        return [f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()]

    with raw_server(reply) as host:
        engine = connect(at(host))
        blueprint = Blueprint(app="a", process="web.1", image="i", command=["true"], environment={})
        container = Container(engine, blueprint, name="a-web-1")
        container.id = "c0"
        assert container.wait() == Exit(code=7, out_of_memory=True)
        engine.close()
    wait = "/v4.3.1/libpod/containers/c0/wait?condition=stopped&condition=exited&interval=100ms"
    assert asked == ["GET /_ping", f"POST {wait}", "GET /v1.41/containers/c0/json"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (answering("Server: nginx"), "is not running\n\nWhat answers is not an engine."),
        ('HTTP/1.1 403 Forbidden\r\nContent-Length: 27\r\n\r\n{"message": "not for you."}', "not for you."),
    ],
)
def test_what_answers_may_be_no_engine_or_refuse(said, shown):
    with raw_server(lambda *_: [said.encode()]) as host, pytest.raises(EngineError) as caught:
        connect(at(host))
    assert shown in str(caught.value)


# Wording


def test_what_only_an_engine_can_do():
    assert str(local_cannot(["the image blasto:1", "--memory"], "no container engine was found")) == (
        "the image blasto:1 and --memory need a container engine\n\n"
        "No container engine was found.\n\n"
        "hint: start Docker or Podman, or set DOCKER_HOST."
    )
    assert str(local_cannot(["--memory"], "--engine local")) == (
        "--memory needs a container engine\n\n"
        "--engine local runs processes of this machine.\n\n"
        "hint: leave `--engine local` out."
    )


def test_an_image_without_process_types():
    assert str(foreign_image("python:3.12")) == (
        "python:3.12 has no process types\n\n"
        "It was not built by deploy: it has no /opt/deploy/launch.json that deploy can read.\n\n"
        "hint: name a command, for example `deploy run python:3.12 -- sh`."
    )


def test_an_image_that_was_not_built():
    assert str(image_unknown("blasto:latest")) == (
        "there is no image blasto:latest\n\n"
        "Neither the engine nor the store has it, and with --no-build deploy does not build it.\n\n"
        "hint: leave out --no-build."
    )


def test_a_command_that_cannot_be_run_has_a_shells_exit_code():
    assert container_not_started("nosuch", "not found", code=127).exit_code == 127


# Why a container does not start

RUNC = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
)


@pytest.mark.parametrize(
    ("message", "name", "code"),
    [
        (RUNC + 'exec: "nope": executable file not found in $PATH: unknown', "nope", 127),
        (RUNC + 'exec: "/nope": stat /nope: no such file or directory', "/nope", 127),
        (RUNC + 'exec: "/etc/passwd": permission denied: unknown', "/etc/passwd", 126),
        (
            "preparing container 1 for attach: crun: executable file `nope` not found in $PATH",
            "nope",
            127,
        ),
        ("crun: the path `/etc/passwd` exists but it is not executable: Operation not permitted", "/etc/passwd", 126),
        ("crun: the path `/app` is not a regular file: Operation not permitted", "/app", 126),
    ],
)
def test_a_command_that_the_image_lacks(message, name, code):
    with pytest.raises(NotStartedError) as caught:
        explain_start(message)
    assert (caught.value.what, caught.value.exit_code) == (f"{name!r} cannot be run in this image", code)


@pytest.mark.parametrize(
    "message",
    [
        RUNC + 'chdir to cwd ("/app") set in config.json failed: no such file or directory: unknown',
        "failed to create shim: fork/exec /usr/bin/runc: no such file or directory: unknown",
        "error mounting /proc: permission denied",
    ],
)
def test_an_engine_that_lacks_something_itself(message):
    explain_start(message)
