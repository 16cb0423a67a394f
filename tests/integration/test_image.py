"""The image contract: what a built image is and does, in Docker, in Podman and in a bare OCI runtime."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpack.oci.store import Store
from tests.support.command import EXAMPLES, deploy
from tests.support.ports import free_port

TAG = "deploy-test-image:1"
FULL = f"docker.io/library/{TAG}"


@pytest.fixture(scope="module")
def image(engine: str, home: Path) -> Iterator[str]:
    """The example, built and loaded into Docker."""
    done = deploy(
        "build", EXAMPLES / "blasto", "-t", TAG, "--to", "docker", "-q", home=home, env={"DOCKER_HOST": engine}
    )
    assert done.code == 0, done.err
    yield TAG
    docker("rmi", "-f", TAG)


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[str]:
    """Run a container in the background; its ID."""
    identity = docker("run", "-d", *arguments).strip()
    try:
        yield identity
    finally:
        docker("rm", "-f", identity)


def fetch(port: int, path: str = "/", seconds: float = 120) -> str:
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                assert answer.status == 200
                return answer.read().decode()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


VARIANTS = {
    "plain": (),
    "read-only": ("--read-only", "--tmpfs", "/tmp"),
    "read-only without /tmp": ("--read-only",),
    "any user": ("--user", "12345"),
    "read-only and any user": ("--read-only", "--tmpfs", "/tmp", "--user", "12345:54321"),
    "with an init": ("--init",),
    "no capabilities": ("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
}


@pytest.mark.engine
@pytest.mark.parametrize("variant", VARIANTS)
def test_docker_run_answers_on_port(image, variant):
    port = free_port()
    with running("-e", "PORT=9000", "-p", f"127.0.0.1:{port}:9000", *VARIANTS[variant], image) as container:
        page = fetch(port)
        assert "Served by <code>web.1</code>" in page
        logs = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True).stderr
        assert "Listening at: http://0.0.0.0:9000" in logs
        begin = time.monotonic()
        docker("stop", "-t", "20", container)
        assert time.monotonic() - begin < 10
        assert docker("inspect", "-f", "{{.State.ExitCode}}", container).strip() in {"0", "143"}


@pytest.mark.engine
def test_the_environment_of_a_command(image):
    script = (
        "import os, sys, json; print(json.dumps([dict(os.environ), sys.prefix, os.getcwd(), os.getuid(), os.getpid()]))"
    )
    environ, prefix, folder, user, pid = json.loads(docker("run", "--rm", image, "python", "-c", script))
    assert (prefix, folder, user) == ("/opt/venv", "/app", 1000)
    assert pid != 1, "the launcher stays as init"
    expected = {
        "VIRTUAL_ENV": "/opt/venv",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "PORT": "8000",
        "PYTHONPATH": "/app",
        "FLASK_APP": "blasto:APP",
        "HOME": "/app",
        "DYNO": "run.1",
    }
    assert {name: environ.get(name) for name in expected} == expected
    assert environ["PATH"].startswith("/opt/venv/bin:")
    assert environ["XDG_RUNTIME_DIR"].startswith("/tmp/")
    assert int(environ["WEB_CONCURRENCY"]) >= 1


@pytest.mark.engine
def test_commands_pass_their_exit_code_and_know_the_app(image):
    run = ["docker", "run", "--rm", image]
    assert subprocess.run([*run, "sh", "-c", "exit 7"], check=False).returncode == 7
    assert "Routes" not in docker("run", "--rm", image, "flask", "routes", "-s", "rule").splitlines()[0]
    assert "/shells/<name>" in docker("run", "--rm", image, "flask", "routes")
    missing = subprocess.run([*run, "no-such-command"], capture_output=True, text=True, check=False)
    assert missing.returncode == 127


@pytest.mark.engine
def test_the_app_may_write_beside_its_code_but_not_elsewhere(image):
    script = "touch /app/blasto/new && id -un && ! touch /opt/venv/x 2>/dev/null && ! touch /opt/deploy/x 2>/dev/null"
    assert docker("run", "--rm", image, "sh", "-c", script) == "app\n"
    anybody = "cd /app && touch new blasto/new && echo >> Procfile && ! touch /opt/venv/x 2>/dev/null && id -u"
    assert docker("run", "--rm", "--user", "54321:0", image, "sh", "-c", anybody) == "54321\n"


LIST = "import pathlib; print(*sorted(f'./{p}' for p in pathlib.Path().rglob('*') if p.is_file()))"


@pytest.mark.engine
def test_what_never_enters_an_image(image, home, blasto):
    (blasto / ".env").write_text("SECRET=hunter2\n")
    (blasto / ".git").mkdir()
    (blasto / ".git" / "config").write_text("[core]\n")
    (blasto / "blasto" / "__pycache__").mkdir(exist_ok=True)
    (blasto / "blasto" / "__pycache__" / "app.cpython-311.pyc").write_bytes(b"stale")
    (blasto / "venv").mkdir()
    (blasto / "venv" / "pyvenv.cfg").write_text("home = /usr\n")
    (blasto / ".dockerignore").write_text("tests\n!tests/keep.txt\n")
    (blasto / "tests" / "keep.txt").write_text("kept\n")
    done = deploy("build", blasto, "-t", "deploy-test-image:2", "--to", "docker", "-q", home=home)
    assert done.code == 0, done.err
    try:
        found = docker("run", "--rm", "deploy-test-image:2", "python", "-c", LIST)
    finally:
        docker("rmi", "-f", "deploy-test-image:2")
    assert found.split() == [
        "./.dockerignore",
        "./LICENSE",
        "./Pipfile",
        "./Pipfile.lock",
        "./Procfile",
        "./README.md",
        "./blasto/__init__.py",
        "./blasto/app.py",
        "./blasto/catalogue.py",
        "./blasto/static/style.css",
        "./blasto/templates/index.html",
        "./data/shells.csv",
        "./tests/keep.txt",
    ]


@pytest.mark.engine
def test_byte_code_is_used_and_nothing_is_compiled_at_the_start(image):
    script = (
        "import sys, os, flask, gunicorn.app.wsgiapp; "
        "print([n for n, m in sorted(sys.modules.items()) if str(getattr(m, '__file__', '')).endswith('.py') "
        "and not os.path.exists(getattr(m, '__cached__', None) or m.__file__)])"
    )
    assert docker("run", "--rm", image, "python", "-c", script) == "[]\n"


@pytest.mark.engine
def test_a_second_load_sends_nothing_and_a_changed_line_one_layer(image, home, blasto):
    again = deploy("build", EXAMPLES / "blasto", "-t", TAG, "--to", "docker", home=home)
    assert "  sent     to the engine: 0 layers, 0 B (the engine has it already)" in again.err.splitlines()
    path = blasto / "blasto" / "app.py"
    path.write_text(path.read_text() + "# changed\n")
    changed = deploy("build", blasto, "-t", TAG, "--to", "docker", home=home)
    assert "to the engine: 1 layer, " in changed.err
    restored = deploy("build", EXAMPLES / "blasto", "-t", TAG, "--to", "docker", "-q", home=home)
    assert restored.code == 0, restored.err


@pytest.mark.podman
def test_podman_runs_it(podman, home):
    done = deploy(
        "build", EXAMPLES / "blasto", "-t", TAG, "--to", "docker", "-q", home=home, env={"DOCKER_HOST": podman}
    )
    assert done.code == 0, done.err
    client = ["podman", "--remote", "--url", podman]
    made = subprocess.run(
        [*client, "run", "--rm", FULL, "python", "-c", "import flask, os; print(os.getuid())"],
        capture_output=True,
        text=True,
        check=False,
    )
    subprocess.run([*client, "rmi", "-f", FULL], capture_output=True, check=False)
    assert (made.returncode, made.stdout) == (0, "1000\n"), made.stderr


@pytest.mark.registry
def test_a_bare_oci_runtime_runs_it(registry, home, tmp_path):
    """umoci unpacks the image into a bundle, runc runs it: no engine and none of our code is involved."""
    done = deploy("build", EXAMPLES / "blasto", "-t", TAG, "--to", f"oci:{tmp_path}/layout", "-q", home=home)
    assert done.code == 0, done.err
    bundle = tmp_path / "bundle"
    source = f"{tmp_path}/layout:{FULL}"
    copied = ["skopeo", "copy", "-q", f"oci:{source}", f"oci:{tmp_path}/short:app"]
    subprocess.run(copied, check=True, capture_output=True)
    unpack = ["umoci", "unpack", "--image", f"{tmp_path}/short:app", str(bundle)]
    subprocess.run(unpack, check=True, capture_output=True)
    config = json.loads((bundle / "config.json").read_text())
    assert config["process"]["args"][1:] == ["-I", "/opt/deploy"]
    config["process"]["terminal"] = False
    config["process"]["args"] += ["python", "-c", "import flask; print('flask', flask.__name__)"]
    config["linux"]["namespaces"] = [each for each in config["linux"]["namespaces"] if each["type"] != "network"]
    (bundle / "config.json").write_text(json.dumps(config))
    ran = subprocess.run(
        ["runc", "run", "-b", str(bundle), f"deploy-test-{free_port()}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "flask flask\n"), ran.stderr


@pytest.mark.engine
def test_an_archive_loads_into_docker(engine, home, tmp_path):
    archive = tmp_path / "image.tar"
    done = deploy(
        "build", EXAMPLES / "blasto", "-t", "deploy-test-image:3", "--to", f"archive:{archive}", "-q", home=home
    )
    assert done.code == 0, done.err
    try:
        assert "deploy-test-image:3" in docker("load", "-i", str(archive))
        assert docker("run", "--rm", "deploy-test-image:3", "python", "-c", "import flask; print(1)") == "1\n"
    finally:
        docker("rmi", "-f", "deploy-test-image:3")


def test_labels_follow_from_the_inputs(home, tmp_path):
    app = tmp_path / "any"
    shutil.copytree(EXAMPLES / "blasto", app)
    with (app / "deploy.toml").open("a") as settings:
        settings.write('\nname = "blasto-web"\n')
    (app / "pyproject.toml").write_text('[project]\nname = "blasto"\nversion = "2.1"\n')
    done = deploy("build", app, "-t", "labels:1", "-q", "--label", "team=web", home=home)
    assert done.code == 0, done.err
    image = Store(home).image("docker.io/library/labels:1")
    assert image is not None
    labels = json.loads(image.config)["config"]["Labels"]
    assert labels["team"] == "web"
    assert labels["dev.deploy.python"] == labels["dev.deploy.bytecode"]
    assert set(labels) == {
        "team",
        "dev.deploy.bytecode",
        "dev.deploy.lock",
        "dev.deploy.python",
        "org.opencontainers.image.base.digest",
        "org.opencontainers.image.title",
        "org.opencontainers.image.version",
    }
    assert labels["org.opencontainers.image.title"] == "blasto-web"
    assert labels["org.opencontainers.image.version"] == "2.1"
    stated = ("--label", "org.opencontainers.image.title=mine", "--label", "org.opencontainers.image.version=3")
    done = deploy("build", app, "-t", "labels:2", "-q", *stated, home=home)
    assert done.code == 0, done.err
    given = json.loads(Store(home).image("docker.io/library/labels:2").config)["config"]["Labels"]
    assert given["org.opencontainers.image.title"] == "mine"
    assert given["org.opencontainers.image.version"] == "3"
