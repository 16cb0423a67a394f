"""`deploy run` on Docker and on Podman: real containers, real gunicorn, real signals."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildpack.oci.engine_host import parse_host
from deployer.engines.docker import inside
from deployer.engines.docker.client import connect
from deployer.engines.docker.inside import run_inside
from deployer.engines.docker.owner import this_owner
from deployer.settings.app_variables import place_of_secrets
from tests.support.command import EXAMPLES, Done, deploy, snapshot
from tests.support.containers import APP, Host, make_app
from tests.support.ports import free_port
from tests.support.running import Running, environment, get

pytestmark = pytest.mark.slow

HOSTS = [
    pytest.param("docker", marks=pytest.mark.engine),
    pytest.param("podman", marks=pytest.mark.podman),
]


@pytest.fixture(scope="session", params=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    address = request.getfixturevalue("engine" if request.param == "docker" else "podman")
    return Host(address=address, product=request.param.capitalize())


ON_DOCKER = pytest.mark.parametrize("host", HOSTS[:1], indirect=True, scope="session")
"""For tests of what no engine decides: one engine is enough."""


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_app(tmp_path_factory.mktemp("apps"))


@pytest.fixture(scope="session")
def built(host: Host, app: Path, home: Path) -> Iterator[Host]:
    """The engine, with the app's image in it."""
    done = deploy("build", app, "--to", "docker", "-q", home=home, env={"DOCKER_HOST": host.address})
    assert done.code == 0, done.err
    yield host
    host.docker("rmi", "-f", f"docker.io/library/{APP}:latest", check=False)


@pytest.fixture
def run(built: Host, app: Path, home: Path) -> Iterator[Callable[..., Running]]:
    """Start `deploy run` on the app; nothing of it is left afterwards."""
    started: list[Running] = []

    def begin(*arguments: str | Path, **env: str) -> Running:
        started.append(Running("run", app, *arguments, home=home, env={"DOCKER_HOST": built.address, **env}))
        return started[-1]

    yield begin
    for running in started:
        running.close()
    left = built.containers()
    for name in left:
        built.docker("rm", "-f", name)
    assert left == []


@pytest.fixture
def finished(built: Host, app: Path, home: Path) -> Callable[..., Done]:
    """Run `deploy run` on the app until it ends."""

    def finish(*arguments: str | Path, stdin: bytes = b"", **env: str) -> Done:
        environ = {"DOCKER_HOST": built.address, **env}
        done = deploy("run", app, *arguments, home=home, env=environ, stdin=stdin, timeout=120)
        assert built.containers() == []
        return done

    return finish


@pytest.fixture
def port() -> int:
    return free_port(3)


def said(text: str, name: str) -> list[str]:
    rows = (line.partition(" | ") for line in text.splitlines())
    return [rest for head, _, rest in rows if head.split()[1:] == [name]]


def narrated(text: str) -> list[str]:
    """Return the system's lines, a container's random suffix left out."""
    return [re.sub(r"-[0-9a-f]{6}\)", "-*)", line) for line in said(text, "system")]


def await_start(running: Running, name: str, words: str) -> None:
    """Wait until a process spoke and counts as started: an engine may let it run before it says so."""
    running.wait_for(words)
    running.wait_for(f"{name} started")


# Serving


@pytest.mark.every_engine
def test_blasto_serves_says_so_once_and_stops(built, run, port):
    running = run("web", "-p", port)
    running.wait_for("ready:")
    assert get(port)[0] == 200
    (name,) = built.containers()
    labels = built.inspect(name)["Config"]["Labels"]
    assert (labels["dev.deploy.app"], labels["dev.deploy.process"]) == (APP, "web.1")
    assert labels["dev.deploy.owner.pid"] == str(running.process.pid)
    assert running.stop(signal.SIGINT) == 130
    assert narrated(running.out) == [
        f"web.1 started (container {APP}-web-1-*)",
        f"ready: http://localhost:{port}",
        "SIGINT received",
        "sending SIGTERM to web.1",
        "web.1 stopped (rc=0)",
    ]
    version = running.err.splitlines()[0]
    assert re.fullmatch(rf"engine: {built.product} [0-9.]+ \({built.address} answers\)", version)
    assert len(running.err.splitlines()) == 1
    assert built.containers() == []


@pytest.mark.every_engine
def test_a_formation_has_a_container_for_each_process(built, run, port):
    running = run("web=2", "worker", "-p", port)
    running.wait_for("ready:")
    assert (get(port)[0], get(port + 1)[0]) == (200, 200)
    assert [re.sub(r"-\w+$", "", name) for name in built.containers()] == [
        f"{APP}-web-1",
        f"{APP}-web-2",
        f"{APP}-worker-1",
    ]
    variables = {
        re.sub(rf"{APP}-(.*)-\w+$", r"\1", name): dict(
            one.partition("=")[::2] for one in built.inspect(name)["Config"]["Env"]
        )
        for name in built.containers()
    }
    told = {name: (env["PORT"], env["DYNO"], env["PS"]) for name, env in variables.items()}
    assert told == {
        "web-1": ("8000", "web.1", "web.1"),
        "web-2": ("8000", "web.2", "web.2"),
        "worker-1": ("8200", "worker.1", "worker.1"),
    }
    assert running.said("worker.1") == ["working"]
    assert f"ready: http://localhost:{port} http://localhost:{port + 1}" in running.said("system")
    assert running.stop(signal.SIGTERM) == 143


@ON_DOCKER
def test_without_a_type_release_is_not_started(run, port):
    running = run("-p", port, "-e", "ANY=exec sleep 1000")
    running.wait_for("ready:")
    await_start(running, "stubborn.1", "deaf")
    assert "released" not in running.out
    assert "release.1" not in running.out
    running.process.send_signal(signal.SIGINT)
    running.wait_for("SIGINT received")
    time.sleep(1.2)
    assert running.stop(signal.SIGINT) == 130


def test_a_request_in_flight_is_finished(run, port):
    running = run("web", "-p", port, "-e", "WEB=exec gunicorn slow:app")
    running.wait_for("ready:")
    answers: list[tuple[int, bytes]] = []
    request = threading.Thread(target=lambda: answers.append(get(port, "/slow")))
    request.start()
    running.wait_for("begun")
    assert running.stop(signal.SIGTERM) == 143
    request.join()
    assert answers == [(200, b"done")]


@ON_DOCKER
def test_log_lines_as_json(finished):
    done = finished("any", "--log-format", "json", "-e", "ANY=echo one; echo two >&2")
    assert done.code == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    # Two streams: the engine promises no order between them.
    assert sorted(line["message"] for line in lines if line["process"] == "any.1") == ["one", "two"]


@ON_DOCKER
def test_quiet_leaves_the_processes_lines(finished):
    done = finished("any", "-q", "-e", "ANY=echo one")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"\d\d:\d\d:\d\d any\.1  \| one\n", done.out)


def test_every_line_comes_whole_and_once(finished):
    count = 200_000
    script = f"import sys; [sys.stdout.write(f'{{i:079d}}\\n') for i in range({count})]"
    done = finished("any", "-e", f'ANY=python -c "{script}"')
    assert done.code == 0
    lines = said(done.out, "any.1")
    assert len(lines) == count
    assert lines == [f"{number:079d}" for number in range(count)]


# Ends


@pytest.mark.parametrize(("command", "code"), [("exit 7", 7), ("kill -KILL $$", 137), ("nosuch", 127), ("true", 0)])
def test_the_exit_code_is_the_processs(finished, command, code):
    done = finished("any", "-e", f"ANY={command}")
    assert done.code == code
    assert narrated(done.out)[-1] == f"any.1 stopped (rc={code})"


@ON_DOCKER
def test_the_first_end_stops_the_rest_and_names_the_exit_code(finished):
    done = finished("any", "worker", "-e", "ANY=sleep 1; echo no database; exit 4")
    assert done.code == 4
    assert "sending SIGTERM to worker.1" in narrated(done.out)
    assert "worker.1 stopped (rc=143)" in narrated(done.out)
    assert done.err.endswith(
        "error: any.1 ended, so the others were stopped: it exited with 4\n\n"
        "From its log:\n  no database\n\n"
        "hint: fix what makes it fail, then run the command again.\n"
    )


def test_at_the_deadline_it_is_killed(built, run):
    running = run("stubborn", "--stop-timeout", "1")
    await_start(running, "stubborn.1", "deaf")
    assert running.stop(signal.SIGTERM) == 143
    assert narrated(running.out)[-3:] == [
        "sending SIGTERM to stubborn.1",
        "sending SIGKILL to stubborn.1",
        "stubborn.1 stopped (rc=137)",
    ]


@ON_DOCKER
def test_a_second_interrupt_a_second_later_kills(run):
    running = run("stubborn")
    await_start(running, "stubborn.1", "deaf")
    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGINT)  # the same key press, sent twice
    running.wait_for("SIGINT received")
    time.sleep(1.2)
    assert "SIGKILL" not in running.out
    assert running.stop(signal.SIGINT) == 130
    assert "sending SIGKILL to stubborn.1" in narrated(running.out)


def test_a_closed_terminal_stops_it(run, port):
    running = run("web", "-p", port)
    running.wait_for("ready:")
    assert running.stop(signal.SIGHUP) == 129


def test_a_reader_that_leaves_stops_it(built, app, home):
    process = subprocess.Popen(
        [sys.executable, "-m", "deployer", "run", str(app), "any", "-q", "-e", "ANY=yes"],
        cwd=EXAMPLES.parent,
        env=environment(home, DOCKER_HOST=built.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline().endswith(b"| y\n")
    assert process.wait(60) == 141
    assert built.containers() == []


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.3, 0.5, 0.8])
def test_a_signal_while_it_starts_leaves_nothing(built, run, delay):
    running = run("worker", "web", "-p", free_port())
    end = time.monotonic() + 120
    while not running.err and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(delay)
    assert running.stop(signal.SIGTERM) == 143, running.err
    assert built.containers() == []


def test_a_process_that_failed_is_started_again(run):
    running = run("any", "--restart", "on-failure", "-e", "ANY=echo up; sleep 0.5; exit 1")
    running.wait_for("| up", count=2)
    assert "any.1 starts again in 1 s" in running.said("system")
    assert running.stop(signal.SIGINT) in {130, 1}


@ON_DOCKER
def test_an_app_that_does_not_load_is_not(finished):
    done = finished("any", "--restart", "always", "-e", "ANY=exit 3")
    assert done.code == 3
    assert "any.1 is not started again: exit code 3 says the app does not load" in narrated(done.out)


def test_signals_for_the_app_are_passed_on(run, port):
    script = "trap 'echo got it; exit 9' USR1; echo set; while true; do sleep 0.1; done"
    running = run("any", "-e", f"ANY={script}")
    running.wait_for("| set")
    assert running.stop(signal.SIGUSR1) == 9
    assert running.said("any.1") == ["set", "got it"]


# Limits


@pytest.mark.every_engine
def test_memory_that_runs_out_is_said(built, finished):
    done = finished("any", "--memory", "64m", "-e", 'ANY=exec python -c "bytearray(300 << 20)"')
    assert done.code == 137
    # Podman does not tell on every kernel what the process was killed for.
    known = "any.1 ran out of memory: its limit of 64 MB (--memory) was reached"
    likely = "any.1 was killed, most likely because its memory limit of 64 MB (--memory) was reached"
    assert narrated(done.out)[1] in ({known} if built.product == "Docker" else {known, likely})


def test_limits_are_seen_by_web_concurrency(finished):
    done = finished("any", "--memory", "1g", "--cpus", "1", "-e", "ANY=echo $WEB_CONCURRENCY")
    assert said(done.out, "any.1") == ["3"]  # four fit the memory, one processor bears three


# Environment


@ON_DOCKER
def test_the_command_line_wins_over_env_files_over_dot_env(app, finished, tmp_path):
    (app / ".env").write_text('A=dotenv\nB=dotenv\nC=dotenv\nexport D="it\'s"\n')
    (tmp_path / "more.env").write_text("B=file\nC=file\n")
    try:
        done = finished(
            *("any", "-e", "ANY=echo $A $B $C $D $E $F"),
            *("--env-file", tmp_path / "more.env", "-e", "C=given", "-e", "E", "-e", "NOT_SET_HERE"),
            E="ours",
            F="not passed on",
        )
    finally:
        (app / ".env").unlink()
    assert said(done.out, "any.1") == ["dotenv file given it's ours"]
    assert "warning: -e NOT_SET_HERE: this environment has no such variable; it is left out." in done.err


# Ports


@ON_DOCKER
def test_an_occupied_port_is_an_error_before_anything_is_started(built, finished):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = finished("web", "worker", "-p", str(port))
    assert (done.code, done.out) == (70, "")
    assert re.fullmatch(
        rf"engine: .*\nerror: port {port} is taken\n\n"
        rf".+ \(pid \d+\) listens on 127\.0\.0\.1:{port} already; nothing was started\.\n\n"
        r"hint: stop it, or choose another port with `-p \d+`\.\n",
        done.err,
    )


@ON_DOCKER
def test_a_port_that_is_not_a_port_is_an_error_before_the_build(finished):
    done = finished("web", "-e", "PORT=abc")
    assert (done.code, done.out) == (2, "")
    assert "error: PORT is 'abc', which is not the number of a port\n" in done.err
    assert "Built" not in done.err


def test_what_the_engine_refuses_did_not_start(finished, port):
    done = finished("web", "-p", str(port), "--host", "192.0.2.1")  # an address that no machine has
    assert done.code == 40
    assert narrated(done.out) == ["web.1 did not start"]


# Readiness


@ON_DOCKER
@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        (
            "echo hello; sleep 0.3; echo oops >&2; exit 9",
            9,
            (
                "error: web.1 ended before it answered: it exited with 9\n\n"
                "From its log:\n  hello\n  oops\n\n"
                "hint: run its command by itself to look closer: `deploy run -- sh`.\n"
            ),
        ),
        (
            "echo waiting; exec sleep 1000",
            50,
            (
                "error: web.1 did not answer within SECONDS s\n\n"
                "It does not listen on any port.\n\n"
                "From its log:\n  waiting\n\n"
                "hint: its log may show what it waits for; `--boot-timeout` gives it more time.\n"
            ),
        ),
        (
            "echo there; exec python -m http.server 5000 2>&1",
            50,
            (
                "error: web.1 did not answer within SECONDS s\n\n"
                "It listens on 0.0.0.0:5000, not on port 8000, to which PORT is set.\n\n"
                "From its log:\n  there\n  Serving HTTP on 0.0.0.0 port 5000 "
                "(http://0.0.0.0:5000/) ...\n\n"
                "hint: let it listen on 0.0.0.0:$PORT, as gunicorn does by default.\n"
            ),
        ),
        (
            "exec python -m http.server $PORT --bind 127.0.0.1 2>&1",
            50,
            (
                "error: web.1 did not answer within SECONDS s\n\n"
                "It listens on 127.0.0.1:8000, which can be reached only from inside its container.\n\n"
                "From its log:\n"
                "  Serving HTTP on 127.0.0.1 port 8000 (http://127.0.0.1:8000/) ...\n\n"
                "hint: let it listen on 0.0.0.0:$PORT instead of 127.0.0.1.\n"
            ),
        ),
    ],
    ids=["dies", "listens nowhere", "wrong port", "wrong address"],
)
def test_the_reason_is_given_if_a_web_process_never_answers(finished, app, port, command, code, error):
    wanted = (code, error.replace("deploy run --", f"deploy run {app} --"))
    assert end_of_boot(finished, port, command, wanted) == wanted


def end_of_boot(finished: Callable[..., Done], port: int, command: str, wanted: tuple[int, str]) -> tuple[int, str]:
    """Boot with ever more time, since a busy machine may start the process late; return the exit code and the error."""
    for seconds in ("2", "8", "32", "64"):
        done = finished("web", "-p", str(port), "--boot-timeout", seconds, "-e", f"WEB={command}")
        seen = (done.code, done.err.partition("\n")[2].replace(f"within {seconds} s", "within SECONDS s"))
        if seen == wanted:
            break
    return seen


def test_a_process_that_accepts_and_never_answers_is_recognised(finished, port):
    silent = "import socket,time; s=socket.create_server((str(),8000)); print(1,flush=True); time.sleep(1000)"
    wanted = (
        50,
        (
            "error: web.1 did not answer within SECONDS s\n\n"
            "It listens on 0.0.0.0:8000, but no answer came.\n\n"
            "From its log:\n  1\n\n"
            "hint: its log may show what it waits for; `--boot-timeout` gives it more time.\n"
        ),
    )
    assert end_of_boot(finished, port, f'exec python -c "{silent}"', wanted) == wanted


# Leftovers


@pytest.mark.every_engine
def test_what_a_killed_deploy_left_is_cleared_by_the_next_and_the_living_are_not_touched(built, run):
    living = run("worker")
    living.wait_for("working")
    (kept,) = built.containers()

    def clears() -> bool:
        killed = run("worker")
        killed.wait_for("working")
        (left,) = {*built.containers()} - {kept}
        killed.process.kill()
        killed.wait()
        third = run("any", "-e", "ANY=exit 0")
        assert third.wait() == 0
        assert built.containers() == [kept]
        return f"removed {left}, which an earlier run left" in third.err

    # A command of another test on the same engine may have removed it first.
    assert any(clears() for _ in range(10))
    assert living.stop() == 143


@ON_DOCKER
def test_containers_of_other_machines_are_left_alone(built, finished):
    here = this_owner()
    labels = {
        "dev.deploy.app": "elsewhere",
        "dev.deploy.process": "web.1",
        "dev.deploy.owner.host": "elsewhere/1",
        "dev.deploy.owner.boot": here.boot,
        "dev.deploy.owner.namespace": here.namespace,
        "dev.deploy.owner.pid": "999999999",
        "dev.deploy.owner.started": "1",
    }
    arguments = [f"--label={key}={value}" for key, value in labels.items()]
    image = f"docker.io/library/{APP}:latest"
    identity = built.docker("create", *arguments, image, "worker").strip()
    try:
        assert finished("any", "-e", "ANY=true").code == 0
        assert built.inspect(identity)["State"]["Status"] == "created"
    finally:
        built.docker("rm", "-f", identity)


# Images


@ON_DOCKER
def test_an_image_is_run_by_its_reference(built, home):
    done = deploy(
        *("run", f"{APP}:latest", "any", "-e", "ANY=echo here"), home=home, env={"DOCKER_HOST": built.address}
    )
    assert (done.code, said(done.out, "any.1")) == (0, ["here"])


@ON_DOCKER
def test_an_unknown_process_type_of_an_image(built, home):
    done = deploy("run", f"{APP}:latest", "wbe", home=home, env={"DOCKER_HOST": built.address})
    assert done.code == 2
    assert done.err.partition("\n")[2] == (
        f"error: {APP}:latest has no process type 'wbe'\n\n"
        "It has web, any, worker, stubborn, release.\n\n"
        "hint: did you mean 'web'?\n"
    )


def test_an_image_that_is_made_to_be_read_for_ever(host, home, tmp_path):
    """deploy does not read it, and the engine does not wait for a reader before it removes the container."""
    name = f"deploy-made-to-harm-{free_port()}:1"
    layer = tmp_path / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        member = tarfile.TarInfo("opt/deploy/launch.json")
        member.size = 64 << 20
        with Path("/dev/zero").open("rb") as zeros:
            tar.addfile(member, zeros)
    host.docker("import", "-c", 'CMD ["true"]', str(layer), name)
    try:
        done = deploy("run", name, "-q", home=home, env={"DOCKER_HOST": host.address})
        assert (done.code, done.err.partition("\n")[0]) == (2, f"error: {name} has no process types")
        # By its image: another test may look into one of its own.
        assert host.docker("ps", "-aq", "--filter", f"ancestor={name}") == ""
    finally:
        host.docker("rmi", "-f", name)


def test_an_image_that_only_the_store_has_is_loaded(built, app, home):
    name = f"docker.io/library/{APP}:stored"
    assert deploy("build", app, "-t", name, home=home).code == 0
    try:
        done = deploy(
            *("run", f"{APP}:stored", "any", "-q", "-e", "ANY=echo here"),
            home=home,
            env={"DOCKER_HOST": built.address},
        )
        assert (done.code, said(done.out, "any.1"), done.err) == (0, ["here"], "")
    finally:
        built.docker("rmi", name, check=False)


@ON_DOCKER
def test_no_build_runs_what_is_there(built, app, finished):
    (app / "Procfile").write_text((app / "Procfile").read_text() + "new: true\n")
    try:
        done = finished("new", "--no-build")
    finally:
        (app / "Procfile").write_text((app / "Procfile").read_text().removesuffix("new: true\n"))
    assert done.code == 2
    assert done.err.partition("\n")[2] == (
        f"error: {APP}:latest has no process type 'new'\n\n"
        "It has web, any, worker, stubborn, release.\n\n"
        "hint: name one of these.\n"
    )


@ON_DOCKER
def test_no_build_without_an_image(built, blasto, home):
    folder = blasto.rename(blasto.parent / "deploytestnever")
    done = deploy("run", folder, "--no-build", home=home, env={"DOCKER_HOST": built.address})
    assert done.code == 40
    assert done.err.partition("\n")[2] == (
        "error: there is no image deploytestnever:latest\n\n"
        "Neither the engine nor the store has it, and with --no-build deploy does not build it.\n\n"
        "hint: leave out --no-build.\n"
    )


REPORT = """\
import hashlib
import os
from pathlib import Path

key = os.environ["KEY"].encode()
found = [str(path) for path in Path("/app").rglob("*") if path.is_file() and key in path.read_bytes()]
print("changed", hashlib.sha256(key).hexdigest(), found)
"""


@ON_DOCKER
def test_a_changed_app_is_built_first_and_a_secret_is_made_for_it(built, app, home, finished):
    (app / "new.py").write_text(REPORT)
    (app / "app.json").write_text('{"env": {"KEY": {"generator": "secret"}}}')
    kept = place_of_secrets(app, {"DEPLOY_HOME": str(home)}) / "KEY"
    before = snapshot(app)
    try:
        done = [finished("any", "-e", "ANY=python new.py") for _ in range(2)]
        key = kept.read_text()
        assert re.fullmatch(r"[0-9a-f]{64}", key)
        here = hashlib.sha256(key.encode()).hexdigest()
        assert [said(each.out, "any.1") for each in done] == [[f"changed {here} []"]] * 2, (
            "the same each time, and not in the image"
        )
        made = f"made a secret for KEY (app.json asks for it); it is kept in {kept.parent}\n"
        assert [each.err.count(made) for each in done] == [1, 0]
        assert key not in "".join(each.out + each.err for each in done)
        assert snapshot(app) == before, "nothing is written into the app's folder"
        assert key not in built.docker("image", "inspect", f"docker.io/library/{APP}:latest")
    finally:
        for path in (app / "new.py", app / "app.json", kept):
            path.unlink(missing_ok=True)


# Without an engine


def test_without_an_engine_the_processes_run_here(app, home, port):
    running = Running(
        *("run", app, "web", "-p", str(port), "-e", "WEB=exec gunicorn blasto:APP"),
        home=home,
        env={"DOCKER_HOST": "unix:///nonexistent/docker.sock"},
    )
    try:
        running.wait_for("ready:")
        assert get(port)[0] == 200
        assert running.stop(signal.SIGINT) == 130
    finally:
        running.close()
    why = "the container engine at unix:///nonexistent/docker.sock is not running"
    assert running.err.splitlines()[0] == f"engine: local ({why})"


def test_an_image_needs_an_engine(home):
    done = deploy(
        *("run", "blasto:1.0", "--memory", "1g"), home=home, env={"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    )
    assert done.code == 40
    assert done.err.partition("\n")[2] == (
        "error: the image blasto:1.0 and --memory need a container engine\n\n"
        "The container engine at unix:///nonexistent/docker.sock is not running.\n\n"
        "hint: start Docker or Podman, or set DOCKER_HOST.\n"
    )


def test_what_is_neither_a_folder_nor_a_process_type(home, app):
    done = deploy("run", "blsto", home=home, cwd=app.parent)
    assert (done.code, done.err) == (
        2,
        (
            "error: 'blsto' is neither a folder nor a process type\n\n"
            "This folder has no Procfile.\n\n"
            "hint: name the folder of an app, or go into one.\n"
        ),
    )
    done = deploy("run", "wbe", home=home, cwd=app)
    assert (done.code, done.err) == (
        2,
        (
            "error: 'wbe' is neither a folder nor a process type\n\n"
            "This folder's process types are web, any, worker, stubborn, release.\n\n"
            "hint: did you mean 'web'?\n"
        ),
    )


def test_the_time_of_a_command_in_a_container_has_a_bound(built, monkeypatch):
    identity = built.docker("run", "-d", f"docker.io/library/{APP}:latest", "worker").strip()
    engine = connect(parse_host(built.address, source="test"))
    try:
        said = run_inside(engine, identity, ["sh", "-c", "echo out; echo err >&2; exit 3"], seconds=60, stderr=False)
        assert said == (3, b"out\n")
        monkeypatch.setattr(inside, "_START_SECONDS", 0.1)
        assert run_inside(engine, identity, ["sleep", "1000"], seconds=0.1) is None
    finally:
        built.docker("rm", "-f", identity)
        engine.close()
